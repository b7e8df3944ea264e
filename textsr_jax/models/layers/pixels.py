"""Pixels, as several networks handle them: colours, and the shuffle between channels and pixels."""

import jax
import jax.numpy as jnp

# By how much the super-resolution networks enlarge, and the resampler reduces.
SCALE = 2

# The mean colour of DIV2K, RGB in [0, 1], as in the published code of EDSR.
RGB_MEAN = (0.4488, 0.4371, 0.4040)


# Channels of an image with its mask (`with_mask`).
MASKED = 4


def to_gray(images: jax.Array) -> jax.Array:
    """Grey of RGB images, (batch, H, W, 3) to (batch, H, W, 1): 0.299 R + 0.587 G + 0.114 B."""
    red, green, blue = jnp.split(images, 3, axis=-1)
    return 0.299 * red + 0.587 * green + 0.114 * blue


def with_mask(images: jax.Array) -> jax.Array:
    """Appends the mask that TSRN's published code gives its networks as a fourth channel.

    It is 0 where a pixel is brighter than the image's mean, else 1, so that dark text has ones. The
    images are rounded to 8 bits and turned grey by Pillow's fixed-point formula, as published. No
    gradient goes through it.

    Args:
      images: float (batch, H, W, 3), RGB in [0, 1].

    Returns:
      (batch, H, W, 4), in the dtype of `images`.
    """
    pixels = jnp.round(255 * jnp.clip(images, 0, 1)).astype(jnp.int32)
    weights = jnp.asarray([19595, 38470, 7471], jnp.int32)
    # Whole numbers, and for TextZoom's sizes a mean without rounding: equal pixels compare equal.
    gray = (((pixels * weights).sum(-1, keepdims=True) + 0x8000) >> 16).astype(jnp.float32)
    mask = gray <= gray.mean(axis=(1, 2, 3), keepdims=True)
    return jnp.concatenate([images, mask.astype(images.dtype)], axis=-1)


def pixel_shuffle(features: jax.Array, scale: int) -> jax.Array:
    """Moves channels to pixels: (batch, H, W, C scale^2) to (batch, scale H, scale W, C).

    Channels are in PyTorch's order: the output channel is the slowest index, then the row and the
    column inside the new block of pixels.
    """
    batch, height, width, channels = features.shape
    channels //= scale * scale
    blocks = features.reshape(batch, height, width, channels, scale, scale)
    blocks = blocks.transpose(0, 1, 4, 2, 5, 3)
    return blocks.reshape(batch, height * scale, width * scale, channels)


def pixel_unshuffle(features: jax.Array, scale: int) -> jax.Array:
    """The inverse of `pixel_shuffle`: (batch, scale H, scale W, C) to (batch, H, W, C scale^2)."""
    batch, height, width, channels = features.shape
    blocks = features.reshape(batch, height // scale, scale, width // scale, scale, channels)
    blocks = blocks.transpose(0, 1, 3, 5, 2, 4)
    return blocks.reshape(batch, height // scale, width // scale, channels * scale * scale)
