"""Grounds of the letters, as `synthetic.backgrounds` draws them, in array code.

They are flat paint, paper, wood, brick, stone, leaves, lights and posters.

A surface is float32 (3, 64, 256), 0 to 255: red, green and blue stand apart, which keeps the
arrays' last axis long.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from textsr_jax.data.drawing import colours, strata
from textsr_jax.data.synthetic.view import HEIGHT, WIDTH

# The middles of the scene's pixels.
_X = np.arange(WIDTH, dtype=np.float32) + np.float32(0.5)
_Y = np.arange(HEIGHT, dtype=np.float32)[:, None] + np.float32(0.5)

_BORDERED = 0.13
_OCTAVES = 5
_MOST_DISCS = 19
_MOST_THINGS = 6
_MOST_CORNERS = 5


def draw_batch(keys: jax.Array, grounds: jax.Array, letters: jax.Array) -> jax.Array:
    """Surfaces on which the letters stand out, of the kinds and shares of `KINDS`.

    Args:
      keys: (batch,) keys of `jax.random`. The first also decides which word gets which kind.
      grounds, letters: float32 (batch, 3), the colours of grounds and letters, 0 to 255.

    Returns:
      float32 (batch, 3, 64, 256), about 0 to 255; a few values lie beyond. Busy grounds leave at
      least a third of the letters' contrast.
    """
    count = len(keys)
    own = jax.vmap(lambda key: jax.random.split(key, 4))(keys)
    of_borders, of_kinds = jax.random.split(own[0, 3])

    words = strata.members(strata.shuffle(of_borders, count), 0, _BORDERED)
    covers, paints = jax.vmap(border)(strata.rows(own[:, 0], words))
    covers = jnp.zeros((count, 1, HEIGHT, WIDTH)).at[words, 0].set(covers, mode="drop")
    paints = jnp.zeros((count, 3)).at[words].set(paints, mode="drop")
    flat = grounds[:, :, None, None]
    surfaces = flat + covers * (paints[:, :, None, None] - flat)

    order = strata.shuffle(of_kinds, count)
    drawn, sources, low = [surfaces], jnp.arange(count), 0.0
    for kind in KINDS:
        words = strata.members(order, low, low + kind.share)
        low += kind.share
        part = jax.vmap(kind.draw)(strata.rows(own[:, 1], words), strata.rows(surfaces, words))
        if kind.busy:
            colour = strata.rows(grounds, words), strata.rows(letters, words)
            part = jax.vmap(subdue)(strata.rows(own[:, 2], words), part, *colour)
        places = sum(map(len, drawn)) + jnp.arange(len(words))
        sources = sources.at[words].set(places, mode="drop")
        drawn.append(part)
    return jnp.concatenate(drawn)[sources]


def clouds(key: jax.Array, rows: int, columns: int) -> jax.Array:
    """Smooth noise with `rows` x `columns` bumps, float32 (64, 256), near [-1, 1]."""
    return _smooth(_noise(key, (rows, columns)), rows, columns)


def blur(images: jax.Array, sigma: jax.Array) -> jax.Array:
    """Images (..., 64, 256) after a Gaussian blur with `sigma`, in pixels, the same for all."""
    return _gaussian(sigma, HEIGHT) @ (images @ _gaussian(sigma, WIDTH).T)


def subdue(key: jax.Array, surface: jax.Array, ground: jax.Array, letters: jax.Array) -> jax.Array:
    """Keeps a busy surface from taking more than two thirds of the letters' contrast.

    Args:
      key: chooses how much it may take.
      surface: float32 (3, 64, 256).
      ground, letters: float32 (3,), the colours that the letters' contrast is of.
    """
    most = between(jax.random.uniform(key), 0.25, 0.66)
    contrast = colours.luma(letters) - colours.luma(ground)
    side = jnp.where(contrast < 0, -1.0, 1.0)
    nearer = side * (colours.luma(surface, axis=0) - colours.luma(ground))
    return surface - side * jnp.maximum(nearer - most * jnp.abs(contrast), 0)


def border(key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A sign's edge or frame: a line along it, or something else beyond it.

    Returns:
      cover: float32 (64, 256), 1 where it hides the sign, else 0.
      colour: float32 (3,), 0 to 255.
    """
    of_sides, of_colour = jax.random.split(key)
    shown, depth, start, end, thin, width = jax.random.uniform(of_sides, (6, 4))
    cover = jnp.zeros((HEIGHT, WIDTH), bool)
    for side in range(4):
        if side < 2:
            extent, across, along, most = HEIGHT, _Y, _X / WIDTH, 0.10
        else:
            extent, across, along, most = WIDTH, _X, _Y / HEIGHT, 0.04
        across = extent - across if side % 2 else across
        deep = extent * between(depth[side], 0.01, most)
        near, far = (deep + between(shift[side], -3, 3) for shift in (start, end))
        distance = across - (near + (far - near) * along)
        line = jnp.abs(distance) < _whole(width[side], 1, 5) / 2
        cover |= (shown[side] >= 0.5) & jnp.where(thin[side] < 0.4, line, distance < 0)
    return cover.astype(jnp.float32), colours.paints(of_colour, 1)[0]


