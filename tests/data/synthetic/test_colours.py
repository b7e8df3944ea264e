"""Colours: letters can be told from their ground, and shares are those of photographs."""

import numpy as np
import pytest

from textsr_jax.data.synthetic import colours


def pairs(count=2000):
    rng = np.random.default_rng(0)
    return np.array([colours.pair(rng) for _ in range(count)])


def saturation(colour):
    return 1 - colour.min(axis=-1) / np.maximum(colour.max(axis=-1), 1)


def test_luma_is_that_of_jpeg():
    np.testing.assert_allclose(colours.luma(np.full(3, 80.0)), 80, rtol=1e-6)
    assert colours.luma(np.array([0, 255, 0.0])) == pytest.approx(149.685)


def test_letters_differ_from_their_ground_in_lightness():
    drawn = pairs()
    assert drawn.min() >= 0
    assert drawn.max() <= 255
    difference = np.abs(colours.luma(drawn[:, 0]) - colours.luma(drawn[:, 1]))
    assert difference.min() >= 25
    # 160 is the median of IIIT5K's training crops, 76 their fifth percentile.
    assert 145 < np.median(difference) < 175
    assert 50 < np.percentile(difference, 5) < 100


def test_light_on_dark_is_as_frequent_as_dark_on_light():
    drawn = pairs()
    assert 0.45 < (colours.luma(drawn[:, 0]) < colours.luma(drawn[:, 1])).mean() < 0.6


def test_two_strong_colours_meet_as_seldom_as_in_photographs():
    strong = saturation(pairs()) > 0.5
    # Of IIIT5K's training crops 7 % have both colours strong, and 51 % one or both.
    assert 0.04 < strong.all(axis=1).mean() < 0.12
    assert 0.4 < strong.any(axis=1).mean() < 0.6


def test_an_outline_sets_the_letters_off():
    rng = np.random.default_rng(0)
    for _ in range(200):
        letters = colours.paint(rng)
        assert abs(colours.luma(colours.outline(letters, rng)) - colours.luma(letters)) >= 50
