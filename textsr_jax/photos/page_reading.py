"""`read_page`: finds the lines of a photograph, cuts them into words and reads these.

A gap in a line may end a word or not. The line is then read both ways, and what was read chooses.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from textsr_jax import reading
from textsr_jax.decoding.english import log_ratio
from textsr_jax.images import ImageLike, image_rgb
from textsr_jax.photos import ordering, quadrilaterals, splitting
from textsr_jax.photos.page import Line, Page, Word
from textsr_jax.reading import Reader, Reading, crops
from textsr_jax.runtime.concurrency import once

# The log odds that a gap ends a word: 0 at this width, and one more for each so many heights.
_EVEN, _STEP = 0.35, 0.05
# The weight of likely English beside the recogniser's confidence, of which less does not count.
_ENGLISH, _LEAST_CONFIDENCE = 0.5, 1e-6


@dataclasses.dataclass(frozen=True)
class _Strip:
    """A line that was found, straightened.

    Attributes:
      box: its corners in the photograph, float64 (4, 2).
      image: what stands in it, uint8 (height, width, 3).
    """

    box: np.ndarray
    image: np.ndarray

    @property
    def tall(self) -> bool:
        """Whether the text in it may be turned by a quarter."""
        return self.image.shape[0] > crops.TALL * self.image.shape[1]

    def turned(self, quarters: int) -> _Strip:
        """Returns the strip turned by so many quarters, counter-clockwise."""
        return _Strip(np.roll(self.box, -quarters, axis=0), np.rot90(self.image, quarters))

    def between(self, left: float, right: float) -> _Strip:
        """Returns the part between two shares of the width."""
        width = self.image.shape[1]
        start, end = math.floor(left * width), math.ceil(right * width)
        part = quadrilaterals.part(self.box, start / width, end / width)
        return _Strip(part, np.ascontiguousarray(self.image[:, start:end]))


# The words of a strip, cut in one way, and the log odds of the gaps for it.
_Cut = tuple[list[tuple[float, float]], float]


def read_page(image: ImageLike, reader: Reader | None = None) -> Page:
    """Finds and reads the words of a whole photograph.

    PP-OCRv6's detector finds lines (`photos.detector`). Each is cut out by its four corners and
    straightened; lines that run up or down are turned. `photos.splitting` and the reader cut it
    into words, and the reader reads them as it reads crops.

    Args:
      image: the photograph, as `textsr_jax.images.image_rgb` takes it.
      reader: reads the words; None for the shipped models, which are loaded once.

    Returns:
      The page. It has no lines where no text was found.

    Raises:
      UserError: a file cannot be read or is too large, or the extra [photos] is not installed.
      ValueError: an array is not an image.
    """
    from textsr_jax.photos import detector

    pixels = image_rgb(image, None)
    found = detector.shipped().lines(pixels)
    return page_of(pixels, found, reader or _shipped())


def page_of(image: np.ndarray, boxes: Sequence[np.ndarray], reader: Reader) -> Page:
    """Reads the lines of a photograph whose places are known.

    Args:
      image: uint8 (height, width, 3).
      boxes: the lines' corners, float (4, 2) each, clockwise, the first side above.
      reader: reads the words.
    """
    height, width = image.shape[:2]
    lines = []
    for words in _lines_of_words(image, boxes, reader):
        corners = np.stack([words[0].box[0], *words[-1].box[1:3], words[0].box[3]])
        lines.append(Line(tuple(words), corners))
    order = ordering.in_order([line.box for line in lines])
    return Page(tuple(lines[number] for number in order), width, height)


@once
def _shipped() -> Reader:
    return reading.load()


def _lines_of_words(
    image: np.ndarray, boxes: Sequence[np.ndarray], reader: Reader
) -> Iterator[list[Word]]:
    """Yields the words of each line, from its beginning to its end, in no order of lines."""
    strips = [_Strip(box, quadrilaterals.straightened(image, box)) for box in boxes]
    wide = [strip for strip in strips if not strip.tall]
    found: list[list[Word]] = []
    tall = [strip for strip in strips if strip.tall]
    for strip, one in zip(tall, reader.read([strip.image for strip in tall]), strict=True):
        if one.turned % 2:
            wide.append(strip.turned(one.turned))
        elif one.text:
            found.append([_word(strip, one)])
    found += filter(None, _read_strips(wide, reader))
    for numbers in ordering.on_lines([_whole(words) for words in found]):
        yield [word for number in numbers for word in found[number]]


def _whole(words: Sequence[Word]) -> np.ndarray:
    return np.stack([words[0].box[0], *words[-1].box[1:3], words[0].box[3]])


def _read_strips(strips: Sequence[_Strip], reader: Reader) -> list[list[Word]]:
    """Returns the words of each strip, from its beginning to its end."""
    ways = [_ways(strip) for strip in strips]
    # Each part once, however many ways have it.
    parts: dict[tuple[int, tuple[float, float]], _Strip] = {}
    for number, stretches in enumerate(ways):
        for cuts in stretches:
            for places, _ in cuts:
                for place in places:
                    if (number, place) not in parts:
                        parts[number, place] = strips[number].between(*place)
    texts = reader.read([part.image for part in parts.values()])
    read = dict(zip(parts, texts, strict=True))
    found = []
    for number, stretches in enumerate(ways):
        words = []
        for cuts in stretches:
            chosen, _ = max(
                cuts, key=lambda cut: cut[1] + sum(_evidence(read[number, p]) for p in cut[0])
            )
            for place in chosen:
                if read[number, place].text:
                    words.append((parts[number, place], read[number, place]))
        turned = sum(len(one.text) * (1 if one.turned else -1) for _, one in words)
        if turned > 0:
            words.reverse()
        found.append([_word(part, one) for part, one in words])
    return found


def _word(strip: _Strip, one: Reading) -> Word:
    return Word(one.text, one.confidence, strip.turned(one.turned).box)


def _evidence(one: Reading) -> float:
    """Returns the log odds for a part's text, up to a constant."""
    sure = math.log(max(one.confidence, _LEAST_CONFIDENCE))
    return sure + _ENGLISH * log_ratio(one.text)


