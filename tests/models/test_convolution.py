"""The convolutions against XLA's own."""

import jax
import numpy as np
import pytest

from textsr_jax.models.convolution import conv3x3


@pytest.mark.parametrize("height", [1, 2, 5, 16])
def test_it_is_the_3x3_convolution(height):
    x = jax.random.normal(jax.random.key(0), (2, height, 7, 32))
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 32, 5))
    expected = jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    # Sums of 288 products that reach 40; processors add them in different orders.
    np.testing.assert_allclose(jax.jit(conv3x3)(x, kernel), expected, rtol=0, atol=1e-4)
