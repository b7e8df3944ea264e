"""What happens to masks of the flat drawing: they are widened, blurred, moved and sampled.

A mask is uint8 (columns, rows), 0 to 255. A row is 1 pixel high, a column `step` pixels wide.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from textsr_jax.data.drawing.resampling import settled
from textsr_jax.data.drawing.view import Edges

_WIDEST = 6  # pixels, the reach of an outline
_BLURS = (1, 2, 4, 8)  # distances of the taps of a blur's passes
_SWEEPS = 3  # doublings of a block's depth

# From this value on a pixel belongs to the ink, as in `synthetic.lettering.ink_edges`.
_INKED = 64


def edges(ink: jax.Array, box: jax.Array, step: jax.Array) -> Edges:
    """Where the ink begins and ends on both sides of every second column.

    Args:
      ink: a mask.
      box: int32 (4,), first and last column, first and last row, the last ones excluded.
      step: float32, the width of a column.
    """
    columns, rows = ink.shape
    column, row = np.arange(columns)[:, None], np.arange(rows)
    inked = (ink > _INKED) & (column >= box[0]) & (column < box[1])
    inked &= (row >= box[2]) & (row < box[3])
    top = jnp.where(inked, row, rows).min(axis=1).astype(jnp.float32)
    bottom = jnp.where(inked, row + 1, 0).max(axis=1).astype(jnp.float32)
    # Two columns in one: neither loses its upper nor its lower end.
    top = top.reshape(-1, 2).min(axis=1)
    bottom = bottom.reshape(-1, 2).max(axis=1)
    any_inked = inked.any(axis=1)
    left = np.arange(0, columns, 2) + ~any_inked[::2]
    right = np.arange(0, columns, 2) + 1 + any_inked[1::2]
    return Edges(
        x=jnp.concatenate([left, right]) * step,
        top=jnp.tile(top, 2),
        bottom=jnp.tile(bottom, 2),
        inked=jnp.tile(bottom > 0, 2),
    )


def bolder(mask: jax.Array, stroke: jax.Array, step: jax.Array) -> jax.Array:
    """The mask with its edges moved outwards by `stroke` pixels, at most 2."""
    values = mask.astype(jnp.float32)
    for _ in range(2):
        for axis, share in ((0, stroke / step), (1, stroke)):
            near = _around(values, axis, 1)
            highest = jnp.maximum(jnp.maximum(near(-1), near(1)), values)
            values = values + jnp.minimum(share / 2, 1) * (highest - values)
    return _whole(values)


def outline(mask: jax.Array, stroke: jax.Array, step: jax.Array) -> jax.Array:
    """The mask with a round stroke around it, `stroke` pixels wide, at most 5.

    The parabola below ink lies at its squared distance (Felzenszwalb and Huttenlocher, 2012).
    """
    # Ink is counted from its full pixels on, which lie within it by nearly one pixel.
    stroke = stroke + 0.75
    limit = (stroke + 1) ** 2
    values = mask
    for axis, width in ((0, step), (1, jnp.ones_like(step))):
        values = _parabolas(values, axis, width * width / limit)
    squared = (1 - values.astype(jnp.float32) / 255) * limit
    return _whole(255 * jnp.clip((stroke**2 - squared) / (2 * stroke) + 0.5, 0, 1))


def blurred(mask: jax.Array, deviation: jax.Array, step: jax.Array) -> jax.Array:
    """The mask blurred like a Gaussian of a standard deviation in pixels, at most 7."""
    values = mask.astype(jnp.float32)
    for axis, width in ((0, step), (1, jnp.ones_like(step))):
        variance = (deviation / width) ** 2
        for distance in _BLURS:
            # Near taps first; each pass takes as much of the variance as three equal taps have.
            share = jnp.clip(variance / (2 * distance**2), 0, 1 / 3)
            variance -= 2 * distance**2 * share
            near = _around(values, axis, distance)
            values = values + share * (near(-distance) + near(distance) - 2 * values)
    return _whole(values)


def moved(mask: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
    """The mask moved to the right by x columns and down by y rows, whole numbers, round the rim."""
    columns, rows = mask.shape
    column = (np.arange(columns) - x.astype(jnp.int32)) % columns
    row = (np.arange(rows) - y.astype(jnp.int32)) % rows
    # Numbers in one line: XLA's CPU code for gathering along two axes is slow.
    places = settled(settled(column * rows)[:, None] + settled(row))
    moved = mask.ravel().at[places.ravel()].get(mode="promise_in_bounds")
    return settled(moved).reshape(columns, rows)


def swept(mask: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
    """All that the mask covers on its way by x columns and y rows."""
    steps = 2**_SWEEPS - 1
    for sweep in range(_SWEEPS):
        part = 2**sweep / steps
        behind = moved(mask, jnp.round(part * x), jnp.round(part * y))
        mask = settled(jnp.maximum(mask, behind))
    return mask


class Places(NamedTuple):
    """Where the pixels of the scene lie on the flat drawing, row after row; each (pixels,).

    Attributes:
      corner: int32, which pixel of a mask lies to the left and above.
      right, below: float32 in [0, 1), how far from there.
    """

    corner: jax.Array
    right: jax.Array
    below: jax.Array


def places(x: jax.Array, y: jax.Array, shape: tuple[int, int]) -> Places:
    """For `sample`.

    Args:
      x, y: float32 (height, width), columns and rows, 0 at the centre of the first.
      shape: columns and rows of the masks.
    """
    columns, rows = shape
    x = jnp.clip(x, 0, columns - 1.001).ravel()
    y = jnp.clip(y, 0, rows - 1.001).ravel()
    left, top = x.astype(jnp.int32), y.astype(jnp.int32)
    return Places(*settled((left * rows + top, x - left, y - top)))


def sample(mask: jax.Array, places: Places) -> jax.Array:
    """The values of a mask between its pixels, float32 (pixels,) in [0, 1].

    Nothing is seen of its rim nor beyond.
    """
    columns, rows = mask.shape
    column, row = np.arange(columns)[:, None], np.arange(rows)
    rim = (column == 0) | (column == columns - 1) | (row == 0) | (row == rows - 1)
    blank = jnp.zeros(rows + 1, mask.dtype)
    values = settled(jnp.concatenate([settled(jnp.where(rim, 0, mask)).ravel(), blank]))
    # The four pixels of every square in one number: one look instead of four.
    squares = jnp.zeros(columns * rows, jnp.uint32)
    for place, start in enumerate((0, 1, rows, rows + 1)):
        part = values[start : start + columns * rows].astype(jnp.uint32)
        squares |= part << (8 * place)
    taps = settled(squares).at[places.corner].get(mode="promise_in_bounds")
    one, two, three, four = (
        ((settled(taps) >> (8 * place)) & 255).astype(jnp.float32) for place in range(4)
    )
    left, right = one + places.below * (two - one), three + places.below * (four - three)
    return (left + places.right * (right - left)) / 255


def _parabolas(values: jax.Array, axis: int, factor: jax.Array) -> jax.Array:
    """The highest of the parabolas that hang from every value along an axis, uint8.

    Args:
      values: a mask.
      factor: (), how far a parabola falls at a distance of 1, as a part of 255.
    """
    near, highest = _around(values, axis, _WIDEST), values
    for distance in range(1, _WIDEST + 1):
        fall = jnp.minimum(jnp.round(255 * factor * distance**2), 255).astype(jnp.uint8)
        around = jnp.maximum(near(-distance), near(distance))
        highest = jnp.maximum(highest, jnp.maximum(around, fall) - fall)
    return settled(highest)


def _around(values: jax.Array, axis: int, reach: int) -> Callable[[int], jax.Array]:
    """Gives the values moved by at most `reach` along an axis, with zeros in their place.

    They are slices of one array: XLA's CPU code for `lax.pad` within other code is slow.
    """
    size = values.shape[axis]
    shape = tuple(reach if i == axis else length for i, length in enumerate(values.shape))
    blank = jnp.zeros(shape, values.dtype)
    padded = settled(jnp.concatenate([blank, settled(values), blank], axis=axis))

    def moved(distance: int) -> jax.Array:
        return jax.lax.slice_in_dim(padded, reach - distance, reach - distance + size, axis=axis)

    return moved


def _whole(values: jax.Array) -> jax.Array:
    return settled((values + 0.5).astype(jnp.uint8))
