"""The glyph atlas: every character of every face as a small grey image, made once from the fonts.

It is data that the drawing functions read inside `jit`.
"""

from collections.abc import Sequence

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from PIL import ImageFont

from textsr_jax.data.synthetic import fonts
from textsr_jax.data.synthetic.fonts import BASIC, CAP_HEIGHT, FAMILIES, SCRIPTS

# Printable ASCII and the pound sign. A glyph's number is its character's place here.
CHARACTERS = "".join(map(chr, range(33, 127))) + "£"

# A glyph's columns stand in the atlas at full width, at half and at a quarter: a long word would
# lose its thin strokes if it took every second or fourth column.
LEVELS = 3

# A face whose glyphs are taller than this, from the highest to the lowest, is drawn smaller.
MOST_ROWS = 76

_ROOM = 1 << 27  # of the pixels while they are collected


class Atlas(flax.struct.PyTreeNode):
    """All glyphs. A face is a row of the tables, a character of `CHARACTERS` is a column.

    Attributes:
      pixels: uint8 (pixels,): glyph after glyph, column after column from the left, every column
        from the top down. The first pixel is blank and belongs to no glyph.
      starts: int32 (faces, characters, LEVELS): where a glyph's pixels begin.
      boxes: int32 (faces, characters, 4): x and y of the ink's upper left corner from the pen on
        the baseline, y downwards, then its width and height, in pixels.
      advances: float32 (faces, characters): the way to the next pen, in pixels.
      capitals: float32 (faces,): the height of a capital in pixels; `fonts.CAP_HEIGHT` unless the
        face has tall letters.
      families: int32 (families, 2): a family's first face, and the number of its faces.
      scripts, basic: bool (families,): members of `fonts.SCRIPTS` and `fonts.BASIC`.
    """

    pixels: jax.Array
    starts: jax.Array
    boxes: jax.Array
    advances: jax.Array
    capitals: jax.Array
    families: jax.Array
    scripts: jax.Array
    basic: jax.Array


def make_atlas(families: Sequence[str] = FAMILIES) -> Atlas:
    """Draws the glyphs of all faces of the families; takes some seconds, and about 100 MB.

    Raises:
      UserError: see `fonts.find`.
    """
    found = fonts.find(families)
    faces = [face for family in found for face in family]
    pixels = np.zeros(_ROOM, np.uint8)
    end = 1
    starts = np.zeros((len(faces), len(CHARACTERS), LEVELS), np.int32)
    boxes = np.zeros((len(faces), len(CHARACTERS), 4), np.int32)
    advances = np.zeros((len(faces), len(CHARACTERS)), np.float32)
    capitals = np.zeros(len(faces), np.float32)
    for row, face in enumerate(faces):
        font, capitals[row] = _fitting(face)
        for column, character in enumerate(CHARACTERS):
            mask, offset = font.getmask2(character, mode="L", anchor="ls")
            width, height = mask.size
            glyph = np.asarray(mask, np.uint8).reshape(height, width).T
            boxes[row, column] = *offset, width, height
            advances[row, column] = font.getlength(character)
            for level in range(LEVELS):
                reduced = _narrowed(glyph, 2**level)
                starts[row, column, level] = end
                pixels[end : end + reduced.size] = reduced.ravel()
                end += reduced.size
    sizes = [len(family) for family in found]
    firsts = np.cumsum(sizes) - sizes
    return Atlas(
        pixels=jnp.asarray(pixels[:end]),
        starts=jnp.asarray(starts),
        boxes=jnp.asarray(boxes),
        advances=jnp.asarray(advances),
        capitals=jnp.asarray(capitals),
        families=jnp.asarray(np.stack([firsts, sizes], axis=1), jnp.int32),
        scripts=jnp.asarray([family in SCRIPTS for family in families]),
        basic=jnp.asarray([family in BASIC for family in families]),
    )


def glyphs(codes: jax.Array) -> jax.Array:
    """The places in `CHARACTERS` of character codes; 0 for what is not there, such as code 0."""
    places = np.zeros(256, np.int32)
    places[[ord(character) for character in CHARACTERS]] = np.arange(len(CHARACTERS))
    return jnp.asarray(places)[codes]


def choose(key: jax.Array, atlas: Atlas, codes: jax.Array, plain: jax.Array) -> jax.Array:
    """A random face by the rules of `fonts.choose`, int32.

    Every family is as likely as any other, and in it every face. Scripts seldom get a word in
    capitals.

    Args:
      key: where the randomness comes from.
      atlas: the faces.
      codes: uint8 (characters,), the word, 0 after its last character.
      plain: bool, whether the family is one of `fonts.BASIC`.
    """
    chance = jnp.where(plain, atlas.basic, True).astype(jnp.float32)
    rejected = is_upper(codes) & ((codes > 0).sum() > 2)
    kept = 1 - fonts.SCRIPT_CAPITALS_REJECTED
    # Rejecting a script and choosing again is choosing scripts with a smaller chance.
    sums = jnp.cumsum(chance * jnp.where(rejected & atlas.scripts, kept, 1.0))
    family, face = jax.random.uniform(key, (2,))
    chosen = (sums <= family * sums[-1]).sum()
    first, count = atlas.families[jnp.minimum(chosen, len(atlas.families) - 1)]
    return first + (face * count).astype(jnp.int32)


def is_upper(codes: jax.Array) -> jax.Array:
    """Whether the word has letters and none of them is lower case, as `str.isupper` says; bool."""
    upper = (codes >= ord("A")) & (codes <= ord("Z"))
    lower = (codes >= ord("a")) & (codes <= ord("z"))
    return upper.any() & ~lower.any()


def _fitting(face: fonts.Face) -> tuple[ImageFont.FreeTypeFont, int]:
    """The face at a size at which no glyph is too tall, and the height of a capital there."""
    font = fonts.load(face)
    boxes = [font.getbbox(character, anchor="ls") for character in CHARACTERS]
    rows = max(box[3] for box in boxes) - min(box[1] for box in boxes)
    if rows <= MOST_ROWS:
        return font, CAP_HEIGHT
    height = int(CAP_HEIGHT * MOST_ROWS / rows)
    return fonts.load(face, height), height


def _narrowed(glyph: np.ndarray, step: int) -> np.ndarray:
    """The glyph, uint8 (width, height), with the mean of every `step` columns in their place."""
    width, height = glyph.shape
    if step == 1 or not glyph.size:
        return glyph
    padded = np.zeros((-(-width // step), step, height), np.uint16)
    padded.reshape(-1, height)[:width] = glyph
    return ((padded.sum(axis=1) + step // 2) // step).astype(np.uint8)