def paper(key: jax.Array, surface: jax.Array) -> jax.Array:
    """Paper, plaster, cloth: rough in a few sizes."""
    of_coarse, of_fine, of_part, of_strength = jax.random.split(key, 4)
    rough = clouds(of_coarse, 3, 12)
    rough += between(jax.random.uniform(of_part), 0, 0.8) * clouds(of_fine, 16, 64)
    return surface + 12 * jnp.abs(jax.random.normal(of_strength)) * rough


def planks(key: jax.Array, surface: jax.Array) -> jax.Array:
    """Planks and brushed metal: rough in one direction only."""
    of_flat, of_upright, of_kind, of_strength = jax.random.split(key, 4)
    flat = jax.random.uniform(of_kind) < 0.7
    grain = jnp.where(flat, clouds(of_flat, 24, 2), clouds(of_upright, 2, 48))
    return surface + 14 * jnp.abs(jax.random.normal(of_strength)) * grain


def posters(key: jax.Array, surface: jax.Array) -> jax.Array:
    """Posters and shop windows: patches of another colour behind the letters."""
    of_patches, of_colour = jax.random.split(key)
    change = 45 * jax.random.normal(of_colour, (3, 1, 1))
    return surface + jnp.clip(clouds(of_patches, 3, 8), 0, 1) * change


def gradient(key: jax.Array, surface: jax.Array) -> jax.Array:
    """A ramp from one colour to another, in any direction: skies, screens, print."""
    of_ramp, of_colour = jax.random.split(key)
    turn, start, steep = jax.random.uniform(of_ramp, (3,))
    angle = 2 * math.pi * turn
    x = np.linspace(-1, 1, WIDTH, dtype=np.float32) * jnp.cos(angle)
    y = np.linspace(-1, 1, HEIGHT, dtype=np.float32)[:, None] * jnp.sin(angle)
    ramp = (x + y + between(start, -0.5, 0.5)) * between(steep, 0.5, 1.5)
    other = colours.paints(of_colour, 1)[0][:, None, None]
    return surface + jnp.clip(ramp, 0, 1) * (other - surface)


def texture(key: jax.Array, surface: jax.Array) -> jax.Array:
    """Noise of five octaves in two colours: stone, rust, concrete, and leaves where it is sharp."""
    of_sizes, of_shape, of_colour, *of_octaves = jax.random.split(key, 3 + _OCTAVES)
    first, *ratios = jax.random.randint(of_sizes, (1 + _OCTAVES,), 2, 5)
    persistence, strength, veined, sharp, part = jax.random.uniform(of_shape, (5,))
    persistence = between(persistence, 0.5, 0.95)
    noise = jnp.zeros((HEIGHT, WIDTH))
    for octave, (ratio, of_octave) in enumerate(zip(ratios, of_octaves, strict=True)):
        rows = jnp.minimum(first << octave, HEIGHT)
        columns = jnp.minimum(rows * ratio, WIDTH)
        most = min(4 << octave, HEIGHT), min(16 << octave, WIDTH)
        noise += persistence**octave * _smooth(_noise(of_octave, most), rows, columns)
    noise *= between(strength, 0.6, 1.6) / jnp.std(noise)
    # Veins and the gaps between leaves.
    noise = jnp.where(veined < 0.4, 2 * jnp.abs(noise) - 1, noise)
    mixed = jax.nn.sigmoid(between(sharp, 1, 4) * noise) * between(part, 0.3, 1)
    return surface + mixed * (_companion(of_colour, surface)[:, None, None] - surface)


