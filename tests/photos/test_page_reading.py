"""Pages: lines become words with texts and boxes, wherever and however turned they stand.

Letters are bricks here: the colour of the upper half names the letter, the lower half is black.
"""

import math

import numpy as np
import pytest
from PIL import Image

import textsr_jax
from tests.photos import dark_text
from textsr_jax.decoding.word_search import Words
from textsr_jax.errors import UserError
from textsr_jax.photos import detector, page_reading
from textsr_jax.reading import Reader
from textsr_jax.text import ALPHANUMERIC

LEVELS = (0, 50, 100, 150, 200, 250)
WIDTH, HEIGHT, APART = 8, 28, 6


class Bricks:
    """An engine that reads bricks, and is unsure of bricks that stand on their heads."""

    alphabet = ALPHANUMERIC

    def enlarge(self, lr):
        return lr.repeat(2, axis=1).repeat(2, axis=2)

    def recognize(self, images, cut, again):
        read = [self.word(image.astype(int)) for image in images]
        sure = np.array([log for _, log in read])
        letters = [np.full(len(word), log) for word, log in read]
        return Words([word for word, _ in read], sure, sure, letters)

    def word(self, image):
        rows = np.flatnonzero((image.min(axis=2) < 100).any(axis=1))
        if not len(rows):
            return "", math.log(0.1)
        upper, lower = (rows[0] + (rows[-1] - rows[0]) * part // 8 for part in (2, 6))
        if image[upper].max(axis=1).min() < 60:
            return "x", math.log(0.2)
        text, dark = "", image[lower].max(axis=1) < 110
        edges = np.flatnonzero(np.diff(np.concatenate([[0], dark.astype(int), [0]])))
        for left, right in edges.reshape(-1, 2):
            red, _, blue = image[upper, (left + right) // 2]
            first, second = (
                int(np.abs(np.array(LEVELS) - level).argmin()) for level in (red, blue)
            )
            text += ALPHANUMERIC.characters[6 * first + second]
        return text, math.log(0.95)


def draw(image, left, top, text, space=20, apart=APART):
    """Draws a line of bricks; returns the box of each word: left, top, right, bottom."""
    boxes = []
    for word in text.split():
        start = left
        for letter in word:
            first, second = divmod(ALPHANUMERIC.characters.index(letter), 6)
            half = top + HEIGHT // 2
            # A channel of each letter is light, so that no upper half is dark.
            image[top:half, left : left + WIDTH] = (LEVELS[first], 120, LEVELS[second])
            image[half : top + HEIGHT, left : left + WIDTH] = 0
            left += WIDTH + apart
        left -= apart
        boxes.append((start, top, left, top + HEIGHT))
        left += space
    return boxes


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return detector.Detector(dark_text.write(tmp_path_factory.mktemp("model") / "dark.onnx"))


@pytest.fixture
def read(found, monkeypatch):
    monkeypatch.setattr(detector, "shipped", lambda: found)
    return lambda image: textsr_jax.read_page(image, Reader(Bricks()))


def white(width=736, height=736):
    return np.full((height, width, 3), 255, np.uint8)


def around(box):
    return [*box.min(axis=0), *box.max(axis=0)]


def test_lines_are_cut_into_words_where_english_and_the_gap_agree(read):
    image = white()
    boxes = draw(image, 60, 100, "central station")
    page = read(image)
    assert [line.text for line in page.lines] == ["central station"]
    assert (page.width, page.height) == (736, 736)
    for word, box in zip(page.words, boxes, strict=True):
        assert word.confidence == pytest.approx(0.95)
        assert around(word.box) == pytest.approx(box, abs=14)


def test_wide_letters_of_one_word_stay_together(read):
    image = white()
    draw(image, 60, 100, "exit", apart=7)
    assert [word.text for word in read(image).words] == ["exit"]


def test_lines_are_in_reading_order_and_pieces_of_one_line_together(read):
    image = white()
    draw(image, 60, 300, "second")
    draw(image, 60, 100, "fire hose reel", space=48)
    assert [line.text for line in read(image).lines] == ["fire hose reel", "second"]


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_boxes_begin_at_the_upper_left_of_turned_text(read, quarters):
    image = white()
    boxes = draw(image, 300, 300, "open daily")
    page = read(np.rot90(image, -quarters))
    assert page.text == "open daily"
    # Where the corners go when the photograph is turned clockwise, a quarter a time.
    for word, (left, top, right, bottom) in zip(page.words, boxes, strict=True):
        corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom)], float)
        for _ in range(quarters):
            corners = np.stack([736 - corners[:, 1], corners[:, 0]], axis=1)
        assert word.box == pytest.approx(corners, abs=14)


