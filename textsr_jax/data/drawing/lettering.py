"""The letters of words as the scene shows them: their ink, and a halo and a shadow behind it.

Follows `synthetic.lettering`, as array code. Kerning is left out.
"""

from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from textsr_jax.data.drawing import atlas as glyph_atlas
from textsr_jax.data.drawing import effects, masks, strata, view
from textsr_jax.data.drawing.atlas import LEVELS, Atlas
from textsr_jax.data.drawing.effects import COLUMNS, ROWS, Flat
from textsr_jax.data.drawing.resampling import settled
from textsr_jax.data.drawing.vocabulary import MAX_CODES
from textsr_jax.data.synthetic import lettering as shares
from textsr_jax.data.synthetic.view import HEIGHT, WIDTH

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
    flat = effects.bold(bold_key, flat, plain)
    ink, halo, with_halo = effects.halo(halo_key, flat, plain)
    shadow, with_shadow = effects.shadow(shadow_key, flat._replace(ink=ink), halo, plain)
    ink = effects.dotted(dot_key, flat._replace(ink=ink), plain)
    places, aspect = jax.vmap(_places)(jax.random.split(view_key, count), flat)
    return Letters(
        ink=jax.vmap(masks.sample)(ink, places).reshape(count, HEIGHT, WIDTH),
        halo=_seen(strata.rows(halo, with_halo), with_halo, places),
        shadow=_seen(shadow, with_shadow, places),
        aspect=aspect,
    )


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
    other = jnp.where(beside > 0, beside, other)
    taken = (
        atlas.pixels.at[settled(places).ravel()].get(mode="promise_in_bounds")
        for places in (one, other)
    )
    return settled(jnp.maximum(*taken)).reshape(COLUMNS, ROWS)


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
    here = settled(_Glyphs(*(values[number] for values in glyphs)))
    x = ((np.arange(COLUMNS) - here.column + 0.5) / here.size).astype(jnp.int32)
    base = settled(here.start + x * here.height)
    row = jnp.arange(ROWS) - here.row[:, None]
    inside = (row >= 0) & (row < here.rows[:, None]) & (number >= 0)[:, None]
    inside &= (np.arange(ROWS) > 0) & (np.arange(ROWS) < ROWS - 1)
    y = ((row + 0.5) / here.size[:, None]).astype(jnp.int32)
    # A larger letter has parts of rows and columns at its end.
    y = jnp.minimum(y, here.height[:, None] - 1)
    return jnp.where(inside, base[:, None] + y, 0)


def _places(key: jax.Array, flat: Flat) -> tuple[masks.Places, jax.Array]:
    """Where the scene's pixels lie on the flat drawing, and the crop's aspect."""
    x, y, aspect = view.look(key, masks.edges(flat.ink, flat.box, flat.step))
    return masks.places(x / flat.step - 0.5, y - 0.5, (COLUMNS, ROWS)), aspect


def _seen(mask: jax.Array, words: jax.Array, places: masks.Places) -> jax.Array:
    """Masks of some words as the scene shows them, float32 (all words, 64, 256)."""
    count = len(places.corner)
    some = masks.Places(*(strata.rows(values, words) for values in places))
    seen = jax.vmap(masks.sample)(mask, some).reshape(-1, HEIGHT, WIDTH)
    return jnp.zeros((count, HEIGHT, WIDTH)).at[words].set(seen, mode="drop")
