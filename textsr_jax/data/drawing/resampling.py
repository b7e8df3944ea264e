"""Resizes pictures by dense matrices, to sizes that are not known before the program runs.

A picture lies in the upper left corner of an array of fixed size, and goes on with its rim.
"""

import math
from typing import TypeVar, cast

import jax
import jax.numpy as jnp
from jax.experimental import xla_metadata

Values = TypeVar("Values")

# A number that may be known only while the program runs.
Scalar = jax.Array | float


def settled(values: Values) -> Values:
    """The values, computed once and not anew for every pixel or tap that needs them.

    XLA's CPU compiler takes `optimization_barrier` away before it fuses loops (jaxlib 0.10). It
    leaves a call alone that must not be inlined; this one returns its arguments.
    """
    return jax.lax.platform_dependent(values, cpu=_called, default=jax.lax.optimization_barrier)


def _called(values: Values) -> Values:
    with xla_metadata.set_xla_metadata(inlineable="false"):
        return jax.jit(_itself)(values)


def _itself(values: Values) -> Values:
    return values


# Pillow's filters, by number. Their footprints are 1, 2, 4 and 6 pixels of the coarser grid wide.
BOX, LINEAR, CUBIC, LANCZOS = range(4)


def footprint(distance: jax.Array, kind: Scalar) -> jax.Array:
    """How much a pixel at `distance` counts, not yet divided by the sum of all.

    With x the distance: box 1 for -1/2 < x <= 1/2; linear 1 - |x|; cubic Keys's with a = -1/2;
    Lanczos sinc(x) sinc(x / 3). Beyond its footprint each is 0.

    Args:
      distance: float32, any shape, in pixels of the coarser grid.
      kind: int32 (), one of BOX, LINEAR, CUBIC and LANCZOS.
    """
    x = jnp.abs(distance)
    # Distances that lie on the box's rim exactly may be a little off in float32.
    box = jnp.where((distance > -0.5 + 1e-5) & (distance <= 0.5 + 1e-5), 1.0, 0.0)
    linear = jnp.maximum(1 - x, 0)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((2.5 - 0.5 * x) * x - 4) * x + 2
    cubic = jnp.where(x < 1, near, jnp.where(x < 2, far, 0.0))
    # With u = pi x / 3 and q = sin(u) / u: sin(3u) = 3 sin(u) - 4 sin(u)^3, so that
    # sinc(x) sinc(x / 3) = q^2 (1 - 4/3 u^2 q^2). Seven terms of q's series are enough.
    v = jnp.minimum(x, 3.0) ** 2 * (math.pi / 3) ** 2
    q = jnp.ones_like(v)
    for n in range(8, 0, -1):
        q = 1 - v / (2 * n * (2 * n + 1)) * q
    lanczos = q * q * (1 - 4 / 3 * v * q * q)
    return jnp.where(
        kind < 1.5,
        jnp.where(kind < 0.5, box, linear),
        jnp.where(kind < 2.5, cubic, lanczos),
    )


def matrix(size: Scalar, samples: Scalar, kind: Scalar, shape: tuple[int, int]) -> jax.Array:
    """The matrix that resizes a line of `size` pixels to `samples`, as Pillow does.

    Sample i is the mean of the pixels around the place (i + 1/2) size / samples, weighed by the
    filter's footprint. Where there are fewer samples than pixels, the footprint widens.

    Args:
      size, samples: (), at least 1 and whole; at most `shape[1]` and `shape[0]`.
      kind: as for `footprint`.
      shape: the matrix's rows and columns.

    Returns:
      float32 of `shape`. Rows sum to 1; those from `samples` on repeat the last sample.
    """
    rows, columns = jnp.arange(shape[0]), jnp.arange(shape[1])
    size, samples, kind = settled(tuple(jnp.asarray(x) for x in (size, samples, kind)))
    scale = size / samples
    centres = (jnp.minimum(rows, samples - 1) + 0.5) * scale
    distances = (columns + 0.5 - centres[:, None]) / jnp.maximum(scale, 1.0)
    weights = jnp.where(columns < size, footprint(distances, kind), 0.0)
    weights = settled(weights)
    return weights / weights.sum(axis=1, keepdims=True)


def cells(size: int, samples: Scalar, shift: Scalar, blur: Scalar, rows: int) -> jax.Array:
    """The matrix that blurs a line of pixels and samples it with a sensor's cells.

    Cell i has the light around (i + 1/2) c + shift, c = size / samples pixels wide, behind a
    Gaussian blur. With R the integral of the normal distribution function, the part of its light
    from below a place e is (blur / c) (R((e + c/2) / blur) - R((e - c/2) / blur)), e from the
    cell's middle. Pixel j adds what lies between its edges. Outside the line its ends go on.

    Args:
      size: the line's pixels.
      samples: (), the cells, at most `rows`.
      shift: (), in pixels.
      blur: (), standard deviation in pixels, above 0.
      rows: the matrix's rows; those from `samples` on repeat the last cell.

    Returns:
      float32 (rows, size), not negative but for rounding; rows sum to 1.
    """
    samples, shift, blur = settled(tuple(jnp.asarray(x) for x in (samples, shift, blur)))
    cell = size / samples
    centres = (jnp.minimum(jnp.arange(rows), samples - 1) + 0.5) * cell + shift
    edges = jnp.arange(1, size) - centres[:, None]
    below = _ramp((edges + cell / 2) / blur) - _ramp((edges - cell / 2) / blur)
    below = jnp.pad(below * (blur / cell), ((0, 0), (1, 0)))
    return jnp.diff(jnp.pad(below, ((0, 0), (0, 1)), constant_values=1.0), axis=1)


def _ramp(x: jax.Array) -> jax.Array:
    """The integral of the normal distribution function."""
    below = 0.5 + 0.5 * jax.lax.erf(x / math.sqrt(2))
    return x * below + jnp.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)


def resample(picture: jax.Array, down: jax.Array, across: jax.Array) -> jax.Array:
    """The picture after a matrix for its columns and one for its rows.

    Args:
      picture: float32 (height, 3, width).
      down: float32 (new height, height).
      across: float32 (new width, width).

    Returns:
      float32 (new height, 3, new width).
    """
    rows = jnp.einsum("hH,HcW->hcW", down, picture, precision="highest")
    return jnp.einsum("hcW,wW->hcw", rows, across, precision="highest")


def resize(
    picture: jax.Array,
    old: tuple[Scalar, Scalar],
    new: tuple[Scalar, Scalar],
    kind: Scalar,
    grid: tuple[int, int],
) -> jax.Array:
    """The picture in another size.

    Args:
      picture: float32 (height, 3, width), of which the upper left part of size `old` counts.
      old, new: height and width, whole numbers.
      kind: the filter, as for `footprint`.
      grid: the size of the array that is returned.

    Returns:
      float32 (grid[0], 3, grid[1]): the picture of size `new`, and its rim repeated.
    """
    height, _, width = cast(tuple[int, int, int], picture.shape)
    down = matrix(old[0], new[0], kind, (grid[0], height))
    across = matrix(old[1], new[1], kind, (grid[1], width))
    return resample(picture, down, across)
