"""Grounds of the letters, as `synthetic.backgrounds` draws them, in array code.

They are flat paint, paper, wood, brick, stone, leaves, lights and posters.

A surface is float32 (3, 64, 256), 0 to 255: red, green and blue stand apart, which keeps the
arrays' last axis long.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from textsr_jax.data.drawing import colours, strata
from textsr_jax.data.drawing.draws import Draws
from textsr_jax.data.synthetic.view import HEIGHT, WIDTH

# The middles of the scene's pixels.
_X = np.arange(WIDTH, dtype=np.float32) + np.float32(0.5)
_Y = np.arange(HEIGHT, dtype=np.float32)[:, None] + np.float32(0.5)

_BORDERED = 0.13
_OF_BORDER = 4 * 6 + colours.OF_PAINT
_OF_COMPANION = 5 + colours.OF_PAINT
# The largest grids of the octaves of a texture.
_OCTAVES = ((4, 16), (8, 32), (16, 64), (32, 128), (64, 256))
# Of the smallest bricks, 9 courses are in the scene, and 18 bricks in a course.
_MOST_BRICKS = (9, 18)
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

    words = strata.members(strata.shuffle(own[0, 2], count), 0, _BORDERED)
    covers, paints = jax.vmap(lambda key: border(Draws(key, _OF_BORDER)))(
        strata.rows(own[:, 0], words)
    )
    covers = jnp.zeros((count, 1, HEIGHT, WIDTH)).at[words, 0].set(covers, mode="drop")
    paints = jnp.zeros((count, 3)).at[words].set(paints, mode="drop")
    flat = grounds[:, :, None, None]
    surfaces = flat + covers * (paints[:, :, None, None] - flat)

    order = strata.shuffle(own[0, 3], count)
    drawn, sources, low = [surfaces], jnp.arange(count), 0.0
    for kind in KINDS:
        words = strata.members(order, low, low + kind.share)
        low += kind.share
        chosen = (strata.rows(values, words) for values in (own[:, 1], surfaces, grounds, letters))
        places = sum(map(len, drawn)) + jnp.arange(len(words))
        sources = sources.at[words].set(places, mode="drop")
        drawn.append(jax.vmap(functools.partial(_of_kind, kind))(*chosen))
    return jnp.concatenate(drawn)[sources]


def clouds(draws: Draws, rows: int, columns: int) -> jax.Array:
    """Smooth noise with `rows` x `columns` bumps, float32 (64, 256), near [-1, 1]."""
    return _smooth(draws.uniform(-1, 1, (rows, columns)), rows, columns)


def blur(images: jax.Array, sigma: jax.Array) -> jax.Array:
    """Images (..., 64, 256) after a Gaussian blur with `sigma`, in pixels, the same for all."""
    return _gaussian(sigma, HEIGHT) @ (images @ _gaussian(sigma, WIDTH).T)


def lay(picture: jax.Array, cover: jax.Array, colour: jax.Array) -> jax.Array:
    """The picture (3, 64, 256) below the part `cover` (64, 256) of a colour (3,)."""
    return picture + cover * (colour[:, None, None] - picture)


def subdue(surface: jax.Array, ground: jax.Array, letters: jax.Array, most: jax.Array) -> jax.Array:
    """Keeps a busy surface from taking more than the part `most` of the letters' contrast.

    Args:
      surface: float32 (3, 64, 256).
      ground, letters: float32 (3,), the colours that the letters' contrast is of.
      most: in [0, 1].
    """
    contrast = colours.luma(letters) - colours.luma(ground)
    side = jnp.where(contrast < 0, -1.0, 1.0)
    nearer = side * (colours.luma(surface, axis=0) - colours.luma(ground))
    return surface - side * jnp.maximum(nearer - most * jnp.abs(contrast), 0)


def border(draws: Draws) -> tuple[jax.Array, jax.Array]:
    """A sign's edge or frame: a line along it, or something else beyond it.

    Returns:
      cover: float32 (64, 256), 1 where it hides the sign, else 0.
      colour: float32 (3,), 0 to 255.
    """
    cover = jnp.zeros((HEIGHT, WIDTH), bool)
    for side in range(4):
        if side < 2:
            extent, across, along, most = HEIGHT, _Y, _X / WIDTH, 0.10
        else:
            extent, across, along, most = WIDTH, _X, _Y / HEIGHT, 0.04
        across = extent - across if side % 2 else across
        shown, thin = draws.uniform(shape=(2,))
        near, far = extent * draws.uniform(0.01, most) + draws.uniform(-3, 3, (2,))
        distance = across - (near + (far - near) * along)
        line = jnp.abs(distance) < draws.integers(1, 5) / 2
        cover |= (shown >= 0.5) & jnp.where(thin < 0.4, line, distance < 0)
    return cover.astype(jnp.float32), colours.paints(draws, 1)[0]


def paper(draws: Draws, surface: jax.Array) -> jax.Array:
    """Paper, plaster, cloth: rough in a few sizes."""
    rough = clouds(draws, 3, 12) + draws.uniform(0, 0.8) * clouds(draws, 16, 64)
    return surface + jnp.abs(draws.normal(12)) * rough


def planks(draws: Draws, surface: jax.Array) -> jax.Array:
    """Planks and brushed metal: rough in one direction only."""
    flat = draws.uniform() < 0.7
    grain = jnp.where(flat, clouds(draws, 24, 2), clouds(draws, 2, 48))
    return surface + jnp.abs(draws.normal(14)) * grain


def posters(draws: Draws, surface: jax.Array) -> jax.Array:
    """Posters and shop windows: patches of another colour behind the letters."""
    return surface + jnp.clip(clouds(draws, 3, 8), 0, 1) * draws.normal(45, (3, 1, 1))


def gradient(draws: Draws, surface: jax.Array) -> jax.Array:
    """A ramp from one colour to another, in any direction: skies, screens, print."""
    angle = draws.uniform(0, 2 * math.pi)
    x = np.linspace(-1, 1, WIDTH, dtype=np.float32) * jnp.cos(angle)
    y = np.linspace(-1, 1, HEIGHT, dtype=np.float32)[:, None] * jnp.sin(angle)
    ramp = (x + y + draws.uniform(-0.5, 0.5)) * draws.uniform(0.5, 1.5)
    return lay(surface, jnp.clip(ramp, 0, 1), colours.paints(draws, 1)[0])


def texture(draws: Draws, surface: jax.Array) -> jax.Array:
    """Noise of five octaves in two colours: stone, rust, concrete, and leaves where it is sharp."""
    first, persistence = draws.integers(2, 5), draws.uniform(0.5, 0.95)
    noise = jnp.zeros((HEIGHT, WIDTH))
    for octave, most in enumerate(_OCTAVES):
        rows = jnp.minimum(first << octave, HEIGHT)
        columns = jnp.minimum(rows * draws.integers(2, 5), WIDTH)
        noise += persistence**octave * _smooth(draws.uniform(-1, 1, most), rows, columns)
    noise *= draws.uniform(0.6, 1.6) / jnp.std(noise)
    # Veins and the gaps between leaves.
    noise = jnp.where(draws.uniform() < 0.4, 2 * jnp.abs(noise) - 1, noise)
    part = jax.nn.sigmoid(draws.uniform(1, 4) * noise) * draws.uniform(0.3, 1)
    return lay(surface, part, _companions(draws, surface, 1)[0])


def bricks(draws: Draws, surface: jax.Array) -> jax.Array:
    """Courses of bricks or tiles, each of its own shade, and the joints between them."""
    down, across, joint = draws.uniform(8, 40), draws.uniform(16, 100), draws.uniform(0.6, 2.5)
    y = jnp.arange(HEIGHT)[:, None] / down + draws.uniform()
    row = y.astype(jnp.int32)
    bond = jnp.where(draws.uniform() < 0.8, 0.5 * (row % 2), 0)
    x = jnp.arange(WIDTH) / across + draws.uniform() + bond
    column = x.astype(jnp.int32)
    gaps = ((y % 1) * down < joint) | ((x % 1) * across < joint)
    shades = draws.uniform(3, 18) * draws.normal(1, _MOST_BRICKS)
    shade = shades[row, column] + jnp.abs(draws.normal(8)) * clouds(draws, 24, 96)
    return surface + jnp.where(gaps, draws.normal(45), shade)


def bokeh(draws: Draws, surface: jax.Array) -> jax.Array:
    """Lights out of focus: soft discs of many colours."""
    discs = (
        draws.uniform(0, WIDTH, (_MOST_DISCS,)),
        draws.uniform(0, HEIGHT, (_MOST_DISCS,)),
        draws.uniform(4, 20) * draws.uniform(0.7, 1.3, (_MOST_DISCS,)),
        draws.uniform(60 / 255, 200 / 255, (_MOST_DISCS,))
        * (np.arange(_MOST_DISCS) < draws.integers(4, _MOST_DISCS + 1)),
        colours.paints(draws, _MOST_DISCS),
    )

    def add(picture: jax.Array, disc: Any) -> tuple[jax.Array, None]:
        x, y, radius, opacity, colour = disc
        inside = (_X - x) ** 2 + (_Y - y) ** 2 < radius**2
        return lay(picture, jnp.where(inside, opacity, 0), colour), None

    picture, _ = jax.lax.scan(add, jnp.clip(surface, 0, 255), discs)
    return blur(picture, draws.uniform(0.5, 3))


def things(draws: Draws, surface: jax.Array) -> jax.Array:
    """Poles, edges of houses, other signs and pictures, sharp or blurred."""
    drawn = np.arange(_MOST_THINGS) < draws.integers(1, _MOST_THINGS + 1)
    shapes = _corners(draws, _MOST_THINGS), _companions(draws, surface, _MOST_THINGS), drawn

    def add(picture: jax.Array, shape: Any) -> tuple[jax.Array, None]:
        corners, colour, drawn = shape
        return lay(picture, jnp.where(drawn, _polygon(corners), 0), colour), None

    picture, _ = jax.lax.scan(add, jnp.clip(surface, 0, 255), shapes)
    # So small a sigma leaves the picture as it is.
    return blur(picture, jnp.where(draws.uniform() < 0.6, draws.uniform(0.5, 4), 0.05))


class Kind(NamedTuple):
    """A kind of surface.

    Attributes:
      draw: the function of `Draws` and a surface, which it changes.
      share: how large a part of all words has it.
      numbers: how many numbers of `Draws` it takes.
      busy: whether it must be kept from hiding the letters.
    """

    draw: Callable[[Draws, jax.Array], jax.Array]
    share: float
    numbers: int
    busy: bool = True


# All others are flat paint.
KINDS = (
    Kind(paper, 0.22, 2 + 3 * 12 + 16 * 64, busy=False),
    Kind(planks, 0.07, 2 + 24 * 2 + 2 * 48, busy=False),
    Kind(posters, 0.05, 3 + 3 * 8, busy=False),
    Kind(gradient, 0.22 / 6, 3 + colours.OF_PAINT),
    Kind(texture, 0.22 / 3, 11 + sum(map(math.prod, _OCTAVES)) + _OF_COMPANION),
    Kind(bricks, 0.22 / 6, 9 + math.prod(_MOST_BRICKS) + 24 * 96),
    Kind(bokeh, 0.22 / 6, 3 + _MOST_DISCS * (4 + colours.OF_PAINT)),
    Kind(things, 0.22 / 6, 3 + _MOST_THINGS * (6 + 2 * _MOST_CORNERS + _OF_COMPANION)),
)


def _of_kind(
    kind: Kind, key: jax.Array, surface: jax.Array, ground: jax.Array, letters: jax.Array
) -> jax.Array:
    draws = Draws(key, kind.numbers + 1)
    surface = kind.draw(draws, surface)
    return subdue(surface, ground, letters, draws.uniform(0.25, 0.66)) if kind.busy else surface


def _corners(draws: Draws, count: int) -> jax.Array:
    """The corners of polygons and of long bars, float32 (count, 5, 2), x and y.

    They lie in the scene or around it. The last ones of a shape may agree.
    """
    bars = draws.uniform(0, 1, (count, 1, 1)) < 0.4
    x, y = draws.uniform(0, WIDTH, (count,)), draws.uniform(0, HEIGHT, (count,))
    angle, half = draws.uniform(0, math.pi, (count,)), draws.integers(1, 14, (count,)) / 2
    along = jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=1)
    aside = half[:, None] * along[:, ::-1] * np.array([1, -1], np.float32)
    along = WIDTH * along
    ends = jnp.stack([along + aside, along - aside, -along - aside, aside - along], axis=1)
    spread = jnp.array([WIDTH / 5, HEIGHT], jnp.float32)
    polygons = spread * draws.normal(1, (count, _MOST_CORNERS, 2))
    last = draws.integers(2, _MOST_CORNERS, (count, 1))
    places = jnp.minimum(np.arange(_MOST_CORNERS), last)
    polygons = jnp.take_along_axis(polygons, places[..., None], axis=1)
    shapes = jnp.where(bars, jnp.concatenate([ends, ends[:, 3:]], axis=1), polygons)
    return jnp.stack([x, y], axis=1)[:, None] + shapes


def _polygon(corners: jax.Array) -> jax.Array:
    """Where a polygon lies, bool (64, 256): a ray from there crosses an odd number of its sides."""
    inside = jnp.zeros((HEIGHT, WIDTH), bool)
    for start, end in zip(corners, jnp.roll(corners, -1, axis=0), strict=True):
        crossed = (start[1] > _Y) != (end[1] > _Y)
        rise = jnp.where(start[1] == end[1], 1, end[1] - start[1])
        inside ^= crossed & (start[0] + (_Y - start[1]) * (end[0] - start[0]) / rise > _X)
    return inside


def _companions(draws: Draws, surface: jax.Array, count: int) -> jax.Array:
    """Colours (count, 3): mostly other shades of the surface, as of the same material.

    Now and then they are any colour.
    """
    shades = surface[:, 0, 0] * draws.uniform(0.5, 1.4, (count, 1))
    shades = jnp.clip(shades + draws.normal(20, (count, 3)), 0, 255)
    other = draws.uniform(0, 1, (count, 1)) < 0.3
    return jnp.where(other, colours.paints(draws, count), shades)


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
