"""The view of a flat word: bent, slanted, turned, in perspective, and cropped to the scene.

Follows `synthetic.view` with its numbers, as array code for one word.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from textsr_jax.data.synthetic import view as shares
from textsr_jax.data.synthetic.view import HEIGHT, WIDTH

# atan(z) / z as a polynomial in z * z, for z from -1 to 1 (Abramowitz and Stegun, 4.4.47).
_ARCTAN = (0.0208351, -0.0851330, 0.1801410, -0.3302995, 0.9998660)

_STRAIGHT = 1e-6  # the curvature of a straight word, in place of 0


class Edges(NamedTuple):
    """The outline of the ink, from which the crop follows.

    Attributes:
      x: float32 (points,), pixels of the flat drawing.
      top, bottom: float32 (points,), where the ink begins and ends there; y downwards.
      inked: bool (points,), whether there is ink.
    """

    x: jax.Array
    top: jax.Array
    bottom: jax.Array
    inked: jax.Array


def look(key: jax.Array, edges: Edges) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Looks at the flat word and crops it: where each pixel of the scene lies on the flat drawing.

    Args:
      key: where all randomness comes from.
      edges: of the word; at least one point has ink.

    Returns:
      x, y: float32 (64, 256), in pixels of the flat drawing.
      aspect: float32, the crop's width over its height before it is stretched.
    """
    bend_key, matrix_key, margin_key = jax.random.split(key, 3)
    left, right = _bounds(edges.x, edges.inked)
    top, _ = _bounds(edges.top, edges.inked)
    _, bottom = _bounds(edges.bottom, edges.inked)
    width, height = right - left, bottom - top
    middle_x, middle_y = (left + right) / 2, (top + bottom) / 2
    curvature = _curvature(bend_key, width, height)
    matrix = _perspective(matrix_key, width, height)

    x = jnp.tile(edges.x, 2) - middle_x
    y = jnp.concatenate([edges.top, edges.bottom]) - middle_y
    u, v = _transform(matrix, *_bend(curvature, x, y))
    inked = jnp.tile(edges.inked, 2)
    left, right = _bounds(u, inked)
    top, bottom = _bounds(v, inked)
    margin = _margins(margin_key) * jnp.minimum(bottom - top, right - left)
    left, right = left - margin[0], right + margin[1]
    top, bottom = top - margin[2], bottom + margin[3]
    u = left + (right - left) * ((np.arange(WIDTH, dtype=np.float32) + 0.5) / WIDTH)
    v = top + (bottom - top) * ((np.arange(HEIGHT, dtype=np.float32) + 0.5) / HEIGHT)
    x, y = _unbend(curvature, *_transform(_inverse(matrix), u[None, :], v[:, None]))
    return x + middle_x, y + middle_y, (right - left) / (bottom - top)


def _bounds(values: jax.Array, inked: jax.Array) -> tuple[jax.Array, jax.Array]:
    return (
        jnp.where(inked, values, jnp.inf).min(),
        jnp.where(inked, values, -jnp.inf).max(),
    )


def _curvature(key: jax.Array, width: jax.Array, height: jax.Array) -> jax.Array:
    """One over the arc's radius, positive for a hill, never 0.

    The arc's centre stays clear of the letters.
    """
    chance, size = _pair(key)
    limit = jnp.minimum(shares.MOST_BENT, shares.BEND_BY_WIDTH * width / height)
    turn = jnp.where(chance < shares.BENT, jnp.clip(shares.BEND * size, -limit, limit), 0.0)
    curvature = turn / width
    return jnp.where(jnp.abs(curvature) < _STRAIGHT, _STRAIGHT, curvature)


