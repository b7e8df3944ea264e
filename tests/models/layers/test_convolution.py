"""The convolutions against their definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from textsr_jax.models.layers import convolution
from textsr_jax.models.layers.convolution import convolve


@pytest.mark.parametrize(
    ("size", "strides", "padding", "height"),
    [
        ((3, 3), (1, 1), "SAME", 8),
        ((3, 3), (1, 1), ((1, 1), (1, 1)), 5),
        ((3, 3), (2, 2), ((1, 1), (1, 1)), 7),
        ((1, 1), (2, 2), ((0, 0), (0, 0)), 6),
        ((2, 2), (1, 1), "VALID", 4),
        ((3, 3), (1, 1), ((0, 0), (0, 1)), 6),
    ],
)
@pytest.mark.parametrize("part_bytes", [1, 1 << 30])
def test_gradients_are_those_of_the_convolution(
    size, strides, padding, height, part_bytes, monkeypatch
):
    """In parts of one image, and all at once."""
    monkeypatch.setattr(convolution, "_PART_BYTES", part_bytes)
    monkeypatch.setattr(convolution, "_MIN_BYTES", 0)
    x = jax.random.normal(jax.random.key(0), (3, height, 9, 8))
    kernel = jax.random.normal(jax.random.key(1), (*size, 8, 5))
    numbers = {"dimension_numbers": ("NHWC", "HWIO", "NHWC")}

    def gradients(convolve, x, kernel, dtype):
        def loss(x, kernel):
            out = convolve(x, kernel, strides, padding, **numbers)
            return (out * jnp.sin(jnp.arange(out.size, dtype=dtype).reshape(out.shape))).sum()

        return jax.jit(jax.grad(loss, argnums=(0, 1)))(x.astype(dtype), kernel.astype(dtype))

    with jax.enable_x64(True):
        exact = gradients(
            jax.lax.conv_general_dilated, np.asarray(x), np.asarray(kernel), jnp.float64
        )
    lowered = jax.jit(
        jax.grad(lambda kernel: convolve(x, kernel, strides, padding, **numbers).sum())
    ).lower(kernel)
    # The own gradient is there at all: XLA's is a convolution of images by cotangents.
    assert lowered.as_text().count("stablehlo.convolution") == 0
    for ours, wanted in zip(gradients(convolve, x, kernel, jnp.float32), exact, strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())
