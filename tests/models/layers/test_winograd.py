"""Winograd's algorithm against the definition of the convolution, and its gradients."""

import jax
import numpy as np
import pytest

from textsr_jax.models.layers import winograd


@pytest.mark.parametrize("height", [1, 2, 5, 16])
def test_it_is_the_3x3_convolution(height):
    x = jax.random.normal(jax.random.key(0), (2, height, 7, 32))
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 32, 5))
    padded = np.pad(np.asarray(x, np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    # In float64: XLA's own float32 sums may be off by as much as these, the other way.
    expected = sum(
        padded[:, row : row + height, column : column + 7]
        @ np.asarray(kernel, np.float64)[row, column]
        for row in range(3)
        for column in range(3)
    )
    np.testing.assert_allclose(
        jax.jit(winograd.convolution)(x, kernel), expected, rtol=0, atol=2e-5
    )
