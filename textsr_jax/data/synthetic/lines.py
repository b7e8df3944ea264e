"""Draws parts of lines as a detector cuts them out of photographs, with their words' places.

`textsr_jax.experiments.train_gaps` learns from them where words end.
"""

import math
from typing import NamedTuple

import numpy as np
from PIL import Image

from textsr_jax.data.synthetic import camera, lettering, rendering, view, vocabulary

# The size of a whole part, in pixels; shorter lines give narrower ones.
HEIGHT, WIDTH = 32, 256

# The chances of one word in a line, of two and so on, and the most letters of a word.
_COUNTS, _LONGEST = (0.3, 0.3, 0.2, 0.12, 0.08), 12
# All words of a line are upper case, or begin with a capital; sums of chances.
_CASES = {"upper": 0.45, "capitalized": 0.7}
# Spaces beside the face's own: a log-normal factor; and a few are much wider, in their own widths.
_GAP, _WIDE, _WIDEST = (0.1, 0.4), 0.1, (1.0, 6.0)
# The share of lines whose letters may have extra space between them. Signs seldom space them, and
# what the network takes for a gap depends on how often that is.
_SPACED = 0.3
# Where a detector's box ends, in heights of the ink: above and below, and at the sides.
_ABOVE, _BESIDE = (-0.02, 0.35), (-0.05, 0.6)
# What straightening leaves: the standard deviations of the rise of a line's end, of its bend and of
# the slant of its letters, in heights.
_RISE, _BEND, _SLANT = 0.08, 0.06, 0.12
# The share of small lines, and their rows.
_SMALL, _ROWS = 0.4, (7.0, 20.0)


class DrawnLine(NamedTuple):
    """A part of a line.

    Attributes:
      image: uint8 (32, width, 3), RGB; the width is at most 256.
      words: where the words begin and end, float64 (words, 2), columns of the image. They may end
        beyond it.
    """

    image: np.ndarray
    words: np.ndarray


def draw(rng: np.random.Generator) -> DrawnLine:
    """Draws a part of a line of one to five words, sharp or blurred, large or small.

    Args:
      rng: where all randomness comes from.

    Raises:
      UserError: the fonts or the word list are not installed.
    """
    text = _text(rng)
    gap = rng.uniform(*_WIDEST) if rng.random() < _WIDE else math.exp(rng.normal(*_GAP)) - 1
    drawn = lettering.letter(text, rng, gap, float(rng.random() < _SPACED))
    points, words = _look(drawn, rng)
    project = view.projection(points, drawn.ink.size)
    halo = None if drawn.halo is None else project(drawn.halo)
    shadow = None if drawn.shadow is None else project(drawn.shadow)
    scene = rendering.paint(project(drawn.ink), halo, shadow, rng)
    size = points.shape[2] // 2, HEIGHT
    image = camera.photograph(scene, size[0] / HEIGHT, rng, size)
    return DrawnLine(_reduced(image, rng) if rng.random() < _SMALL else image, words)


def _text(rng: np.random.Generator) -> str:
    count = 1 + int(rng.choice(len(_COUNTS), p=_COUNTS))
    words = [vocabulary.sample("mixed", 1, _LONGEST, rng) for _ in range(count)]
    case = rng.random()
    if case < _CASES["upper"]:
        words = [word.upper() for word in words]
    elif case < _CASES["capitalized"]:
        words = [word.capitalize() for word in words]
    return " ".join(words)


def _look(drawn: lettering.Lettering, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Cuts a part out of a flat line: where its pixels lie, and where the words are.

    Returns:
      float64 (2, 64, columns), y and x in pixels of the flat drawing, for twice as many rows and
      columns as the part has; and float64 (words, 2), columns of the part.
    """
    (left, top), (right, bottom) = drawn.edges.min(axis=0), drawn.edges.max(axis=0)
    high = bottom - top
    above, below = high * rng.uniform(*_ABOVE, 2)
    before, after = high * rng.uniform(*_BESIDE, 2)
    top, bottom, left, right = top - above, bottom + below, left - before, right + after
    pixel = (bottom - top) / (2 * HEIGHT)
    columns = 2 * max(HEIGHT // 2, min(WIDTH, round((right - left) / pixel / 2)))
    left += rng.uniform(0, max(0.0, right - left - columns * pixel))
    x = left + pixel * (np.arange(columns) + 0.5)
    y = top + pixel * (np.arange(2 * HEIGHT) + 0.5)
    along = np.linspace(-1, 1, columns)
    rise, bend, slant = rng.normal(0, 1, 3) * (_RISE * high, _BEND * high, _SLANT)
    rows = y[:, None] + rise * along + bend * (along * along - 1 / 3)
    shifted = x + slant * (y[:, None] - (top + bottom) / 2)
    return np.stack([rows, shifted]), (drawn.words - left) / (2 * pixel)


def _reduced(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A line that was small in its photograph, uint8 of the same size."""
    width = image.shape[1]
    least, most = _ROWS
    rows = math.exp(rng.uniform(math.log(least), math.log(most)))
    size = max(2, round(width * rows / HEIGHT)), round(rows)
    filters = (Image.Resampling.BOX, Image.Resampling.BICUBIC, Image.Resampling.BILINEAR)
    small = Image.fromarray(image).resize(size, filters[rng.integers(len(filters))])
    noise = rng.normal(0, abs(rng.normal(0, 3)), (size[1], size[0], 1))
    small = camera.picture_of(np.asarray(small) + noise)
    if rng.random() < 0.5:
        small = camera.compress(small, int(rng.integers(50, 96)))
    return np.asarray(small.resize((width, HEIGHT), Image.Resampling.BICUBIC))
