"""Bilinear sampling: values at, between and outside pixels, and its gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textsr_jax.models.layers.sampling import bilinear_sample


def at(image, x, y, padding="zeros"):
    """Samples one grey `image` (H, W) at the positions (x, y)."""
    x, y = (jnp.asarray(position, jnp.float32)[None, None] for position in (x, y))
    samples = bilinear_sample(jnp.asarray(image, jnp.float32)[None, ..., None], x, y, padding)
    return np.asarray(samples)[0, 0, :, 0]


def slow(image, x, y, padding):
    """The definition, pixel by pixel."""
    height, width = image.shape
    if padding == "border":
        x, y = np.clip(x, 0, width - 1), np.clip(y, 0, height - 1)
    total = 0.0
    for row in range(height):
        for column in range(width):
            weight = max(0, 1 - abs(x - column)) * max(0, 1 - abs(y - row))
            total += weight * image[row, column]
    return total


def test_pixels_and_their_midpoints():
    image = [[1, 2], [3, 8]]
    np.testing.assert_allclose(at(image, [0, 1, 0.5, 0.5], [0, 1, 0, 0.5]), [1, 8, 1.5, 3.5])


def test_outside_is_black_or_the_nearest_edge():
    image = [[1, 2], [3, 8]]
    x, y = [-0.5, -1, 1.5, 9], [0, 0, 1, 1]
    np.testing.assert_allclose(at(image, x, y, "zeros"), [0.5, 0, 4, 0])
    np.testing.assert_allclose(at(image, x, y, "border"), [1, 1, 8, 8])


@pytest.mark.parametrize("padding", ["zeros", "border"])
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000))
def test_equals_the_definition(padding, seed):
    rng = np.random.default_rng(seed)
    image = rng.random((3, 5))
    x, y = rng.uniform(-2, 7, 8), rng.uniform(-2, 5, 8)
    expected = [slow(image, *position, padding) for position in zip(x, y, strict=True)]
    np.testing.assert_allclose(at(image, x, y, padding), expected, atol=1e-5)


def test_each_image_of_a_batch_has_its_own_positions_and_all_channels():
    images = jnp.arange(2 * 4 * 4 * 3, dtype=jnp.float32).reshape(2, 4, 4, 3)
    x, y = jnp.array([[[1.0]], [[3.0]]]), jnp.array([[[2.0]], [[0.0]]])
    samples = bilinear_sample(images, x, y, "zeros")
    np.testing.assert_array_equal(samples[:, 0, 0], [images[0, 2, 1], images[1, 0, 3]])


def test_gradients():
    image = jnp.array([[1.0, 2.0], [3.0, 8.0]])

    def sample(image, x, y):
        return bilinear_sample(image[None, ..., None], x, y, "border").sum()

    inside, outside = jnp.full((1, 1, 1), 0.25), jnp.full((1, 1, 1), 1.0)
    to_image, to_x, to_y = jax.grad(sample, (0, 1, 2))(image, inside, inside)
    np.testing.assert_allclose(to_image, [[0.5625, 0.1875], [0.1875, 0.0625]])
    np.testing.assert_allclose(to_x, 0.75 * (2 - 1) + 0.25 * (8 - 3))
    np.testing.assert_allclose(to_y, 0.75 * (3 - 1) + 0.25 * (8 - 2))
    # On the border and beyond, moving changes nothing.
    np.testing.assert_array_equal(jax.grad(sample, 1)(image, outside, inside), 0)


def test_unknown_padding():
    with pytest.raises(ValueError, match="reflect"):
        at([[1, 2]], [0], [0], "reflect")
