"""A word drawn flat, and effects on it: bold and hollow letters, outlines, glows, shadows, lamps.

Effects come in exact shares of the words, and are computed for their share alone.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from textsr_jax.data.drawing import masks, strata
from textsr_jax.data.drawing.resampling import settled
from textsr_jax.data.synthetic import lettering as shares
from textsr_jax.data.synthetic.fonts import CAP_HEIGHT

# The flat drawing of a word: an array of columns. A column is 1, 2 or 4 pixels wide, whatever lets
# the word fit. A longer word would be narrower than that, so its letters stand closer.
ROWS, COLUMNS = 96, 512


class Flat(NamedTuple):
    """A word drawn flat.

    Attributes:
      ink: uint8 (COLUMNS, ROWS), column after column; its rim is blank.
      step: float32, the width of a column in pixels; a row is 1 pixel high.
      capital: float32, the height of a capital in pixels.
      box: int32 (4,), the word's first column, the column behind it, its first row, and the row
        below it. Words near it are outside.
    """

    ink: jax.Array
    step: jax.Array
    capital: jax.Array
    box: jax.Array


def _between(values: tuple[float, float], amount: jax.Array) -> jax.Array:
    return values[0] + (values[1] - values[0]) * amount


def _taken(flat: Flat, words: jax.Array) -> Flat:
    return settled(jax.tree.map(lambda leaf: strata.rows(leaf, words), flat))


def bold(key: jax.Array, flat: Flat, plain: jax.Array) -> Flat:
    """The words, some of them bolder than their face."""
    order_key, amount_key = jax.random.split(key)
    words = strata.members(strata.shuffle(order_key, len(plain)), 0, shares.BOLD)
    some = _taken(flat, words)
    amount = _between(shares.BOLD_STROKE, jax.random.uniform(amount_key, words.shape))
    stroke = jnp.where(strata.rows(plain, words), 0.0, amount * some.capital / CAP_HEIGHT)
    ink = jax.vmap(masks.bolder)(some.ink, stroke, some.step)
    return flat._replace(ink=flat.ink.at[words].set(ink, mode="drop"))


def halo(key: jax.Array, flat: Flat, plain: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The ink, of which some is hollow, and outlines and glows.

    Returns:
      ink, halo: uint8 (words, COLUMNS, ROWS).
      words: int32, the words that may have a halo; as of `strata.members`.
    """
    order_key, stroke_key, glow_key = jax.random.split(key, 3)
    order = strata.shuffle(order_key, len(plain))
    outlined = strata.members(order, 0, shares.OUTLINED)
    some = _taken(flat, outlined)
    amount = _between(shares.OUTLINE_STROKE, jax.random.uniform(stroke_key, outlined.shape))
    outline = jax.vmap(masks.outline)(some.ink, amount * some.capital / CAP_HEIGHT, some.step)
    shown = ~strata.rows(plain, outlined)
    hollow = shown & (strata.rows(strata.quantiles(order), outlined) < shares.HOLLOW)
    hollow, shown = hollow[:, None, None], shown[:, None, None]
    # The ink of hollow letters is the outline alone.
    carved = jnp.where(hollow, outline - jnp.minimum(outline, some.ink), some.ink)
    ink = flat.ink.at[outlined].set(carved, mode="drop")
    outline = settled(jnp.where(shown & ~hollow, outline, 0))

    glowing = strata.members(order, shares.OUTLINED, shares.GLOWING)
    some = _taken(flat, glowing)
    blur = _between(shares.GLOW_BLUR, jax.random.uniform(glow_key, glowing.shape))
    glow = jax.vmap(masks.blurred)(some.ink, blur * some.capital / CAP_HEIGHT, some.step)
    hidden = strata.rows(plain, glowing)[:, None, None]
    glow = settled(jnp.where(hidden, 0, 2 * jnp.minimum(glow, 127)))
    words = jnp.concatenate([outlined, glowing])
    halo = jnp.zeros_like(ink).at[words].set(jnp.concatenate([outline, glow]), mode="drop")
    return ink, halo, words


def shadow(
    key: jax.Array, flat: Flat, halo: jax.Array, plain: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Shadows of ink and halo, of blocks, or soft and beside the word.

    Returns:
      shadow: uint8 (some words, COLUMNS, ROWS).
      words: int32, the words that may have one; as of `strata.members`.
    """
    order_key, reach_key, angle_key, blur_key = jax.random.split(key, 4)
    order = strata.shuffle(order_key, len(plain))
    numbers = (len(plain),)
    reach = flat.capital * _between(shares.SHADOW_REACH, jax.random.uniform(reach_key, numbers))
    angle = jax.random.uniform(angle_key, numbers, maxval=2 * math.pi)
    x, y = reach * jnp.cos(angle) / flat.step, reach * jnp.sin(angle)
    blur = _between(shares.SHADOW_BLUR, jax.random.uniform(blur_key, numbers))
    blur *= flat.capital / CAP_HEIGHT

    def parts(low: float, high: float) -> tuple[jax.Array, ...]:
        words = strata.members(order, low, high)
        taken = (flat.ink, halo, x, y, blur, flat.step, plain)
        ink, around, *rest = (strata.rows(values, words) for values in taken)
        return words, settled(jnp.maximum(ink, around)), *rest

    blocks = shares.BLOCK * shares.SHADOWED
    blocked, ink, left, down, _, _, hidden = parts(0, blocks)
    block = jax.vmap(masks.swept)(ink, left, down)
    block = settled(jnp.where(hidden[:, None, None], 0, block))
    soft, ink, left, down, deviation, step, hidden = parts(blocks, shares.SHADOWED)
    cast = jax.vmap(masks.moved)(ink, jnp.round(left), jnp.round(down))
    cast = jax.vmap(masks.blurred)(cast, deviation, step)
    cast = settled(jnp.where(hidden[:, None, None], 0, cast))
    return jnp.concatenate([block, cast]), jnp.concatenate([blocked, soft])


def dotted(key: jax.Array, flat: Flat, plain: jax.Array) -> jax.Array:
    """The ink, of which some is as a board of lamps shows it; uint8 (words, COLUMNS, ROWS)."""
    order_key, pitch_key = jax.random.split(key)
    words = strata.members(strata.shuffle(order_key, len(plain)), 0, shares.DOTTED)
    some = _taken(flat, words)
    dots = _between(shares.DOTS, jax.random.uniform(pitch_key, words.shape))
    turn = (2 * math.pi * dots / some.capital)[:, None]
    x = jnp.cos(turn * some.step[:, None] * np.arange(COLUMNS))
    y = jnp.cos(turn * np.arange(ROWS))
    lamps = jnp.clip(0.75 + 0.5 * (x[:, :, None] + y[:, None, :]), 0, 1)
    ink = (some.ink * lamps).astype(jnp.uint8)
    ink = jnp.where(strata.rows(plain, words)[:, None, None], some.ink, ink)
    return flat.ink.at[words].set(ink, mode="drop")