def test_a_tilted_line_is_straightened(read):
    image = white()
    draw(image, 250, 350, "open daily")
    tilted = Image.fromarray(image).rotate(-15, Image.Resampling.BICUBIC, fillcolor="white")
    page = read(tilted)
    assert page.text == "open daily"
    right = page.words[0].box[1] - page.words[0].box[0]
    assert math.degrees(math.atan2(right[1], right[0])) == pytest.approx(15, abs=3)


def test_no_text_is_an_empty_page(read):
    page = read(white(300, 200))
    assert page.lines == () and page.text == "" and (page.width, page.height) == (300, 200)


def test_a_photograph_that_is_not_there_is_one_line(read):
    with pytest.raises(UserError, match=r"none\.jpg: no such file"):
        read("none.jpg")


def test_the_shipped_reader_is_loaded_once():
    assert page_reading._shipped() is page_reading._shipped()


def upright(left, top, right, bottom):
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)], float)


def test_of_two_sizes_the_lines_with_most_letters_likely_right_stay():
    """The lower half of bricks is read as `x`, unsure."""
    image = white()
    first, second = draw(image, 60, 100, "open daily", space=60)
    (third,) = draw(image, 60, 300, "exit")
    words = [
        upright(*word) + 4 * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
        for word in (first, second, third)
    ]
    cut = [
        upright(left, top + HEIGHT // 2, right, bottom)
        for left, top, right, bottom in (first, second)
    ]
    page = page_reading.page_of(image, [np.array(cut), np.array(words)], Reader(Bricks()))
    assert page.text == "open daily\nexit"
    # Of two that are as good the first stays, and what one alone sees stays too.
    looks = [np.array(words[:2]), np.array([box + 1 for box in words])]
    page = page_reading.page_of(image, looks, Reader(Bricks()))
    assert page.text == "open daily\nexit"
    assert page.words[0].box == pytest.approx(words[0], abs=1)
    alone = page_reading.page_of(image, [np.array(words[:2])], Reader(Bricks()))
    np.testing.assert_array_equal(page.words[0].box, alone.words[0].box)


def test_text_of_unlike_looks_is_chosen_as_a_whole():
    """One look joins two words that another parts: no part of the one stays beside the other."""
    image = white()
    first, second = draw(image, 60, 100, "open daily", space=60)
    whole = upright(*first[:2], *second[2:])
    low = upright(first[0], first[1] + HEIGHT // 2, first[2], first[3])
    looks = [np.array([low, upright(*second)]), np.array([whole])]
    page = page_reading.page_of(image, looks, Reader(Bricks()))
    assert page.text == "open daily"


def test_a_line_in_nearly_the_same_place_is_not_read_again(monkeypatch):
    image = white()
    (word,) = draw(image, 60, 100, "open")
    seen = []
    word_of = Bricks.word
    monkeypatch.setattr(Bricks, "word", lambda self, image: seen.append(1) or word_of(self, image))
    box = upright(*word) + 4 * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
    other = upright(*word) + 12 * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])

    def pictures(*looks):
        seen.clear()
        page = page_reading.page_of(image, [look[None] for look in looks], Reader(Bricks()))
        assert page.text == "open"
        return sum(seen)

    once = pictures(box)
    assert once > 0 and pictures(box, box + 1) == once < pictures(box, other)
