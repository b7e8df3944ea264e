"""Masks: strokes, blurs, shifts and samples are those of SciPy and NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from textsr_jax.data.drawing import masks

SHAPE = 40, 32
# Blocks and a dot; the rim is blank.
INK = np.zeros(SHAPE, np.uint8)
INK[12:15, 10:22] = INK[15:26, 14:17] = INK[28, 9] = 255


def test_an_outline_is_as_wide_as_its_stroke():
    drawn = np.asarray(jax.jit(masks.outline)(INK, 3.0, 1.0)) / 255
    distance = ndimage.distance_transform_edt(INK == 0)
    # Ink begins within a full pixel, and the edge is one pixel wide.
    assert (drawn[distance <= 3] > 0.95).all() and (drawn[distance >= 4.5] == 0).all()
    wide = np.asarray(jax.jit(masks.outline)(INK, 3.0, 2.0)) / 255
    distance = ndimage.distance_transform_edt(INK == 0, sampling=(2, 1))
    assert (wide[distance <= 3] > 0.95).all() and (wide[distance >= 4.5] == 0).all()


def test_a_blur_has_its_deviation():
    block = np.zeros((64, 64), np.uint8)
    block[30:34, 28:36] = 255
    for step in (1.0, 2.0):
        drawn = np.asarray(jax.jit(masks.blurred)(block, 2.5, step), float)
        assert drawn.sum() == pytest.approx(255 * 32, rel=0.03)
        for axis, width, size in ((0, step, 4), (1, 1.0, 8)):
            line = drawn.sum(axis=1 - axis) / drawn.sum()
            places = np.arange(64) - (line * np.arange(64)).sum()
            # Variances add up. Values that round to 0 take a little of the tails away.
            expected = (2.5 / width) ** 2 + (size**2 - 1) / 12
            assert (line * places**2).sum() == pytest.approx(expected, rel=0.08)


def test_masks_move_round_the_rim_and_sweep_what_they_pass():
    x, y = jnp.float32(-3), jnp.float32(5)
    moved = jax.jit(masks.moved)(INK, x, y)
    np.testing.assert_array_equal(moved, np.roll(INK, (-3, 5), (0, 1)))
    swept = np.asarray(jax.jit(masks.swept)(INK, jnp.float32(0), jnp.float32(7)))
    expected = np.max([np.roll(INK, step, 1) for step in range(8)], axis=0)
    np.testing.assert_array_equal(swept, expected)


def test_samples_lie_between_pixels():
    rng = np.random.default_rng(0)
    mask = rng.integers(0, 256, SHAPE).astype(np.uint8)
    x, y = rng.uniform(-2, 42, (5, 7)), rng.uniform(-2, 34, (5, 7))
    places = masks.places(jnp.asarray(x), jnp.asarray(y), SHAPE)
    found = np.asarray(jax.jit(masks.sample)(mask, places)).reshape(5, 7)
    blank = np.pad(mask[1:-1, 1:-1], 1).astype(float)
    inside = np.clip(x, 0, 38.999), np.clip(y, 0, 30.999)
    expected = ndimage.map_coordinates(blank, inside, order=1) / 255
    np.testing.assert_allclose(found, expected, atol=1e-3)
