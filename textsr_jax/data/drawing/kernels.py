"""Filters of a lens, a moving hand and a camera's processor: kernels of 7x7 pixels and shorter.

Pictures are float32 (height, 3, width). Beyond the array they go on with their outermost pixels.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from textsr_jax.data.drawing.resampling import Scalar, settled
from textsr_jax.data.synthetic.camera import DISC

REACH = 3  # pixels from a kernel's middle to its end
_SIDE = np.arange(-REACH, REACH + 1, dtype=np.float32)
_LINE = np.linspace(-0.5, 0.5, 33, dtype=np.float32)


def gaussian(along: Scalar, across: Scalar, angle: Scalar) -> jax.Array:
    """An anisotropic Gaussian: exp(-(u^2 / along^2 + v^2 / across^2) / 2), divided by its sum.

    u and v are the coordinates on axes that are turned by `angle`.

    Args:
      along, across: (), standard deviations in pixels, at least 0. The kernel cuts off what lies
        more than 3 pixels away.
      angle: (), radians from the x axis to the y axis, which points down.

    Returns:
      float32 (7, 7), y and x, with the sum 1; so do `disc` and `line`.
    """
    y, x = _SIDE[:, None], _SIDE
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    u = (cos * x + sin * y) / jnp.maximum(along, 1e-3)
    v = (cos * y - sin * x) / jnp.maximum(across, 1e-3)
    kernel = jnp.exp(-0.5 * (u * u + v * v))
    return kernel / kernel.sum()


def disc(radius: Scalar) -> jax.Array:
    """Defocus: the mean over a disc of `radius` pixels, at most 3."""
    return spread(radius * jnp.asarray(DISC, jnp.float32))


def line(length: Scalar, angle: Scalar) -> jax.Array:
    """Motion: the mean along a line of `length` pixels, at most 6, in the direction `angle`."""
    steps = jnp.asarray(length) * _LINE[:, None]
    return spread(steps * jnp.stack([jnp.cos(angle), jnp.sin(angle)]))


def spread(offsets: jax.Array) -> jax.Array:
    """The mean of a picture over many places, each shared linearly by the four pixels around it.

    Args:
      offsets: float32 (points, 2), x and y in pixels; held within 3 pixels.
    """
    held = jnp.clip(offsets, -REACH, REACH)
    shares = jnp.maximum(1 - jnp.abs(held[..., None] - _SIDE), 0)
    kernel = jnp.einsum("nx,ny->yx", shares[:, 0], shares[:, 1], precision="highest")
    return kernel / len(offsets)


def variances(kernel: jax.Array) -> jax.Array:
    """How far a kernel spreads the light along y and x: float32 (2,), pixels squared."""
    squares = _SIDE * _SIDE
    return jnp.stack([kernel.sum(axis=1) @ squares, kernel.sum(axis=0) @ squares])


def convolve(picture: jax.Array, kernel: jax.Array) -> jax.Array:
    """Every pixel's light, spread as `kernel` (7, 7) says."""
    height, _, width = picture.shape
    padded, kernel = _framed(picture, REACH, REACH), settled(kernel)
    blurred = jnp.zeros_like(picture)
    # The kernel is turned, as a convolution's is.
    for y in range(2 * REACH + 1):
        for x in range(2 * REACH + 1):
            part = padded[y : y + height, :, x : x + width]
            blurred += kernel[2 * REACH - y, 2 * REACH - x] * part
    return blurred


def sharpen(picture: jax.Array, amount: Scalar, blur: Scalar) -> jax.Array:
    """Unsharp masking, which leaves halos at edges: p + amount (p - G p).

    Args:
      picture: see above.
      amount: (), at least 0.
      blur: (), standard deviation of the Gaussian G in pixels, at most 1.5.
    """
    height, _, width = picture.shape
    taps = jnp.exp(-0.5 * (_SIDE / jnp.maximum(blur, 1e-3)) ** 2)
    taps = settled(taps / taps.sum())
    padded = _framed(picture, REACH, REACH)
    steps = range(2 * REACH + 1)
    rows = settled(sum((taps[i] * padded[i : i + height] for i in steps), jnp.zeros(())))
    blurred = sum(taps[i] * rows[..., i : i + width] for i in steps)
    return picture + amount * (picture - blurred)


def _framed(picture: jax.Array, rows: int, columns: int) -> jax.Array:
    """The picture with its rim repeated."""
    picture = settled(picture)
    return settled(jnp.pad(picture, ((rows, rows), (0, 0), (columns, columns)), mode="edge"))


def shift_rows(picture: jax.Array, offsets: jax.Array) -> jax.Array:
    """Moves every row along itself, with linear interpolation.

    Args:
      picture: see above.
      offsets: float32 (height,), pixels to the right; held within 3 pixels.
    """
    width = picture.shape[-1]
    held = settled(jnp.clip(offsets, -REACH, REACH))
    padded = _framed(picture, 0, REACH)
    moved = jnp.zeros_like(picture)
    for x in range(2 * REACH + 1):
        share = jnp.maximum(1 - jnp.abs(held - (REACH - x)), 0)
        moved += share[:, None, None] * padded[..., x : x + width]
    return moved


def rolling(rows: int, skew: Scalar, wobble: Scalar, waves: Scalar, phase: Scalar) -> jax.Array:
    """What a rolling shutter moves the rows by: float32 (rows,), pixels, for `shift_rows`.

    Rows are read one after the other, while the camera pans (s (t - 1/2), t from 0 to 1 down the
    picture) and shakes (w sin(2 pi n t + phase)).

    Args:
      rows: the picture's height.
      skew, wobble: (), s and w, in pixels.
      waves: (), n, the shakes from top to bottom.
      phase: (), radians.
    """
    t = np.linspace(0, 1, rows, dtype=np.float32)
    return jnp.asarray(skew) * (t - 0.5) + wobble * jnp.sin(
        2 * math.pi * jnp.asarray(waves) * t + phase
    )


def interlaced(rows: int, gap: Scalar) -> jax.Array:
    """The comb of interlaced video, as `rolling`: odd rows were taken `gap` pixels later."""
    return jnp.asarray(gap) * (np.arange(rows, dtype=np.float32) % 2 - 0.5)
