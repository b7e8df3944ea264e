"""JPEG's losses: what a picture looks like after it was compressed and opened again.

Follows ITU-T T.81, its annex K, and the habits of libjpeg, which Pillow uses.
"""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import fft

from textsr_jax.data.drawing.resampling import Scalar, settled

# Annex K's tables of quantisation, in rows of growing vertical frequency.
_LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMINANCE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *4 * ((99,) * 8,),
)
_TABLES = np.array([_LUMINANCE, _CHROMINANCE], np.float32).reshape(2, 64)

# The cosine transform of a block of 8x8 pixels, written as one line of 64.
_COSINES = fft.dct(np.eye(8), axis=0, norm="ortho")
_TRANSFORM = np.kron(_COSINES, _COSINES).astype(np.float32)


def compress(picture: jax.Array, quality: Scalar) -> jax.Array:
    """The picture after JPEG compression, with colours at half the resolution (4:2:0).

    Luma and chroma differences (ITU-R BT.601) go through the cosine transform F of blocks of 8x8;
    F becomes q round(F / q). q is annex K's table times s / 100, where s is 5000 / quality below
    a quality of 50 and 200 - 2 quality from there on. Chroma comes back by linear interpolation.

    Args:
      picture: float32 (height, 3, width), RGB, 0 to 255; height and width are multiples of 16.
      quality: (), 1 (worst) to 100, whole.

    Returns:
      float32, the same shape: whole numbers from 0 to 255.
    """
    height, _, width = picture.shape
    whole = settled(jnp.round(picture))
    red, green, blue = (whole[:, i] for i in range(3))
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    chroma = jnp.round(jnp.stack([(blue - luma) / 1.772, (red - luma) / 1.402]))
    # libjpeg rounds down and up in turns, along a row.
    fours = chroma.reshape(2, height // 2, 2, width // 2, 2).sum(axis=(2, 4))
    small = jnp.floor((fours + 1 + np.arange(width // 2) % 2) / 4)
    size = height // 8 * (width // 8)
    blocks = [_blocks(jnp.round(luma) - 128), *map(_blocks, small)]
    # What counts twice as much as a quality of 50 is half as fine.
    scale = jnp.where(quality < 50, jnp.floor(5000 / quality), 200 - 2 * quality)
    tables = settled(jnp.clip(jnp.floor((_TABLES * scale + 50) / 100), 1, 255))
    table = jnp.repeat(
        tables, np.array([size, size // 2]), axis=0, total_repeat_length=3 * size // 2
    )
    frequencies = jnp.matmul(settled(jnp.concatenate(blocks)), _TRANSFORM.T, precision="highest")
    kept = jnp.round(frequencies / table) * table
    values = settled(jnp.round(jnp.matmul(kept, _TRANSFORM, precision="highest")))
    values = jnp.clip(values, -128, 127)
    luma = _picture(values[:size], height, width) + 128
    small = jnp.stack(
        [_picture(part, height // 2, width // 2) for part in jnp.split(values[size:], 2)]
    )
    down, across = _twice(height // 2), _twice(width // 2)
    wide = jnp.matmul(small, across.T, precision="highest")
    blues, reds = settled(jnp.round(jnp.einsum("hH,cHW->chW", down, wide, precision="highest")))
    colours = (
        luma + 1.402 * reds,
        luma - (0.114 * 1.772 / 0.587) * blues - (0.299 * 1.402 / 0.587) * reds,
        luma + 1.772 * blues,
    )
    return jnp.clip(jnp.round(jnp.stack(colours, axis=1)), 0, 255)


def _blocks(plane: jax.Array) -> jax.Array:
    """The blocks of a plane (height, width) in reading order: (blocks, 64)."""
    height, width = plane.shape
    tiled = plane.reshape(height // 8, 8, width // 8, 8)
    return tiled.transpose(0, 2, 1, 3).reshape(-1, 64)


def _picture(blocks: jax.Array, height: int, width: int) -> jax.Array:
    """The plane (height, width) whose blocks these are."""
    tiled = blocks.reshape(height // 8, width // 8, 8, 8)
    return tiled.transpose(0, 2, 1, 3).reshape(height, width)


def _twice(size: int) -> np.ndarray:
    """The matrix that doubles a line: 3/4 of the nearest sample, 1/4 of the next nearest."""
    matrix = np.zeros((2 * size, size), np.float32)
    for place in range(2 * size):
        near = place // 2
        following = near + (1 if place % 2 else -1)
        matrix[place, near] += 0.75
        matrix[place, min(max(following, 0), size - 1)] += 0.25
    return matrix