def _bend(curvature: jax.Array, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    angle = x * curvature
    sine, half = jnp.sin(angle), jnp.sin(angle / 2)
    # 1 - cos(a) is 2 sin(a / 2)^2, which keeps its digits where the curvature is small.
    lost = 2 * half * half
    return (1 / curvature - y) * sine, y * (1 - lost) + lost / curvature


def _unbend(curvature: jax.Array, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The inverse of `_bend`, which divides by nothing that is small where the word is straight."""
    across, along = curvature * x, 1 - curvature * y
    distance = jnp.sqrt(across * across + along * along)
    tangent = across / jnp.maximum(along, 1e-3)
    # No letter lies farther than 1 radian from the arc's middle; beyond, the drawing ends.
    square = jnp.minimum(tangent * tangent, 1.0)
    series = jnp.full_like(square, _ARCTAN[0])
    for factor in _ARCTAN[1:]:
        series = series * square + factor
    return (
        x / jnp.maximum(along, 1e-3) * series,
        (2 * y - curvature * (x * x + y * y)) / (1 + distance),
    )


def _perspective(key: jax.Array, width: jax.Array, height: jax.Array) -> jax.Array:
    """A 3x3 homography of the flat: a slant, then a turn, then a tilt away from the camera."""
    number_key, normal_key = jax.random.split(key)
    chances = jax.random.uniform(number_key, (4,))
    sizes = jax.random.normal(normal_key, (4,))
    slant = jnp.where(chances[0] < shares.SLANTED, shares.SLANT * sizes[0], 0.0)
    parts, spreads = np.array(shares.TURNS, np.float32).T
    spread = jnp.asarray(spreads)[jnp.minimum((chances[1] >= parts).sum(), len(parts) - 1)]
    # A long word that is turned far would be a thin diagonal in its box.
    limit = jnp.arctan2(shares.TURNED_HEIGHT * height, width)
    angle = jnp.clip(jnp.deg2rad(spread * sizes[1]), -limit, limit)
    tilts = []
    for place, usual, most, length in (
        (2, shares.TILT_X, shares.MOST_TILT_X, width),
        (3, shares.TILT_Y, shares.MOST_TILT_Y, height),
    ):
        tilt = jnp.where(chances[place] < shares.TILTED, usual * sizes[place], 0.0)
        tilts.append(jnp.clip(tilt, -most, most) / (length / 2))
    cosine, sine = jnp.cos(angle), jnp.sin(angle)
    # The turn after the slant, then the tilt, written out.
    row = jnp.stack([cosine, cosine * slant - sine])
    column = jnp.stack([sine, sine * slant + cosine])
    depth = tilts[0] * row + tilts[1] * column
    affine = jnp.stack([row, column, depth])
    return jnp.concatenate([affine, jnp.array([[0.0], [0.0], [1.0]])], axis=1)


def _inverse(matrix: jax.Array) -> jax.Array:
    """The inverse of a homography of `_perspective`, whose last column is (0, 0, 1)."""
    (a, b), (c, d), (e, f) = matrix[:, :2]
    scale = 1 / (a * d - b * c)
    a, b, c, d = d * scale, -b * scale, -c * scale, a * scale
    return jnp.stack(
        [
            jnp.stack([a, b, jnp.zeros_like(a)]),
            jnp.stack([c, d, jnp.zeros_like(a)]),
            jnp.stack([-(e * a + f * c), -(e * b + f * d), jnp.ones_like(a)]),
        ]
    )


def _transform(matrix: jax.Array, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    depth = 1 / (matrix[2, 0] * x + matrix[2, 1] * y + matrix[2, 2])
    return (
        (matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2]) * depth,
        (matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2]) * depth,
    )


def _margins(key: jax.Array) -> jax.Array:
    """The crop's margins left, right, above and below, as parts of the word's height."""
    number_key, normal_key = jax.random.split(key)
    size = shares.MARGIN * jnp.exp(shares.MARGIN_SPREAD * jax.random.normal(normal_key))
    chance, side, which, *sides = jax.random.uniform(number_key, (7,))
    low, high = shares.MARGIN_SIDES
    margins = jnp.minimum(size, shares.MOST_MARGIN) * (low + (high - low) * jnp.stack(sides))
    choices = jnp.array(shares.CARELESS_MARGINS)
    careless = choices[(which * len(choices)).astype(jnp.int32)]
    # A careless crop: it has too much on one side, or cuts off a little of the word.
    here = (chance < shares.CARELESS) & (jnp.arange(4) == (side * 4).astype(jnp.int32))
    return jnp.where(here, careless, margins)


def _pair(key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A uniform and a normal random number."""
    first, second = jax.random.split(key)
    return jax.random.uniform(first), jax.random.normal(second)
