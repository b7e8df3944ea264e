"""Resampling: Pillow's resize by matrices, and cells that see a line of pixels exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from textsr_jax.data.drawing import resampling
from textsr_jax.data.synthetic import degradation, rendering

FILTERS = {
    resampling.BOX: Image.Resampling.BOX,
    resampling.LINEAR: Image.Resampling.BILINEAR,
    resampling.CUBIC: Image.Resampling.BICUBIC,
    resampling.LANCZOS: Image.Resampling.LANCZOS,
}
# Of the static arrays: what is resized lies in a larger one, into a larger one.
GRID = 48, 192
resize = jax.jit(resampling.resize, static_argnames="grid")
cells = jax.jit(resampling.cells, static_argnames=("size", "rows"))


@pytest.mark.parametrize("kind", FILTERS)
@pytest.mark.parametrize("old, new", [((32, 128), (13, 47)), ((17, 61), (32, 128))])
def test_resize_is_pillows(kind, old, new):
    word = Image.fromarray(rendering.render("Resize", np.random.default_rng(3)))
    word = word.resize(old[::-1], Image.Resampling.BOX)
    padded = np.full((32, 3, 128), 777, np.float32)
    padded[: old[0], :, : old[1]] = np.asarray(word).transpose(0, 2, 1)
    found = np.asarray(resize(jnp.asarray(padded), old, new, kind, GRID))
    expected = np.asarray(word.resize(new[::-1], FILTERS[kind]), float).transpose(0, 2, 1)
    inside = np.clip(found[: new[0], :, : new[1]], 0, 255)
    # Pillow rounds and clips twice, once for the rows and once for the columns.
    assert np.abs(inside - expected).mean() < 0.6
    assert np.percentile(np.abs(inside - expected), 98) < 1.5
    # The rim goes on.
    np.testing.assert_array_equal(
        found[new[0] :], np.repeat(found[new[0] - 1 : new[0]], 48 - new[0], 0)
    )
    np.testing.assert_array_equal(
        found[..., new[1] :], np.repeat(found[..., new[1] - 1 : new[1]], 192 - new[1], 2)
    )


@pytest.mark.parametrize("kind", FILTERS)
def test_the_same_size_changes_nothing(kind):
    line = resampling.matrix(20, 20, kind, (20, 20))
    np.testing.assert_allclose(line, np.eye(20), atol=1e-5)


@pytest.mark.parametrize("shift, blur", [(0.0, 0.5), (1.3, 0.9), (-2.0, 2.5)])
def test_cells_of_whole_pixels_are_the_prepared_sets(shift, blur):
    expected = degradation.sampling(64, 32, shift, blur)
    np.testing.assert_allclose(cells(64, 32, shift, blur, 32), expected, atol=2e-5)


def test_cells_of_parts_of_pixels_spread_as_they_should():
    rows = np.asarray(cells(64, 23, 0.3, 0.8, 32))
    np.testing.assert_allclose(rows.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(rows[23:], np.repeat(rows[22:23], 9, axis=0))
    centres = np.arange(64) + 0.5
    mean = (rows[11] * centres).sum()
    assert mean == pytest.approx(11.5 * 64 / 23 + 0.3, abs=1e-3)
    # Variances add up: the blur's, the cell's and the picture's pixels.
    expected = 0.8**2 + (64 / 23) ** 2 / 12 + 1 / 12
    assert (rows[11] * (centres - mean) ** 2).sum() == pytest.approx(expected, rel=2e-3)
