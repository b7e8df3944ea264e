"""Rendering: the same seed gives the same picture, and the word fills its crop."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textsr_jax.data.synthetic import rendering


def render(word, *seed):
    return rendering.render(word, np.random.default_rng(seed))


def test_same_seed_same_picture():
    picture = render("Station", 5)
    assert picture.shape == (32, 128, 3)
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture, render("Station", 5))
    assert (picture != render("Station", 6)).any()
    assert (picture != render("Nations", 5)).any()


@settings(max_examples=60, deadline=None)
@given(
    word=st.text("aAgjQW019.,:!?'\"-&/()$£%#", min_size=1, max_size=30),
    seed=st.integers(0, 2**32),
)
def test_anything_printable_can_be_drawn(word, seed):
    picture = render(word, seed)
    assert picture.shape == (32, 128, 3)


@pytest.mark.parametrize("word", ["HI", "HHHHHH", "H" * 20])
def test_the_word_fills_its_crop(word):
    pictures = np.stack([render(word, seed) for seed in range(60)]).mean(axis=-1)
    # Letters stand out in the left, middle and right part of nearly every crop...
    for part in np.split(pictures[:, :, 4:124], 3, axis=2):
        assert (part.std(axis=(1, 2)) > 8).mean() > 0.85
    # ...and their strokes run down most of its height.
    strokes = np.abs(np.diff(pictures, axis=2)).max(axis=2)
    assert (strokes > 8).mean() > 0.85


def test_pictures_are_as_varied_as_photographs():
    grey = np.stack([render("Variety", seed) for seed in range(150)]).mean(axis=-1)
    brightness, contrast = grey.mean(axis=(1, 2)), grey.std(axis=(1, 2))
    assert np.percentile(brightness, 10) < 80
    assert np.percentile(brightness, 90) > 170
    assert np.percentile(contrast, 10) < 40
    assert np.percentile(contrast, 90) > 70


def test_a_plain_word_is_letters_of_one_colour_on_another():
    for seed in range(20):
        picture = rendering.render_plain("plain", np.random.default_rng(seed)).astype(float)
        flat = picture.reshape(-1, 3)
        darkest, brightest = flat[flat.sum(axis=1).argmin()], flat[flat.sum(axis=1).argmax()]
        assert np.abs(brightest - darkest).max() > 25
        # Every pixel lies on the line between the two colours.
        direction = brightest - darkest
        part = (flat - darkest) @ direction / (direction @ direction)
        assert np.abs(flat - darkest - part[:, None] * direction).max() <= 2


def test_relief_lights_one_side_of_the_letters_and_shades_the_other():
    ink = np.zeros((64, 256, 1), np.float32)
    ink[20:44, 60:200] = 1
    relief = rendering._relief(ink, np.random.default_rng(0))
    assert relief.shape == ink.shape
    assert np.abs(relief).max() == pytest.approx(1)
    assert abs(relief.sum()) < 0.01 * np.abs(relief).sum()
    # The middle of letter and ground is flat.
    assert not relief[30:34, 80:180].any()
    assert not relief[:10].any()
