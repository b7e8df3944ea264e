"""Filters: their shapes and spreads in closed form, and convolution as SciPy's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from textsr_jax.data.drawing import kernels
from textsr_jax.data.synthetic.camera import DISC

SIDE = np.arange(-3, 4)
PICTURE = np.random.default_rng(0).uniform(0, 255, (12, 3, 20)).astype(np.float32)


def filtered(kernel):
    """SciPy's convolution, with the rim repeated."""
    channels = [
        ndimage.convolve(PICTURE[:, c].astype(float), kernel, mode="nearest") for c in range(3)
    ]
    return np.stack(channels, axis=1)


def moments(kernel):
    kernel = np.asarray(kernel, float)
    assert kernel.sum() == pytest.approx(1, abs=1e-5) and kernel.min() >= 0
    xx, yy = (kernel * SIDE**2).sum(), (kernel * SIDE[:, None] ** 2).sum()
    return xx, yy, (kernel * SIDE * SIDE[:, None]).sum()


def test_gaussian_has_its_covariance():
    angle = 0.6
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    covariance = turn @ np.diag([1.1**2, 0.6**2]) @ turn.T
    expected = covariance[0, 0], covariance[1, 1], covariance[0, 1]
    np.testing.assert_allclose(moments(kernels.gaussian(1.1, 0.6, angle)), expected, rtol=0.05)
    np.testing.assert_allclose(
        kernels.gaussian(0.0, 0.0, 1.0), np.eye(7)[3] * np.eye(7)[3][:, None]
    )


def test_disc_covers_what_lies_within_its_radius():
    fine = np.hypot(*np.mgrid[-3.5:3.5:1400j, -3.5:3.5:1400j]) <= 2.4
    covered = fine.reshape(7, 200, 7, 200).mean(axis=(1, 3))
    kernel = kernels.disc(2.4)
    np.testing.assert_allclose(kernel, covered / covered.sum(), atol=0.02)
    assert np.abs(kernel - covered / covered.sum()).sum() < 0.2
    np.testing.assert_allclose(kernel, np.rot90(kernel), atol=2e-3)
    # The points' variance along an axis, and that of sharing light between pixels: up to 1/4.
    xx, yy, xy = moments(kernel)
    assert xx == pytest.approx(yy, rel=0.01) and xy == pytest.approx(0, abs=0.01)
    points = 2.4**2 * (DISC[:, 0] ** 2).mean()
    assert points < xx < points + 0.25
    np.testing.assert_allclose(kernels.variances(kernel), (yy, xx), rtol=1e-5)


@pytest.mark.parametrize("angle", [0, np.pi / 2])
def test_line_is_even_along_its_direction(angle):
    kernel = np.asarray(kernels.line(6.0, angle))
    along = (kernel if angle == 0 else kernel.T)[3]
    np.testing.assert_allclose(along, [1 / 12, *5 * [1 / 6], 1 / 12], atol=0.02)
    assert along.sum() == pytest.approx(1, abs=1e-5)


def test_a_slanted_line_keeps_its_slope():
    xx, yy, xy = moments(kernels.line(5.0, np.arctan(0.5)))
    assert xy / xx == pytest.approx(0.5, rel=0.1) and xx > yy


def test_convolve_is_scipys():
    kernel = np.random.default_rng(1).uniform(0, 1, (7, 7)).astype(np.float32)
    found = jax.jit(kernels.convolve)(PICTURE, kernel)
    np.testing.assert_allclose(found, filtered(kernel), rtol=1e-5)


def test_sharpen_adds_what_a_blur_takes():
    taps = np.exp(-0.5 * (SIDE / 0.9) ** 2)
    blurred = filtered(np.outer(taps, taps) / taps.sum() ** 2)
    found = jax.jit(kernels.sharpen)(PICTURE, 1.2, 0.9)
    np.testing.assert_allclose(found, PICTURE + 1.2 * (PICTURE - blurred), atol=1e-2)
    np.testing.assert_array_equal(kernels.sharpen(jnp.asarray(PICTURE), 0.0, 0.9), PICTURE)


def test_shift_rows_interpolates_every_row():
    offsets = np.array([0, 1, -2, 0.25, 2.5, *7 * [0]], np.float32)
    found = jax.jit(kernels.shift_rows)(PICTURE, offsets)
    columns = np.arange(20)
    for row, offset in enumerate(offsets):
        expected = np.interp(columns - offset, columns, PICTURE[row, 1])
        np.testing.assert_allclose(found[row, 1], expected, rtol=1e-5)


def test_shutters_move_rows():
    skewed = kernels.rolling(5, 2.0, 0.0, 1.0, 0.3)
    np.testing.assert_allclose(skewed, [-1, -0.5, 0, 0.5, 1], atol=1e-6)
    shaken = kernels.rolling(5, 0.0, 1.5, 1.0, np.pi / 2)
    np.testing.assert_allclose(shaken, [1.5, 0, -1.5, 0, 1.5], atol=1e-6)
    np.testing.assert_allclose(kernels.interlaced(4, 3.0), [-1.5, 1.5, -1.5, 1.5])
