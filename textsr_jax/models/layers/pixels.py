"""Pixels, as several networks handle them: colours, and the shuffle between channels and pixels."""

import jax
import jax.numpy as jnp

# By how much the super-resolution networks enlarge, and the resampler reduces.
SCALE = 2

# The mean colour of DIV2K, RGB in [0, 1], as in the published code of EDSR.
RGB_MEAN = (0.4488, 0.4371, 0.4040)


def to_gray(images: jax.Array) -> jax.Array:
    """Grey of RGB images, (batch, H, W, 3) to (batch, H, W, 1): 0.299 R + 0.587 G + 0.114 B."""
    red, green, blue = jnp.split(images, 3, axis=-1)
    return 0.299 * red + 0.587 * green + 0.114 * blue


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
