"""The letters of words as the scene shows them: their ink, and a halo and a shadow behind it.

Follows `synthetic.lettering`, as array code. Kerning is left out.
"""

import math
from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from textsr_jax.data.drawing import atlas as glyph_atlas
from textsr_jax.data.drawing import masks, view
from textsr_jax.data.drawing.atlas import LEVELS, Atlas
from textsr_jax.data.drawing.vocabulary import MAX_CODES
from textsr_jax.data.synthetic import lettering as shares
from textsr_jax.data.synthetic.fonts import CAP_HEIGHT

# The flat drawing of a word: an array of columns. A column is 1, 2 or 4 pixels wide, whatever lets
# the word fit. A longer word would be narrower than that, so its letters stand closer.
ROWS, COLUMNS = 96, 512
_PAD = 32  # columns before and behind the word

_FAR = 1e6


class Letters(flax.struct.PyTreeNode):
    """What `letters` returns: masks in [0, 1], float32 (64, 256).

    Attributes:
      ink: the letters, and parts of other words near the word.
      halo: an outline or a glow behind the ink; 0 everywhere for most words.
      shadow: what lies behind both; 0 everywhere for most words.
      aspect: float32, the crop's width over its height before it is stretched.
    """

    ink: jax.Array
    halo: jax.Array
    shadow: jax.Array
    aspect: jax.Array


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


class _Glyphs(NamedTuple):
    """Glyphs on the flat drawing, each (glyphs,).

    Attributes:
      column, row: int32, the upper left corner.
      columns, rows: int32, the size.
      start, height: int32, where the glyph's pixels begin in the atlas, and its height there.
      size: float32, the size over that in the atlas.
    """

    column: jax.Array
    row: jax.Array
    columns: jax.Array
    rows: jax.Array
    start: jax.Array
    height: jax.Array
    size: jax.Array


def letters(
    key: jax.Array, atlas: Atlas, codes: jax.Array, plain: jax.Array | bool = False
) -> Letters:
    """Draws a word in a random face with random effects, seen from a random place.

    For many words `letters_batch` is faster.

    Args:
      key: where all randomness comes from.
      atlas: the faces.
      codes: uint8 (MAX_CODES,), the word, 0 after its last character; see `vocabulary.sample`.
      plain: bool, whether the word is a clear print: a book face and no effects.
    """
    drawn = letters_batch(key, atlas, codes[None], jnp.asarray(plain)[None])
    return jax.tree.map(lambda leaf: leaf[0], drawn)


def letters_batch(
    key: jax.Array, atlas: Atlas, codes: jax.Array, plain: jax.Array | bool = False
) -> Letters:
    """`letters` for many words, each array of the result with the words as its first axis.

    Effects are computed for their share of the words only.

    Args:
      key: where all randomness comes from.
      atlas: the faces.
      codes: uint8 (words, MAX_CODES).
      plain: bool (words,) or one for all of them.
    """
    count = len(codes)
    plain = jnp.broadcast_to(jnp.asarray(plain), (count,))
    flat_key, bold_key, halo_key, shadow_key, dot_key, view_key = jax.random.split(key, 6)
    flat_keys = jax.random.split(flat_key, count)
    flat = jax.vmap(compose, in_axes=(0, None, 0, 0))(flat_keys, atlas, codes, plain)
    flat = _bold(bold_key, flat, plain)
    ink, halo = _halo(halo_key, flat, plain)
    shadow = _shadow(shadow_key, flat._replace(ink=jnp.maximum(ink, halo)), plain)
    ink = _dotted(dot_key, flat._replace(ink=ink), plain)
    view_keys = jax.random.split(view_key, count)
    return jax.vmap(_seen)(view_keys, flat, ink, halo, shadow)


