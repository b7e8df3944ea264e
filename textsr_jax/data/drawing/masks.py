"""What happens to masks of the flat drawing: they are widened, blurred, moved and sampled.

A mask is uint8 (columns, rows), 0 to 255. A row is 1 pixel high, a column `step` pixels wide.
"""

import jax
import jax.numpy as jnp
import numpy as np

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
            values = values + jnp.minimum(share / 2, 1) * (_highest(values, axis) - values)
    return _whole(values)


def outline(mask: jax.Array, stroke: jax.Array, step: jax.Array) -> jax.Array:
    """The mask with a round stroke around it, `stroke` pixels wide, at most 5.

    The parabola below ink lies at its squared distance (Felzenszwalb and Huttenlocher, 2012).
    """
    # Ink is counted from its full pixels on, which lie within it by nearly one pixel.
    stroke = stroke + 0.75
    limit = (stroke + 1) ** 2
    values = mask.astype(jnp.float32) / 255
    for axis, width in ((0, step), (1, jnp.ones_like(step))):
        values = _parabolas(values, axis, width * width / limit)
    squared = (1 - values) * limit
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
            around = _shifted(values, axis, distance) + _shifted(values, axis, -distance)
            values = jax.lax.optimization_barrier(values + share * (around - 2 * values))
    return _whole(values)


def moved(mask: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
    """The mask moved to the right by x columns and down by y rows, whole numbers, round the rim."""
    columns, rows = mask.shape
    column = (np.arange(columns) - x.astype(jnp.int32)) % columns
    row = (np.arange(rows) - y.astype(jnp.int32)) % rows
    return mask[column[:, None], row]


def swept(mask: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
    """All that the mask covers on its way by x columns and y rows."""
    steps = 2**_SWEEPS - 1
    for sweep in range(_SWEEPS):
        part = 2**sweep / steps
        mask = jnp.maximum(mask, moved(mask, jnp.round(part * x), jnp.round(part * y)))
    return mask


def sample(masks: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
    """The values of three masks between their pixels, float32 (3, height, width) in [0, 1].

    Args:
      masks: uint8 (3, columns, rows). Nothing is seen of their rims nor beyond.
      x, y: float32 (height, width), columns and rows, 0 at the centre of the first.
    """
    _, columns, rows = masks.shape
    column, row = np.arange(columns)[:, None], np.arange(rows)
    rim = (column == 0) | (column == columns - 1) | (row == 0) | (row == rows - 1)
    layers = masks.astype(jnp.uint32)
    packed = layers[0] | (layers[1] << 8) | (layers[2] << 16)
    packed = jnp.where(rim, 0, packed).ravel()
    x = jnp.clip(x, 0, columns - 1.001)
    y = jnp.clip(y, 0, rows - 1.001)
    left, top = x.astype(jnp.int32), y.astype(jnp.int32)
    right, below = x - left, y - top
    corner = left * rows + top
    weights = (1 - right) * (1 - below), (1 - right) * below, right * (1 - below), right * below
    taps = [packed[corner + offset] for offset in (0, 1, rows, rows + 1)]
    return jnp.stack(
        [
            sum(
                weight * ((tap >> shift) & 255).astype(jnp.float32)
                for weight, tap in zip(weights, taps, strict=True)
            )
            / 255
            for shift in (0, 8, 16)
        ]
    )


def _parabolas(values: jax.Array, axis: int, factor: jax.Array) -> jax.Array:
    """The highest of the parabolas that hang from every value along an axis."""
    highest = values
    for distance in range(1, _WIDEST + 1):
        around = jnp.maximum(_shifted(values, axis, distance), _shifted(values, axis, -distance))
        highest = jnp.maximum(highest, around - factor * distance**2)
    return jax.lax.optimization_barrier(highest)


def _highest(values: jax.Array, axis: int) -> jax.Array:
    """The highest of each value and its two neighbours along an axis."""
    around = jnp.maximum(_shifted(values, axis, 1), _shifted(values, axis, -1))
    return jax.lax.optimization_barrier(jnp.maximum(values, around))


def _shifted(values: jax.Array, axis: int, distance: int) -> jax.Array:
    """The values moved by a distance along an axis, with zeros in their place."""
    edges = [(0, 0, 0), (0, 0, 0)]
    edges[axis] = (distance, -distance, 0)
    return jax.lax.pad(values, jnp.zeros((), values.dtype), edges)


def _whole(values: jax.Array) -> jax.Array:
    return (values + 0.5).astype(jnp.uint8)
