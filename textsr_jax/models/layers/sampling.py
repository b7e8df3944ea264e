"""Bilinear sampling of images at pixel coordinates, as PyTorch's grid_sample does it.

The rectifiers and the content-adaptive resampler read their images through it.
"""

from typing import Literal

import jax
import jax.numpy as jnp


def bilinear_sample(
    images: jax.Array, x: jax.Array, y: jax.Array, padding: Literal["zeros", "border"]
) -> jax.Array:
    """Samples `images` bilinearly at pixel coordinates; differentiable in all three arrays.

    Equals PyTorch's `grid_sample(align_corners=True)` once its [-1, 1] grid is turned into pixels,
    gradients included.

    Args:
      images: float (batch, H, W, channels).
      x: float (batch, h, w), columns: 0 is the centre of the first pixel, W - 1 of the last.
      y: float (batch, h, w), rows, likewise.
      padding: the values outside the image: "zeros", or "border", the nearest edge pixel.

    Returns:
      The samples (batch, h, w, channels), in the dtype of `images`.
    """
    if padding not in ("zeros", "border"):
        raise ValueError(f"padding must be 'zeros' or 'border', not {padding!r}")
    batch, height, width, channels = images.shape
    if padding == "border":
        x, y = _to_border(x, width), _to_border(y, height)
    left, top = jnp.floor(x), jnp.floor(y)
    right_weight, bottom_weight = x - left, y - top
    left, top = left.astype(jnp.int32), top.astype(jnp.int32)
    pixels = images.reshape(batch, height * width, channels)

    def corner(column: jax.Array, row: jax.Array, weight: jax.Array) -> jax.Array:
        if padding == "zeros":
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            weight = jnp.where(inside, weight, 0)
        index = jnp.clip(row, 0, height - 1) * width + jnp.clip(column, 0, width - 1)
        index = index.reshape(batch, -1, 1)
        values = jnp.take_along_axis(pixels, index, axis=1, mode="promise_in_bounds")
        return values.reshape(*weight.shape, channels) * weight[..., None]

    samples = (
        corner(left, top, (1 - right_weight) * (1 - bottom_weight))
        + corner(left + 1, top, right_weight * (1 - bottom_weight))
        + corner(left, top + 1, (1 - right_weight) * bottom_weight)
        + corner(left + 1, top + 1, right_weight * bottom_weight)
    )
    return samples.astype(images.dtype)


def _to_border(position: jax.Array, size: int) -> jax.Array:
    # Two selects, because the gradient of jnp.clip on the border itself is one half.
    position = jnp.where(position <= 0, 0, position)
    return jnp.where(position >= size - 1, size - 1, position)