def compose(key: jax.Array, atlas: Atlas, codes: jax.Array, plain: jax.Array) -> Flat:
    """Sets the glyphs of a word beside each other, and with luck those of another word near it."""
    face_key, number_key, jitter_key, other_key = jax.random.split(key, 4)
    face = glyph_atlas.choose(face_key, atlas, codes, plain)
    capital = atlas.capitals[face]
    chances = jnp.where(plain, 1.0, jax.random.uniform(number_key, (3,)))
    kind, jittered, small = chances
    amounts = jax.random.uniform(jax.random.fold_in(number_key, 1), (2,))

    inked = codes > 0
    count = inked.sum()
    number = glyph_atlas.glyphs(codes)
    box = atlas.boxes[face, number]
    advance = jnp.where(inked, atlas.advances[face, number], 0)
    small = (small < shares.SMALL_CAPITALS) & glyph_atlas.is_upper(codes) & (count > 2)
    first = jnp.arange(MAX_CODES) == 0
    size = jnp.where(first & small, shares.FIRST_CAPITAL, 1.0)
    advance *= size
    most = 2 ** (LEVELS - 1) * (COLUMNS - 2 * _PAD)
    room = (most - advance.sum()) / jnp.maximum(count - 1, 1)
    spacing = jnp.where(plain, 0.0, _spacing(kind, amounts[0]) * capital)
    pen = jnp.cumsum(advance) - advance + jnp.arange(MAX_CODES) * jnp.minimum(spacing, room)
    jitter = jnp.where(jittered < shares.JITTERED, shares.JITTER * amounts[1], 0.0)
    lift = jitter * capital * jax.random.uniform(jitter_key, (MAX_CODES,), minval=-1, maxval=1)

    left, top, width, height = (box * size[:, None]).T
    left += pen
    top = jnp.round(top + lift)
    height = jnp.ceil(height)
    start = jnp.where(inked, left, _FAR).min()
    end = jnp.where(inked, left + width, -_FAR).max()
    high = jnp.where(inked, top, _FAR).min()
    low = jnp.where(inked, top + height, -_FAR).max()
    fitting = COLUMNS - 2 * _PAD
    level = (end - start > fitting).astype(jnp.int32) + (end - start > 2 * fitting)
    step = 2.0**level
    above = jnp.floor((ROWS - (low - high)) / 2)
    bounds = jnp.stack([start, end, high, low])

    def placed(
        face: jax.Array, number: jax.Array, inked: jax.Array, left: jax.Array, top: jax.Array
    ) -> _Glyphs:
        columns = (atlas.boxes[face, number, 2] + 2**level - 1) // 2**level
        return _Glyphs(
            column=jnp.round((left - start) / step).astype(jnp.int32) + _PAD,
            row=(top - high + above).astype(jnp.int32),
            columns=jnp.where(inked, columns, 0),
            rows=atlas.boxes[face, number, 3],
            start=atlas.starts[face, number, level],
            height=atlas.boxes[face, number, 3],
            size=jnp.ones(len(number)),
        )

    word = placed(face, number, inked, left, top)
    word = word._replace(
        columns=jnp.ceil(word.columns * size).astype(jnp.int32),
        rows=height.astype(jnp.int32),
        size=size,
    )
    near = placed(face, *_neighbour(other_key, atlas, face, bounds, plain))
    return Flat(
        ink=_drawn(atlas, word, near),
        step=step,
        capital=capital,
        box=jnp.stack(
            [
                jnp.where(inked, word.column, COLUMNS).min(),
                jnp.where(inked, word.column + word.columns, 0).max(),
                above.astype(jnp.int32),
                (above + low - high).astype(jnp.int32),
            ]
        ),
    )


def _spacing(kind: jax.Array, amount: jax.Array) -> jax.Array:
    """Extra space between letters, in capitals' heights, of two random numbers in [0, 1)."""
    space: jax.Array | float = 0.0
    for part, low, high in reversed(shares.SPACINGS):
        space = jnp.where(kind < part, low + (high - low) * amount, space)
    return jnp.where(kind < shares.UNSPACED, 0.0, space)


