"""Painting in array code: masks get their colours where they lie, and relief its light."""

import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from textsr_jax.data.drawing import painting
from textsr_jax.data.drawing.draws import Draws

COUNT = 50
LETTERS = np.s_[20:44, 60:200]


class Letters(typing.NamedTuple):
    ink: jax.Array
    halo: jax.Array
    shadow: jax.Array


def masks(*ink, halo=(), shadow=()):
    """Masks (50, 64, 256) that are 1 in the given places."""
    drawn = np.zeros((3, COUNT, 64, 256), np.float32)
    for mask, places in zip(drawn, (ink, halo, shadow), strict=True):
        for place in places:
            mask[(slice(None), *place)] = 1
    return Letters(*drawn)


@pytest.fixture(scope="module")
def paint():
    """Paints 50 words, always with the same keys."""
    painted = jax.jit(painting.paint_batch)
    keys = jax.random.split(jax.random.key(0), COUNT)
    return lambda letters: np.asarray(painted(keys, letters))


def changed(paint, letters):
    """Where masks change the scenes, bool (50, 64, 256)."""
    return (np.abs(paint(letters) - paint(masks())) > 0.5).any(axis=-1)


@pytest.mark.slow
def test_the_same_keys_give_the_same_scenes(paint):
    scenes = paint(masks(LETTERS))
    assert scenes.shape == (COUNT, 64, 256, 3)
    assert scenes.dtype == np.float32
    assert scenes.min() >= 0
    assert scenes.max() <= 255
    np.testing.assert_array_equal(scenes, paint(masks(LETTERS)))
    assert len({scene.tobytes() for scene in scenes}) == COUNT


@pytest.mark.slow
def test_ink_shows_where_it_lies_and_light_around_carved_letters_alone(paint):
    ink = changed(paint, masks(LETTERS))
    assert (ink[(slice(None), *LETTERS)].mean(axis=(1, 2)) > 0.9).mean() > 0.9
    ink[(slice(None), *LETTERS)] = False
    # One word of 50 is carved.
    assert ink.any(axis=(1, 2)).sum() == 1
    assert not ink[:, :8].any()


@pytest.mark.slow
@pytest.mark.parametrize("mask", ["halo", "shadow"])
def test_halo_and_shadow_show_where_they_lie_and_the_ink_hides_them(paint, mask):
    place = np.s_[30:50, 100:220]
    behind = changed(paint, masks(**{mask: [place]}))
    assert (behind[(slice(None), *place)].mean(axis=(1, 2)) > 0.9).mean() > 0.8
    hidden = paint(masks(LETTERS, **{mask: [place]})) - paint(masks(LETTERS))
    covered = np.abs(hidden[(slice(None), *LETTERS)]).max(axis=(1, 2, 3)) < 0.5
    # What the ink hides shows through worn letters alone.
    assert covered.mean() > 0.75
    behind[(slice(None), *place)] = False
    assert not behind.any()


@pytest.mark.slow
def test_the_halo_lies_over_the_shadow(paint):
    place = np.s_[30:50, 100:220]
    both = paint(masks(halo=[place], shadow=[place]))
    np.testing.assert_allclose(both, paint(masks(halo=[place])), atol=1e-2)


@pytest.mark.slow
def test_words_can_be_painted_one_at_a_time():
    one = Letters(*(jnp.asarray(mask[0]) for mask in masks(LETTERS)))
    paint = jax.jit(painting.paint)
    scene = paint(jax.random.key(1), one)
    assert scene.shape == (64, 256, 3)
    np.testing.assert_array_equal(scene, paint(jax.random.key(1), one))
    assert (scene != paint(jax.random.key(2), one)).any()


def test_a_plain_word_has_one_colour_on_another():
    ink = np.zeros((64, 256), np.float32)
    ink[LETTERS] = 1
    scenes = np.asarray(
        jax.jit(jax.vmap(painting.plain, (0, None)))(jax.random.split(jax.random.key(0), 20), ink)
    )
    assert scenes.shape == (20, 64, 256, 3)
    inside, outside = scenes[:, ink == 1], scenes[:, ink == 0]
    assert not np.ptp(outside, axis=1).any()
    assert np.ptp(inside, axis=1).max() < 1e-3
    lightness = np.array([0.299, 0.587, 0.114])
    assert np.abs((inside[:, 0] - outside[:, 0]) @ lightness).min() >= 25


def test_relief_lights_one_side_of_the_letters_and_shades_the_other():
    ink = np.zeros((64, 256), np.float32)
    ink[LETTERS] = 1
    keys = jax.random.split(jax.random.key(0), 20)
    relief = jax.jit(jax.vmap(lambda key, ink: painting.relief(Draws(key, 2), ink), (0, None)))
    slopes = np.asarray(relief(keys, ink))
    assert slopes.shape == (20, 64, 256)
    np.testing.assert_allclose(np.abs(slopes).max(axis=(1, 2)), 1, rtol=1e-5)
    assert (np.abs(slopes.sum(axis=(1, 2))) < 0.01 * np.abs(slopes).sum(axis=(1, 2))).all()
    # The middle of the letters and what is far from them is flat.
    assert np.abs(slopes[:, 31:33, 80:180]).max() < 0.01
    assert np.abs(slopes[:, :8]).max() < 0.01
    assert not relief(keys, np.zeros_like(ink)).any()