def _ways(strip: _Strip) -> list[list[_Cut]]:
    """Returns the stretches between wide gaps, and for each the ways to cut it into words."""
    found, (start, end) = splitting.gaps(strip.image)
    ways, doubtful = [], []
    for gap in found:
        if gap.width >= splitting.ALWAYS:
            ways.append(_cuts(strip, start, gap.left, doubtful))
            start, doubtful = gap.right, []
        elif gap.width >= splitting.NEVER:
            doubtful.append(gap)
    ways.append(_cuts(strip, start, end, doubtful))
    return ways


def _cuts(strip: _Strip, start: float, end: float, doubtful: list[splitting.Gap]) -> list[_Cut]:
    """Returns the ways to cut a stretch: nowhere, at its widest gap, at the two widest, ..."""
    height, width = strip.image.shape[:2]
    margin = crops.MARGIN * height / width
    widest = sorted(doubtful, key=lambda gap: -gap.width)[: splitting.MOST_DOUBTFUL]
    odds = [(gap.width - _EVEN) / _STEP for gap in widest]
    cuts = []
    for count in range(len(widest) + 1):
        at = sorted(widest[:count], key=lambda gap: gap.left)
        middles = [(gap.left + gap.right) / 2 for gap in at]
        starts = [start, *(gap.right for gap in at)]
        ends = [*(gap.left for gap in at), end]
        # Blank space around a word belongs to it up to the margin, and to the middle of the gap.
        limits = [0.0, *middles, 1.0]
        places = [
            (max(left - margin, first), min(right + margin, last))
            for left, right, (first, last) in zip(
                starts, ends, itertools.pairwise(limits), strict=True
            )
        ]
        # Of words that are cut at a gap, rather than not.
        cuts.append((places, sum(odds[:count])))
    return cuts