def bricks(key: jax.Array, surface: jax.Array) -> jax.Array:
    """Courses of bricks or tiles, each of its own shade, and the joints between them."""
    of_sizes, of_shades, of_mortar, of_rough = jax.random.split(key, 4)
    tall, wide, above, aside, bond, gap, vivid = jax.random.uniform(of_sizes, (7,))
    down, across, joint = between(tall, 8, 40), between(wide, 16, 100), between(gap, 0.6, 2.5)
    y = jnp.arange(HEIGHT)[:, None] / down + above
    row = y.astype(jnp.int32)
    x = jnp.arange(WIDTH) / across + aside + jnp.where(bond < 0.8, 0.5 * (row % 2), 0)
    column = x.astype(jnp.int32)
    gaps = ((y % 1) * down < joint) | ((x % 1) * across < joint)
    # Of the smallest bricks, 9 courses are in the scene, and 18 bricks in a course.
    shades = between(vivid, 3, 18) * jax.random.normal(of_shades, (9, 18))
    mortar, rough = jax.random.normal(of_mortar, (2,))
    shade = shades[row, column] + 8 * jnp.abs(rough) * clouds(of_rough, 24, 96)
    return surface + jnp.where(gaps, 45 * mortar, shade)


def bokeh(key: jax.Array, surface: jax.Array) -> jax.Array:
    """Lights out of focus: soft discs of many colours."""
    of_picture, of_discs, of_colours = jax.random.split(key, 3)
    count, size, soft = jax.random.uniform(of_picture, (3,))
    x, y, ratio, opacity = jax.random.uniform(of_discs, (4, _MOST_DISCS))
    radius = between(size, 4, 20) * between(ratio, 0.7, 1.3)
    drawn = jnp.arange(_MOST_DISCS) < _whole(count, 4, _MOST_DISCS + 1)
    opacity = jnp.where(drawn, between(opacity, 60, 200) / 255, 0)

    def add(picture: jax.Array, disc: Any) -> tuple[jax.Array, None]:
        x, y, radius, opacity, colour = disc
        inside = (_X - x) ** 2 + (_Y - y) ** 2 < radius**2
        return lay(picture, jnp.where(inside, opacity, 0), colour), None

    discs = WIDTH * x, HEIGHT * y, radius, opacity, colours.paints(of_colours, _MOST_DISCS)
    picture, _ = jax.lax.scan(add, jnp.clip(surface, 0, 255), discs)
    return blur(picture, between(soft, 0.5, 3))


def things(key: jax.Array, surface: jax.Array) -> jax.Array:
    """Poles, edges of houses, other signs and pictures, sharp or blurred."""
    of_picture, of_things, of_colours = jax.random.split(key, 3)
    count, blurred, soft = jax.random.uniform(of_picture, (3,))
    corners = jax.vmap(_corners)(jax.random.split(of_things, _MOST_THINGS))
    paints = jax.vmap(_companion, (0, None))(jax.random.split(of_colours, _MOST_THINGS), surface)
    drawn = jnp.arange(_MOST_THINGS) < _whole(count, 1, _MOST_THINGS + 1)

    def add(picture: jax.Array, thing: Any) -> tuple[jax.Array, None]:
        corners, colour, drawn = thing
        return lay(picture, jnp.where(drawn, _polygon(corners), 0), colour), None

    picture, _ = jax.lax.scan(add, jnp.clip(surface, 0, 255), (corners, paints, drawn))
    # So small a sigma leaves the picture as it is.
    return blur(picture, jnp.where(blurred < 0.6, between(soft, 0.5, 4), 0.05))


class Kind(NamedTuple):
    """A kind of surface.

    Attributes:
      share: how large a part of all words has it.
      draw: the function of a key and a surface, which it changes.
      busy: whether it must be kept from hiding the letters.
    """

    share: float
    draw: Callable[[jax.Array, jax.Array], jax.Array]
    busy: bool


# All others are flat paint.
KINDS = (
    Kind(0.22, paper, False),
    Kind(0.07, planks, False),
    Kind(0.05, posters, False),
    Kind(0.22 / 6, gradient, True),
    Kind(0.22 / 3, texture, True),
    Kind(0.22 / 6, bricks, True),
    Kind(0.22 / 6, bokeh, True),
    Kind(0.22 / 6, things, True),
)


