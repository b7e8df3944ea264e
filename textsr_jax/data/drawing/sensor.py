"""What a camera's sensor does to light: noise, a colour for every cell, too little or too much.

Pictures are float32 (height, 3, width), RGB, 0 to 255, coded with a gamma of about 2. So shot
noise, whose variance grows with the light, is as strong everywhere.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from textsr_jax.data.drawing.resampling import Scalar, settled

# Sums of four random bytes: their mean and their standard deviation.
_MEAN, _DEVIATION = 4 * 127.5, (4 * (256**2 - 1) / 12) ** 0.5


def normal(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Nearly normal numbers of mean 0 and variance 1, fast: float32 of `shape`, within 3.46.

    Each is the sum of the four bytes of one random word (Irwin and Hall's distribution). The words
    are hashes of their places (Wellons's lowbias32), begun with two words of the key.
    """
    first, second = jax.random.bits(key, (2,))
    places = jnp.arange(math.prod(shape), dtype=jnp.uint32).reshape(shape)
    bits = _hash(_hash(places + first) ^ second)
    # Two sums at a time: of the bytes 0 and 2, and of 1 and 3.
    pairs = (bits & 0x00FF00FF) + ((bits >> 8) & 0x00FF00FF)
    total = (pairs & 0xFFFF) + (pairs >> 16)
    return settled((total.astype(jnp.float32) - _MEAN) / _DEVIATION)


def _hash(words: jax.Array) -> jax.Array:
    words = (words ^ (words >> 16)) * jnp.uint32(0x7FEB352D)
    words = (words ^ (words >> 15)) * jnp.uint32(0x846CA68B)
    return words ^ (words >> 16)


def mosaic(picture: jax.Array, noise: jax.Array, phase: jax.Array) -> jax.Array:
    """The picture as a sensor with a Bayer pattern sees it, with linear interpolation.

    Cells lie in squares of red, green / green, blue. Each measures its own colour with noise;
    a missing colour is the mean of the nearest cells that have it, two or four.

    Args:
      picture: see above; height and width are even.
      noise: float32 (height, width), levels.
      phase: int32 (2,), 0 or 1: the row and the column where a square begins.
    """
    height, _, width = picture.shape
    row = (np.arange(height)[:, None] + phase[0]) % 2
    column = (np.arange(width) + phase[1]) % 2
    red, blue = (1 - row) * (1 - column), row * column
    green = (row + column) % 2
    seen = red * picture[:, 0] + green * picture[:, 1] + blue * picture[:, 2] + noise
    seen = settled(seen)
    colours = []
    for cells in (red, green, blue):
        # Reflected without its rim, the pattern goes on.
        own = jnp.pad(cells * seen, 1, mode="reflect")
        sides = own[1:-1, :-2] + own[1:-1, 2:] + own[:-2, 1:-1] + own[2:, 1:-1]
        if cells is green:
            colours.append(own[1:-1, 1:-1] + sides / 4)
        else:
            corners = own[:-2, :-2] + own[:-2, 2:] + own[2:, :-2] + own[2:, 2:]
            colours.append(own[1:-1, 1:-1] + sides / 2 + corners / 4)
    return jnp.stack(colours, axis=1)


def overexpose(picture: jax.Array, mean: Scalar, level: Scalar, veil: Scalar) -> jax.Array:
    """Too much light: min(255, v + (1 - v / 255) g p), with a gain g and scattered light v.

    Args:
      picture: see above.
      mean: (), its mean level.
      level: (), the level that g brings the mean to, if that takes a g of 1 to 2.5.
      veil: (), v, from 0 to 255.
    """
    gain = jnp.clip(level / jnp.maximum(mean, 1), 1, 2.5)
    return jnp.minimum(veil + gain * (1 - veil / 255) * picture, 255)
