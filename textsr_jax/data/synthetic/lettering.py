"""The letters of a synthetic word, drawn flat: their ink, and what lies behind it.

That is a shadow, an outline or a glow.
"""

import math
import re
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from textsr_jax.data.synthetic import fonts
from textsr_jax.data.synthetic.fonts import CAP_HEIGHT

# What other words near the word are made of; their text is not meant to be read.
NEIGHBOURS = "AEHIKMNORSTUaeimnorstu0123456789"

# What happens to letters, which `drawing.lettering` shares. Lengths are parts of a capital's
# height, or pixels where a capital has `CAP_HEIGHT`; the other numbers are parts of the words, or
# running sums of them.
SPACINGS = ((0.84, 0.0, 0.15), (0.94, 0.1, 0.6), (1.0, -0.04, 0.0))  # after UNSPACED; low and high
UNSPACED = 0.60
JITTERED, JITTER = 0.06, 0.12
SMALL_CAPITALS, FIRST_CAPITAL = 0.06, 1.3
BOLD, BOLD_STROKE = 0.08, (0.4, 1.2)
NEIGHBOURED, NEIGHBOUR_GAP, NEIGHBOUR_LENGTH = 0.18, (0.05, 0.25), 12
NEIGHBOUR_PLACES = 0.4, 0.8, 0.9  # above, below, before; else after
OUTLINED, OUTLINE_STROKE = 0.12, (1.5, 5)
HOLLOW = 0.02  # of all words, and a part of OUTLINED
GLOWING, GLOW_BLUR = 0.17, (3, 7)
SHADOWED, SHADOW_REACH, SHADOW_BLUR = 0.17, (0.04, 0.16), (0, 4)
BLOCK = 0.3  # of the shadows
DOTTED, DOTS = 0.02, (7, 12)  # dots in a capital's height


@dataclass(frozen=True)
class Lettering:
    """A word drawn flat. Its masks are images in 8 bits and have one size.

    Attributes:
      ink: the letters.
      halo: an outline or a glow behind the ink; None where the word has none.
      shadow: what lies behind both; None where the word has none.
      edges: the ink's upper and lower edge; see `ink_edges`.
      words: where the ink of each word begins and ends, float64 (words, 2), x in pixels.
    """

    ink: Image.Image
    halo: Image.Image | None
    shadow: Image.Image | None
    edges: np.ndarray
    words: np.ndarray


def letter(word: str, rng: np.random.Generator, gap: float = 0.0, spaced: float = 1.0) -> Lettering:
    """Draws `word` in a random face, with random effects.

    Args:
      word: printable ASCII, with single spaces between words; its ends are no spaces.
      rng: where all randomness comes from.
      gap: how much a space is wider than the face's own, in its own widths; above -1.
      spaced: what is left of the extra space between letters.
    """
    face = fonts.choose(word, rng)
    font = fonts.load(face)
    left, top, right, bottom = font.getbbox(word, anchor="ls")
    spacing = spaced * CAP_HEIGHT * _spacing(rng)
    jitter = CAP_HEIGHT * rng.uniform(0, JITTER) if rng.random() < JITTERED else 0.0
    first, wider = font, 0.0
    if word.isupper() and len(word) > 2 and rng.random() < SMALL_CAPITALS:
        # A capital, then small capitals.
        first = fonts.load(face, round(FIRST_CAPITAL * CAP_HEIGHT))
        wider = first.getlength(word[0]) - font.getlength(word[0])
    pad = CAP_HEIGHT
    gap *= font.getlength(" ")
    width = right - left + spacing * (len(word) - 1) + wider + gap * word.count(" ")
    size = (int(width) + 2 * pad, int(bottom - top) + 2 * pad)
    start, baseline = pad - left, pad - top
    # With kerning a letter starts its own advance before the end of the text up to it.
    places = [
        start
        + font.getlength(word[: i + 1])
        - font.getlength(word[i])
        + i * spacing
        + word[:i].count(" ") * gap
        + (wider if i else 0.0)
        for i in range(len(word))
    ]
    glyphs: list[tuple[float, float, str, ImageFont.FreeTypeFont]]
    if spacing == jitter == wider == gap == 0:
        glyphs = [(start, baseline, word, font)]
    else:
        glyphs = [
            (places[i], baseline + jitter * rng.uniform(-1, 1), word[i], font if i else first)
            for i in range(len(word))
        ]

    def draw(stroke: float) -> Image.Image:
        image = Image.new("L", size)
        canvas = ImageDraw.Draw(image)
        for x, y, text, letters in glyphs:
            canvas.text((x, y), text, 255, letters, "ls", stroke_width=stroke)
        return image

    # Strokes take long to draw, so only some words are bolder than their face, or outlined.
    ink = draw(rng.uniform(*BOLD_STROKE) if rng.random() < BOLD else 0)
    edges = ink_edges(np.asarray(ink))
    if rng.random() < NEIGHBOURED:
        _add_neighbour(ink, edges, baseline, font, rng)
    halo = shadow = None
    effect = rng.random()
    if effect < OUTLINED:
        halo = draw(rng.uniform(*OUTLINE_STROKE))
        if effect < HOLLOW:
            # Hollow letters: their ink is the outline alone.
            ink, halo = Image.fromarray(np.asarray(halo) - np.asarray(ink)), None
    elif effect < GLOWING:
        halo = ink.filter(ImageFilter.GaussianBlur(rng.uniform(*GLOW_BLUR)))
        halo = halo.point([min(2 * value, 255) for value in range(256)])
    if rng.random() < SHADOWED:
        shadow = _cast(halo or ink, rng)
    if rng.random() < DOTTED:
        ink = _dotted(ink, rng)
    ends = [
        (places[i] + font.getbbox(word[i], anchor="ls")[0], places[j] + _right(word[j], font))
        for i, j in _runs(word)
    ]
    return Lettering(ink, halo, shadow, edges, np.array(ends, np.float64))