def _corners(key: jax.Array) -> jax.Array:
    """The corners of a polygon or of a long bar, float32 (5, 2), x and y; the last ones may agree.

    They lie in the scene or around it.
    """
    of_shape, of_corners = jax.random.split(key)
    bar, x, y, turn, width, number = jax.random.uniform(of_shape, (6,))
    centre = jnp.stack([WIDTH * x, HEIGHT * y])
    angle = math.pi * turn
    along = WIDTH * jnp.stack([jnp.cos(angle), jnp.sin(angle)])
    aside = _whole(width, 1, 14) / 2 * jnp.stack([jnp.sin(angle), -jnp.cos(angle)])
    ends = jnp.stack([along + aside, along - aside, -along - aside, aside - along])
    spread = np.array([WIDTH / 5, HEIGHT], np.float32)
    polygon = spread * jax.random.normal(of_corners, (_MOST_CORNERS, 2))
    last = _whole(number, 3, _MOST_CORNERS + 1).astype(jnp.int32) - 1
    polygon = polygon[jnp.minimum(jnp.arange(_MOST_CORNERS), last)]
    return centre + jnp.where(bar < 0.4, jnp.concatenate([ends, ends[3:]]), polygon)


def _polygon(corners: jax.Array) -> jax.Array:
    """Where a polygon lies, bool (64, 256): a ray from there crosses an odd number of its sides."""
    inside = jnp.zeros((HEIGHT, WIDTH), bool)
    for start, end in zip(corners, jnp.roll(corners, -1, axis=0), strict=True):
        crossed = (start[1] > _Y) != (end[1] > _Y)
        rise = jnp.where(start[1] == end[1], 1, end[1] - start[1])
        inside ^= crossed & (start[0] + (_Y - start[1]) * (end[0] - start[0]) / rise > _X)
    return inside


def _companion(key: jax.Array, surface: jax.Array) -> jax.Array:
    """Mostly another shade of the surface, as of the same material; now and then any colour."""
    of_kind, of_change, of_paint = jax.random.split(key, 3)
    other, bright = jax.random.uniform(of_kind, (2,))
    shade = surface[:, 0, 0] * between(bright, 0.5, 1.4)
    shade = jnp.clip(shade + 20 * jax.random.normal(of_change, (3,)), 0, 255)
    return jnp.where(other < 0.3, colours.paints(of_paint, 1)[0], shade)


def lay(picture: jax.Array, cover: jax.Array, colour: jax.Array) -> jax.Array:
    """The picture (3, 64, 256) below the part `cover` (64, 256) of a colour (3,)."""
    return picture + cover * (colour[:, None, None] - picture)


def _noise(key: jax.Array, shape: tuple[int, int]) -> jax.Array:
    return jax.random.uniform(key, shape, minval=-1, maxval=1)


def _smooth(noise: jax.Array, rows: Any, columns: Any) -> jax.Array:
    """The first `rows` x `columns` of the noise, enlarged to (64, 256) by Pillow's bicubic rule."""
    across = noise @ _upsampling(columns, noise.shape[1], WIDTH).T
    return _upsampling(rows, noise.shape[0], HEIGHT) @ across


def _upsampling(size: Any, most: int, length: int) -> Any:
    """The matrix (length, most) that enlarges the first `size` of `most` values to `length`.

    The weights are Keys's cubic (1981) with a = -0.5, and sum to 1 at the rims too. `size` is a
    number or an array of shape (); the matrix is a constant if it is a number.
    """
    middles = (np.arange(length, dtype=np.float32)[:, None] + 0.5) * (size / length)
    places = np.arange(most, dtype=np.float32)
    far = abs(places + 0.5 - middles)
    inner = (far < 1) * ((1.5 * far - 2.5) * far * far + 1)
    outer = ((far >= 1) & (far < 2)) * (((2.5 - 0.5 * far) * far - 4) * far + 2)
    weights = (inner + outer) * (places < size)
    return weights / weights.sum(axis=1, keepdims=True)


def _gaussian(sigma: jax.Array, length: int) -> jax.Array:
    """The matrix (length, length) that blurs `length` values; its rows sum to 1."""
    places = np.arange(length, dtype=np.float32)
    weights = jnp.exp(-0.5 * ((places - places[:, None]) / sigma) ** 2)
    return weights / weights.sum(axis=1, keepdims=True)


def between(part: jax.Array, low: float, high: float) -> jax.Array:
    """The number at `part`, in [0, 1), of the way from `low` to `high`."""
    return low + (high - low) * part


def _whole(part: jax.Array, low: int, high: int) -> jax.Array:
    """As `_between`, a whole number below `high`."""
    return jnp.floor(between(part, low, high))
