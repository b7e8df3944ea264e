"""Bicubic enlargement, the baseline that every learned super-resolution model is held against."""

import jax


def enlarge(lr: jax.Array, scale: int = 2) -> jax.Array:
    """Enlarges images (batch, height, width, channels) with Keys' cubic, a = -0.5, as Pillow does.

    The result is not clipped.
    """
    batch, height, width, channels = lr.shape
    return jax.image.resize(lr, (batch, scale * height, scale * width, channels), "bicubic")
