"""Layouts of images: what is read apart, upside down or not at all, and what that costs."""

import time

import numpy as np
import pytest

import textsr_jax
from tests.conftest import word_image
from tests.reading.test_crops import two_words
from tests.reading.test_reader import Blocks
from textsr_jax import reading
from textsr_jax.decoding.word_search import Words
from textsr_jax.errors import UserError
from textsr_jax.reading import layouts
from textsr_jax.text import ALPHANUMERIC, PRINTABLE


class Unused:
    """An engine that must not be asked."""

    alphabet = ALPHANUMERIC

    def enlarge(self, lr):
        raise AssertionError("enlarges what holds no text")

    def recognize(self, images, cut, again):
        raise AssertionError("reads what holds no text")


class Hasty(Unused):
    """Stops at the first wide space: sure of a line in one piece, and of its words."""

    def enlarge(self, lr):
        return lr.repeat(2, axis=1).repeat(2, axis=2)

    def __init__(self, words, surely):
        self.words, self.surely = words, surely

    def recognize(self, images, cut, again):
        # A line in one piece has ink at both ends and none in the middle.
        whole = [image[:, 56:72].std() < 12 for image in images]
        parts = iter(self.words * len(images))
        texts = [self.words[0] if one else next(parts) for one in whole]
        sure = np.where(whole, np.log(0.998), np.log(self.surely))
        letters = [np.full(len(word), one) for word, one in zip(texts, sure, strict=True)]
        return Words(texts, sure, sure, letters)


@pytest.mark.parametrize(
    "shape",
    [(32, 128), (1, 400), (2, 300), (1, 1), (400, 1), (16, 65_000), (1, 65_000), (65_000, 1)],
)
def test_one_colour_has_no_text_and_costs_nothing(shape):
    start = time.perf_counter()
    ((found, picture),) = reading.Reader(Unused()).read_and_show(
        [np.full((*shape, 3), 77, np.uint8)]
    )
    assert found == reading.Reading("", 1.0)
    assert picture.shape == (32, 128, 3)
    assert time.perf_counter() - start < 5


def test_a_line_that_is_mostly_blank_costs_what_its_words_cost():
    engine = Blocks()
    line = two_words(40_000, noise=0)
    reading.Reader(engine).read([line])
    assert len(engine.cut) == 2
    layouts.check(line)


def test_a_line_without_end_is_refused_in_one_line():
    scene = np.random.default_rng(0).integers(0, 2, (4, 20_000, 3), np.uint8).repeat(4, 0) * 200
    for image in (scene, np.rot90(scene)):
        for refuse in (layouts.check, lambda image: reading.Reader(Unused()).read([image])):
            with pytest.raises(UserError, match=r"20000x16 pixels.* 160 times its height"):
                refuse(image)


def test_the_words_of_a_line_are_read_apart():
    ((found, picture),) = reading.Reader(Hasty(["open", "late"], 0.99)).read_and_show(
        [two_words(40, noise=2, width=40)]
    )
    assert found.text == "openlate"
    assert found.confidence == pytest.approx(0.98, abs=0.03)
    # The two words as they were read, side by side.
    assert picture.shape == (32, 256, 3)


def test_words_are_joined_with_a_space_where_the_alphabet_has_one():
    engine = Hasty(["Open", "Late!"], 0.99)
    engine.alphabet = PRINTABLE
    (found,) = reading.Reader(engine).read([two_words(40, noise=2, width=40)])
    assert found.text == "Open Late!"
    # Read in one piece, the line has both words too: nothing is left out.
    engine = Hasty(["Open L", "Late!"], 0.99)
    engine.alphabet = PRINTABLE
    (found,) = reading.Reader(engine).read([two_words(40, noise=2, width=40)])
    assert found.text == "Open L Late!"


def test_a_word_that_may_be_hidden_makes_unsure():
    (found,) = reading.Reader(Hasty(["open", "a"], 0.95)).read([two_words(40, noise=2, width=40)])
    assert found.confidence < 0.8
    # What is read beside a frame is no word.
    (found,) = reading.Reader(Hasty(["open", "i"], 0.7)).read([two_words(40, noise=2, width=40)])
    assert found.text == "open" and found.confidence > 0.9


@pytest.mark.slow
def test_the_shipped_pair_reads_what_is_turned_apart_or_in_blank_space():
    upright = np.asarray(word_image("harbor"))
    high, wide = upright.shape[:2]
    around = np.full((7 * high, wide + 40, 3), upright[0, 0], np.uint8)
    around[3 * high : 4 * high, 20:-20] = upright
    gap = np.full((high, 2 * high, 3), upright[0, 0], np.uint8)
    line = np.concatenate([upright, gap, np.asarray(word_image("open"))], axis=1)
    turned = [np.rot90(upright, quarters) for quarters in range(4)]
    texts = [one.text for one in textsr_jax.load().read([*turned, around, line])]
    assert texts == ["harbor"] * 5 + ["harboropen"]