def _runs(text: str) -> list[tuple[int, int]]:
    """Returns the first and the last place of each word of a text."""
    return [(found.start(), found.end() - 1) for found in re.finditer("[^ ]+", text)]


def _right(character: str, font: ImageFont.FreeTypeFont) -> float:
    return font.getbbox(character, anchor="ls")[2]


def _spacing(rng: np.random.Generator) -> float:
    """Extra space between letters, in capitals' heights."""
    kind = rng.random()
    if kind < UNSPACED:
        return 0.0
    return next(rng.uniform(low, high) for part, low, high in SPACINGS if kind < part)


def ink_edges(ink: np.ndarray) -> np.ndarray:
    """Where the ink begins and ends in every third column and in the last one.

    Args:
      ink: uint8 (height, width), the mask of the letters.

    Returns:
      float64 (points, 2), x and y in pixels along the upper and lower edge.
    """
    inked = ink > 64
    columns = np.flatnonzero(inked.any(axis=0))
    columns = np.append(columns[::3], columns[-1])
    top = inked[:, columns].argmax(axis=0)
    bottom = len(ink) - inked[::-1, columns].argmax(axis=0)
    x = np.concatenate([columns, columns + 1]).astype(np.float64)
    return np.stack([np.tile(x, 2), np.repeat([top, bottom], 2, axis=0).ravel()], axis=1)


def _add_neighbour(
    ink: Image.Image,
    edges: np.ndarray,
    baseline: float,
    font: ImageFont.FreeTypeFont,
    rng: np.random.Generator,
) -> None:
    """Draws other text near the word; a loose crop will show parts of it."""
    left, top = edges.min(axis=0)
    right, bottom = edges.max(axis=0)
    gap = CAP_HEIGHT * rng.uniform(*NEIGHBOUR_GAP)
    text = "".join(rng.choice(list(NEIGHBOURS), NEIGHBOUR_LENGTH))
    offset = rng.uniform(0, 2 * CAP_HEIGHT)
    place = rng.random()
    above, below, before = NEIGHBOUR_PLACES
    if place < above:
        at, anchor = (left - offset, top - gap), "ls"
    elif place < below:
        text = text.upper()
        at, anchor = (left - offset, bottom + gap + CAP_HEIGHT), "ls"
    elif place < before:
        at, anchor = (left - 2 * gap, baseline), "rs"
    else:
        at, anchor = (right + 2 * gap, baseline), "ls"
    ImageDraw.Draw(ink).text(at, text, 255, font, anchor)


def _cast(mask: Image.Image, rng: np.random.Generator) -> Image.Image:
    """The shadow of `mask`: soft and beside it, or joined to it like the side of a block letter."""
    reach = CAP_HEIGHT * rng.uniform(*SHADOW_REACH)
    angle = rng.uniform(0, 2 * math.pi)
    dx, dy = reach * math.cos(angle), reach * math.sin(angle)
    pixels = np.asarray(mask)
    if rng.random() < BLOCK:
        steps = np.linspace(1, 0, max(2, round(reach)), endpoint=False)
        layers = [np.roll(pixels, (round(t * dy), round(t * dx)), (0, 1)) for t in steps]
        return Image.fromarray(np.maximum.reduce(layers))
    shadow = Image.fromarray(np.roll(pixels, (round(dy), round(dx)), (0, 1)))
    return shadow.filter(ImageFilter.GaussianBlur(rng.uniform(*SHADOW_BLUR)))


def _dotted(ink: Image.Image, rng: np.random.Generator) -> Image.Image:
    """The ink as a board of lamps shows it."""
    pitch = CAP_HEIGHT / rng.uniform(*DOTS)
    width, height = ink.size
    x = np.cos(2 * np.pi * np.arange(width) / pitch)
    y = np.cos(2 * np.pi * np.arange(height) / pitch)
    lamps = np.clip(0.75 + 0.5 * (x + y[:, None]), 0, 1)
    return Image.fromarray((np.asarray(ink) * lamps).astype(np.uint8))
