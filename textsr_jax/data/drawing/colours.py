"""The colours of paints, and of grounds with letters on them: `synthetic.colours` in array code.

Where that draws until a colour fits, this draws many and takes the first that fits.
"""

import jax
import jax.numpy as jnp
import numpy as np

from textsr_jax.data.synthetic.colours import LUMA, SIGN_HUES

# How many are drawn to find one that fits. The strongest contrast needs most: one pair of ten fits.
_PAIRS = 64
_OUTLINES = 16


def luma(colours: jax.Array, axis: int = -1) -> jax.Array:
    """The lightness of RGB colours, on their scale; `axis` holds red, green and blue."""
    red, green, blue = jnp.moveaxis(colours, axis, 0)
    return LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue


def paints(key: jax.Array, count: int) -> jax.Array:
    """Colours of paint, plastic or print, float32 (count, 3), RGB, 0 to 255."""
    of_kinds, of_white, of_signs = jax.random.split(key, 3)
    kind, hue, first, second = jax.random.uniform(of_kinds, (4, count))
    black, white, grey = kind < 0.24, kind < 0.50, kind < 0.58
    tinge = 0.05 * jnp.abs(jax.random.normal(of_white, (count,)))
    # The rest is wood, stone and pastel.
    saturation = jnp.select(
        [black, white, grey], [0.5 * first, tinge, 0.15 * first], 0.15 + 0.45 * first
    )
    value = jnp.select(
        [black, white, grey],
        [0.02 + 0.23 * second, 0.8 + 0.2 * second, 0.25 + 0.55 * second],
        0.3 + 0.65 * second,
    )
    strong = (kind >= 0.58) & (kind < 0.88)
    return jnp.where(strong[:, None], sign_paints(of_signs, count), _rgb(hue, saturation, value))


def sign_paints(key: jax.Array, count: int) -> jax.Array:
    """Strong colours, mostly those that are usual on signs, float32 (count, 3), 0 to 255."""
    of_colours, of_hues = jax.random.split(key)
    usual, hue, saturation, value = jax.random.uniform(of_colours, (4, count))
    hues = jnp.array(SIGN_HUES)
    near = hues[(hue * len(hues)).astype(jnp.int32)] + 0.025 * jax.random.normal(of_hues, (count,))
    return _rgb(jnp.where(usual < 0.8, near, hue), 0.65 + 0.35 * saturation, 0.4 + 0.6 * value)


def pair(key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A ground and a letter colour that differ in lightness: mostly a lot, now and then a little.

    Two strong colours seldom meet; if they do, they are those of signs: yellow on red, or blue on
    yellow. Each is float32 (3,), RGB, 0 to 255.
    """
    of_contrast, of_paints, of_signs = jax.random.split(key, 3)
    faint, strong, part = jax.random.uniform(of_contrast, (3,))
    contrast = jnp.where(faint < 0.12, 25 + 35 * part, 60 + 110 * part)
    signs = strong < 0.08
    contrast = jnp.where(signs, jnp.minimum(contrast, 90), contrast)
    drawn = jnp.where(signs, sign_paints(of_signs, 2 * _PAIRS), paints(of_paints, 2 * _PAIRS))
    grounds, letters = drawn[:_PAIRS], drawn[_PAIRS:]
    chosen = _first(jnp.abs(luma(grounds) - luma(letters)), contrast)
    return grounds[chosen], letters[chosen]


def outline(key: jax.Array, letters: jax.Array) -> jax.Array:
    """The colour of the outline of `letters`: mostly black or white, in contrast to them.

    Both are float32 (3,), RGB, 0 to 255.
    """
    of_kind, of_paints = jax.random.split(key)
    drawn = paints(of_paints, _OUTLINES)
    other = drawn[_first(jnp.abs(luma(drawn) - luma(letters)), 50)]
    plain = jnp.where(luma(letters) > 110, 15.0, 245.0)
    return jnp.where(jax.random.uniform(of_kind) < 0.6, plain, other)


def _first(differences: jax.Array, least: jax.Array | int) -> jax.Array:
    """The place of the first difference of at least `least`, else that of the largest."""
    fits = differences >= least
    return jnp.where(fits.any(), fits.argmax(), differences.argmax())


def _rgb(hue: jax.Array, saturation: jax.Array, value: jax.Array) -> jax.Array:
    """RGB (..., 3), 0 to 255, of hues in turns, and of saturations and values in [0, 1]."""
    sector = (6 * hue[..., None] + np.array([5, 3, 1], np.float32)) % 6
    part = jnp.clip(jnp.minimum(sector, 4 - sector), 0, 1)
    return 255 * value[..., None] * (1 - saturation[..., None] * part)
