"""Colours in array code: their distributions are those of `synthetic.colours`."""

import jax
import numpy as np
import pytest

from textsr_jax.data.drawing import colours
from textsr_jax.data.drawing.draws import Draws
from textsr_jax.data.synthetic import colours as today

COUNT = 2000


@pytest.fixture(scope="module")
def pairs():
    """Grounds and letters, (2000, 2, 3), of array code and of today's."""
    draw = jax.jit(jax.vmap(lambda key: colours.pair(Draws(key, colours.OF_PAIR))))
    drawn = draw(jax.random.split(jax.random.key(0), COUNT))
    rng = np.random.default_rng(0)
    return np.stack(drawn, axis=1), np.array([today.pair(rng) for _ in range(COUNT)])


def traits(drawn):
    """Whether each ground and each letter colour is black, white, strong; and the pair is."""
    lowest, highest = drawn.min(axis=-1), drawn.max(axis=-1)
    strong = 1 - lowest / np.maximum(highest, 1) > 0.5
    dark, light = highest < 64, lowest > 180
    single = np.concatenate([dark, light, strong & ~dark], axis=1)
    rises = today.luma(drawn[:, 0]) < today.luma(drawn[:, 1])
    return np.column_stack([single, strong.all(axis=1), strong.any(axis=1), rises])


def distance(left, right):
    """Kolmogorov and Smirnov's: the largest difference between two distributions."""
    places = np.sort(np.concatenate([left, right]))
    parts = [np.searchsorted(np.sort(part), places, "right") / len(part) for part in (left, right)]
    return np.abs(parts[0] - parts[1]).max()


def test_blacks_whites_and_strong_colours_are_as_frequent(pairs):
    shares = [traits(drawn).mean(axis=0) for drawn in pairs]
    error = np.sqrt(2 * shares[1] * (1 - shares[1]) / COUNT)
    assert (np.abs(shares[0] - shares[1]) < 4 * error).all()


def test_lightness_and_contrast_have_the_same_distribution(pairs):
    ours, theirs = (today.luma(drawn) for drawn in pairs)
    # Two samples of one distribution are farther apart than this once in a thousand times.
    limit = 1.95 * np.sqrt(2 / COUNT)
    assert distance(ours[:, 0], theirs[:, 0]) < limit
    assert distance(ours[:, 1], theirs[:, 1]) < limit
    contrasts = [np.abs(np.diff(lightness, axis=1)[:, 0]) for lightness in (ours, theirs)]
    assert distance(*contrasts) < limit
    assert contrasts[0].min() >= 25


def test_channels_have_the_same_distribution(pairs):
    for channel in range(3):
        ours, theirs = (drawn[..., channel].ravel() for drawn in pairs)
        assert distance(ours, theirs) < 1.95 * np.sqrt(2 / (2 * COUNT))


def test_levels_are_colours(pairs):
    assert pairs[0].dtype == np.float32
    assert pairs[0].min() >= 0
    assert pairs[0].max() <= 255


def test_luma_takes_the_axis_of_the_channels():
    picture = np.random.default_rng(0).uniform(0, 255, (3, 4, 5)).astype(np.float32)
    expected = today.luma(np.moveaxis(picture, 0, -1))
    np.testing.assert_allclose(colours.luma(picture, axis=0), expected, rtol=1e-5)
    np.testing.assert_allclose(colours.luma(np.moveaxis(picture, 0, -1)), expected, rtol=1e-5)


def test_an_outline_sets_the_letters_off():
    def case(key):
        draws = Draws(key, colours.OF_PAINT + colours.OF_OUTLINE)
        letters = colours.paints(draws, 1)[0]
        return letters, colours.outline(draws, letters)

    letters, outlines = jax.jit(jax.vmap(case))(jax.random.split(jax.random.key(0), 500))
    assert np.abs(colours.luma(letters) - colours.luma(outlines)).min() >= 50
    plain = (outlines == 15).all(axis=1) | (outlines == 245).all(axis=1)
    # Four standard errors of 0.6 among 500.
    assert abs(plain.mean() - 0.6) < 0.088
