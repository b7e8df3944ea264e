"""The colours of paints, and of grounds with letters on them: `synthetic.colours` in array code.

Where that draws until a colour fits, this draws many and takes the first that fits.
"""

import jax
import jax.numpy as jnp
import numpy as np

from textsr_jax.data.drawing.draws import Draws
from textsr_jax.data.synthetic.colours import LUMA, SIGN_HUES

# How many are drawn to find one that fits. The strongest contrast needs most: one pair of ten fits.
_PAIRS = 64
_OUTLINES = 16

# How many numbers of `Draws` a colour, a pair and an outline take.
OF_PAINT = 7
OF_PAIR = 3 + 2 * _PAIRS * OF_PAINT
OF_OUTLINE = 1 + _OUTLINES * OF_PAINT


def luma(colours: jax.Array, axis: int = -1) -> jax.Array:
    """The lightness of RGB colours, on their scale; `axis` holds red, green and blue."""
    red, green, blue = jnp.moveaxis(colours, axis, 0)
    return LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue


def paints(draws: Draws, count: int, signs: jax.Array | bool = False) -> jax.Array:
    """Colours of paint, plastic or print, float32 (count, 3), RGB, 0 to 255.

    `signs` asks for the strong colours of signs alone.
    """
    kind, hue, first, second, usual, sign = draws.uniform(shape=(6, count))
    bell = draws.normal(shape=(count,))
    black, white, grey = kind < 0.24, kind < 0.50, kind < 0.58
    strong = signs | (~grey & (kind < 0.88))
    hues = jnp.array(SIGN_HUES)
    near = hues[(sign * len(hues)).astype(jnp.int32)] + 0.025 * bell
    hue = jnp.where(strong & (usual < 0.8), near, hue)
    # The rest is wood, stone and pastel.
    saturation = jnp.select(
        [strong, black, white, grey],
        [0.65 + 0.35 * first, 0.5 * first, 0.05 * jnp.abs(bell), 0.15 * first],
        0.15 + 0.45 * first,
    )
    value = jnp.select(
        [strong, black, white, grey],
        [0.4 + 0.6 * second, 0.02 + 0.23 * second, 0.8 + 0.2 * second, 0.25 + 0.55 * second],
        0.3 + 0.65 * second,
    )
    return _rgb(hue, saturation, value)


def pair(draws: Draws) -> tuple[jax.Array, jax.Array]:
    """A ground and a letter colour that differ in lightness: mostly a lot, now and then a little.

    Two strong colours seldom meet; if they do, they are those of signs: yellow on red, or blue on
    yellow. Each is float32 (3,), RGB, 0 to 255.
    """
    faint, part, strong = draws.uniform(shape=(3,))
    contrast = jnp.where(faint < 0.12, 25 + 35 * part, 60 + 110 * part)
    signs = strong < 0.08
    contrast = jnp.where(signs, jnp.minimum(contrast, 90), contrast)
    drawn = paints(draws, 2 * _PAIRS, signs)
    grounds, letters = drawn[:_PAIRS], drawn[_PAIRS:]
    chosen = _first(jnp.abs(luma(grounds) - luma(letters)), contrast)
    return grounds[chosen], letters[chosen]


def outline(draws: Draws, letters: jax.Array) -> jax.Array:
    """The colour of the outline of `letters`: mostly black or white, in contrast to them.

    Both are float32 (3,), RGB, 0 to 255.
    """
    simple = draws.uniform() < 0.6
    drawn = paints(draws, _OUTLINES)
    other = drawn[_first(jnp.abs(luma(drawn) - luma(letters)), 50)]
    return jnp.where(simple, jnp.where(luma(letters) > 110, 15.0, 245.0), other)


def _first(differences: jax.Array, least: jax.Array | int) -> jax.Array:
    """The place of the first difference of at least `least`, else that of the largest."""
    fits = differences >= least
    return jnp.where(fits.any(), fits.argmax(), differences.argmax())


def _rgb(hue: jax.Array, saturation: jax.Array, value: jax.Array) -> jax.Array:
    """RGB (..., 3), 0 to 255, of hues in turns, and of saturations and values in [0, 1]."""
    sector = (6 * hue[..., None] + np.array([5, 3, 1], np.float32)) % 6
    part = jnp.clip(jnp.minimum(sector, 4 - sector), 0, 1)
    return 255 * value[..., None] * (1 - saturation[..., None] * part)