def _neighbour(
    key: jax.Array, atlas: Atlas, face: jax.Array, bounds: jax.Array, plain: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """The glyphs of other text near the word; a loose crop will show parts of it.

    Args:
      key: where the randomness comes from.
      atlas, face: of the word.
      bounds: float32 (4,), the word's left, right, upper and lower bound in pixels.
      plain: bool, whether there is none.

    Returns:
      number, inked, left, top: of the glyphs, each (NEIGHBOUR_LENGTH,).
    """
    number_key, text_key = jax.random.split(key)
    chance, gap, offset, place = jax.random.uniform(number_key, (4,))
    start, end, high, low = bounds
    capital = atlas.capitals[face]
    above, below, before = shares.NEIGHBOUR_PLACES
    choices = jnp.array([glyph_atlas.CHARACTERS.index(c) for c in shares.NEIGHBOURS])
    capitals = jnp.array([glyph_atlas.CHARACTERS.index(c.upper()) for c in shares.NEIGHBOURS])
    chosen = jax.random.randint(text_key, (shares.NEIGHBOUR_LENGTH,), 0, len(choices))
    under = (place >= above) & (place < below)
    number = jnp.where(under, capitals[chosen], choices[chosen])
    advance = atlas.advances[face, number]
    least, most = shares.NEIGHBOUR_GAP
    gap = capital * (least + (most - least) * gap)
    beside = jnp.where(place < before, start - 2 * gap - advance.sum(), end + 2 * gap)
    x = jnp.where(place < below, start - 2 * offset * capital, beside)
    y = jnp.where(place < above, high - gap, jnp.where(under, low + gap + capital, 0.0))
    box = atlas.boxes[face, number]
    inked = jnp.broadcast_to((chance < shares.NEIGHBOURED) & ~plain, number.shape)
    return number, inked, x + jnp.cumsum(advance) - advance + box[:, 0], jnp.round(y) + box[:, 1]


def _drawn(atlas: Atlas, word: _Glyphs, near: _Glyphs) -> jax.Array:
    """The ink of a word and of its neighbour, uint8 (COLUMNS, ROWS).

    No more than two letters of a word meet in a column; a third one is left out.
    """
    first, last = _covering(word)
    one = _pixels(word, first)
    # The neighbour's rows or columns are not the word's.
    other, beside = _pixels(word, last), _pixels(near, _covering(near)[1])
    return jnp.maximum(atlas.pixels[one], atlas.pixels[jnp.where(beside > 0, beside, other)])


def _covering(glyphs: _Glyphs) -> tuple[jax.Array, jax.Array]:
    """The first and the last glyph in each column, int32 (COLUMNS,); -1 for none."""
    column = np.arange(COLUMNS)[:, None]
    covers = (column >= glyphs.column) & (column < glyphs.column + glyphs.columns)
    covers &= (column > 0) & (column < COLUMNS - 1)
    number = np.arange(len(glyphs.column))
    first = jnp.where(covers, number, len(number)).min(axis=1)
    return jnp.where(first == len(number), -1, first), jnp.where(covers, number, -1).max(axis=1)


def _pixels(glyphs: _Glyphs, number: jax.Array) -> jax.Array:
    """Where the pixels of one glyph a column stand in the atlas, int32 (COLUMNS, ROWS); 0 for none.

    Args:
      glyphs: of which they are chosen.
      number: int32 (COLUMNS,), -1 for none.
    """
    here = _Glyphs(*(values[number] for values in glyphs))
    x = ((np.arange(COLUMNS) - here.column + 0.5) / here.size).astype(jnp.int32)
    base = here.start + x * here.height
    row = jnp.arange(ROWS) - here.row[:, None]
    inside = (row >= 0) & (row < here.rows[:, None]) & (number >= 0)[:, None]
    inside &= (np.arange(ROWS) > 0) & (np.arange(ROWS) < ROWS - 1)
    y = ((row + 0.5) / here.size[:, None]).astype(jnp.int32)
    # A larger letter has parts of rows and columns at its end.
    y = jnp.minimum(y, here.height[:, None] - 1)
    return jnp.where(inside, base[:, None] + y, 0)


def _shuffled(key: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """A random order of the words, and a random number in [0, 1) for each, from low to high.

    A share of the words is then a slice of the order, and each word's chance is exact.
    """
    order_key, number_key = jax.random.split(key)
    numbers = (jnp.arange(count) + jax.random.uniform(number_key, (count,))) / count
    return jax.random.permutation(order_key, count), numbers


def _slice(count: int, low: float, high: float) -> slice:
    """The words in a random order whose numbers may lie between `low` and `high`."""
    return slice(math.floor(count * low), math.ceil(count * high))


def _between(values: tuple[float, float], amount: jax.Array) -> jax.Array:
    return values[0] + (values[1] - values[0]) * amount


def _taken(flat: Flat, words: jax.Array) -> Flat:
    return jax.tree.map(lambda leaf: leaf[words], flat)


def _bold(key: jax.Array, flat: Flat, plain: jax.Array) -> Flat:
    """The words, some of them bolder than their face."""
    order_key, amount_key = jax.random.split(key)
    words, numbers = _shuffled(order_key, len(plain))
    part = _slice(len(words), 0, shares.BOLD)
    words, bold = words[part], numbers[part] < shares.BOLD
    some = _taken(flat, words)
    amount = _between(shares.BOLD_STROKE, jax.random.uniform(amount_key, words.shape))
    stroke = jnp.where(bold & ~plain[words], amount * some.capital / CAP_HEIGHT, 0.0)
    ink = jax.vmap(masks.bolder)(some.ink, stroke, some.step)
    return flat._replace(ink=flat.ink.at[words].set(ink))


def _halo(key: jax.Array, flat: Flat, plain: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The ink, of which some is hollow, and outlines and glows; uint8 (words, COLUMNS, ROWS)."""
    order_key, stroke_key, glow_key = jax.random.split(key, 3)
    order, numbers = _shuffled(order_key, len(plain))
    ink, halo = flat.ink, jnp.zeros_like(flat.ink)

    part = _slice(len(order), 0, shares.OUTLINED)
    words, effect = order[part], numbers[part]
    some = _taken(flat, words)
    amount = _between(shares.OUTLINE_STROKE, jax.random.uniform(stroke_key, words.shape))
    outline = jax.vmap(masks.outline)(some.ink, amount * some.capital / CAP_HEIGHT, some.step)
    outlined = (effect < shares.OUTLINED) & ~plain[words]
    hollow = (outlined & (effect < shares.HOLLOW))[:, None, None]
    # The ink of hollow letters is the outline alone.
    ink = ink.at[words].set(jnp.where(hollow, outline - jnp.minimum(outline, some.ink), some.ink))
    halo = halo.at[words].set(jnp.where(outlined[:, None, None] & ~hollow, outline, 0))

    part = _slice(len(order), shares.OUTLINED, shares.GLOWING)
    words, effect = order[part], numbers[part]
    some = _taken(flat, words)
    blur = _between(shares.GLOW_BLUR, jax.random.uniform(glow_key, words.shape))
    glow = jax.vmap(masks.blurred)(some.ink, blur * some.capital / CAP_HEIGHT, some.step)
    glow = 2 * jnp.minimum(glow, 127)
    glowing = (effect >= shares.OUTLINED) & (effect < shares.GLOWING) & ~plain[words]
    halo = halo.at[words].max(jnp.where(glowing[:, None, None], glow, 0))
    return ink, halo


def _shadow(key: jax.Array, flat: Flat, plain: jax.Array) -> jax.Array:
    """Shadows, uint8 (words, COLUMNS, ROWS): of blocks, or soft and beside the word."""
    order_key, reach_key, angle_key, blur_key = jax.random.split(key, 4)
    order, numbers = _shuffled(order_key, len(plain))
    reach = flat.capital * _between(shares.SHADOW_REACH, jax.random.uniform(reach_key, order.shape))
    angle = jax.random.uniform(angle_key, order.shape, maxval=2 * math.pi)
    x, y = reach * jnp.cos(angle) / flat.step, reach * jnp.sin(angle)
    blur = _between(shares.SHADOW_BLUR, jax.random.uniform(blur_key, order.shape))
    shadow = jnp.zeros_like(flat.ink)
    blocks = shares.BLOCK * shares.SHADOWED
    for block, low, high in ((True, 0.0, blocks), (False, blocks, shares.SHADOWED)):
        part = _slice(len(order), low, high)
        words, effect = order[part], numbers[part]
        some = _taken(flat, words)
        if block:
            cast = jax.vmap(masks.swept)(some.ink, x[words], y[words])
        else:
            cast = jax.vmap(masks.moved)(some.ink, jnp.round(x[words]), jnp.round(y[words]))
            deviation = blur[words] * some.capital / CAP_HEIGHT
            cast = jax.vmap(masks.blurred)(cast, deviation, some.step)
        casts = (effect >= low) & (effect < high) & ~plain[words]
        shadow = shadow.at[words].max(jnp.where(casts[:, None, None], cast, 0))
    return shadow


def _dotted(key: jax.Array, flat: Flat, plain: jax.Array) -> jax.Array:
    """The ink, of which some is as a board of lamps shows it; uint8 (words, COLUMNS, ROWS)."""
    order_key, pitch_key = jax.random.split(key)
    order, numbers = _shuffled(order_key, len(plain))
    part = _slice(len(order), 0, shares.DOTTED)
    words, dotted = order[part], (numbers[part] < shares.DOTTED) & ~plain[order[part]]
    some = _taken(flat, words)
    dots = _between(shares.DOTS, jax.random.uniform(pitch_key, words.shape))
    turn = (2 * math.pi * dots / some.capital)[:, None]
    x = jnp.cos(turn * some.step[:, None] * np.arange(COLUMNS))
    y = jnp.cos(turn * np.arange(ROWS))
    lamps = jnp.clip(0.75 + 0.5 * (x[:, :, None] + y[:, None, :]), 0, 1)
    ink = (some.ink * lamps).astype(jnp.uint8)
    return flat.ink.at[words].set(jnp.where(dotted[:, None, None], ink, some.ink))


def _seen(
    key: jax.Array, flat: Flat, ink: jax.Array, halo: jax.Array, shadow: jax.Array
) -> Letters:
    """One word as the scene shows it."""
    x, y, aspect = view.look(key, masks.edges(flat.ink, flat.box, flat.step))
    seen = masks.sample(jnp.stack([ink, halo, shadow]), x / flat.step - 0.5, y - 0.5)
    return Letters(ink=seen[0], halo=seen[1], shadow=seen[2], aspect=aspect)
