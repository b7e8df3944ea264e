"""`read_page`: finds the lines of a photograph, cuts them into words and reads these.

A gap in a line may end a word or not, and the detector may find other lines at another size. All of
it is read, and what was read chooses.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy.sparse import csgraph

from textsr_jax import reading
from textsr_jax.decoding.english import log_ratio
from textsr_jax.images import HR_SIZE, ImageLike, image_rgb, resize
from textsr_jax.photos import ordering, quadrilaterals, splitting
from textsr_jax.photos.page import Line, Page, Word
from textsr_jax.reading import Reader, Reading, crops
from textsr_jax.runtime.concurrency import once

# The weight of the log odds that a gap ends a word, beside the recogniser's confidence.
_GAP = 1.0
# The weight of likely English beside the recogniser's confidence, of which less does not count.
_ENGLISH, _LEAST_CONFIDENCE = 0.5, 1e-6
# A line is not read again at another size if the upright rectangles around both boxes share this
# part of what both cover together.
_SAME = 0.85
# A line has at most so many rows: twice what the recogniser sees.
_MOST_ROWS = 2 * HR_SIZE[1]


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


@dataclasses.dataclass(frozen=True)
class _Read:
    """A line that was read.

    Attributes:
      look: the number of the look in which it was found.
      box: its corners in the photograph, float64 (4, 2).
      words: from its beginning to its end; none where none was read.
    """

    look: int
    box: np.ndarray
    words: list[Word]


# Two shares of a strip's width, between which a word may stand.
_Place = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class _Stretch:
    """A part of a strip between gaps that end a word for sure.

    Attributes:
      gaps: the gaps in it that may end a word, from left to right.
      ends: where it begins and ends, as shares of the strip's width.
      limits: how far a word at its ends may reach.
      margin: how much blank space belongs to a word, as a share of the width.
    """

    gaps: Sequence[splitting.Gap]
    ends: _Place
    limits: _Place
    margin: float

    def place(self, first: int, last: int) -> _Place:
        """Returns the place between two gaps; -1 and the number of gaps are the ends."""
        left, reach_left = self.ends[0], self.limits[0]
        right, reach_right = self.ends[1], self.limits[1]
        if first >= 0:
            left, reach_left = self.gaps[first].right, self.gaps[first].middle
        if last < len(self.gaps):
            right, reach_right = self.gaps[last].left, self.gaps[last].middle
        return max(left - self.margin, reach_left), min(right + self.margin, reach_right)

    @property
    def places(self) -> list[_Place]:
        """All places where a word may stand."""
        count = len(self.gaps)
        return [self.place(i, j) for i in range(-1, count) for j in range(i + 1, count + 1)]

    def best(self, evidence: Callable[[_Place], float]) -> list[_Place]:
        """Returns the likeliest words, by dynamic programming over the gaps.

        Args:
          evidence: the log odds for what was read at a place.
        """
        best: dict[int, tuple[float, list[_Place]]] = {-1: (0.0, [])}
        for last in range(len(self.gaps) + 1):
            odds = 0.0
            if last < len(self.gaps):
                odds = _GAP * self.gaps[last].log_odds
            best[last] = max(
                (
                    (score + odds + evidence(place), [*words, place])
                    for first, (score, words) in best.items()
                    for place in [self.place(first, last)]
                ),
                key=lambda way: way[0],
            )
        return best[len(self.gaps)][1]


def read_page(image: ImageLike, reader: Reader | None = None) -> Page:
    """Finds and reads the words of a whole photograph.

    PP-OCRv6's detector finds lines, at several sizes of the photograph (`photos.detector`). Each is
    cut out by its four corners and straightened; lines that run up or down are turned.
    `photos.splitting` and the reader cut it into words, and the reader reads them as it reads
    crops. Where lines of several sizes show the same text, those stay in which more letters are
    likely to be right.

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
    found = detector.shipped().looks(pixels)
    return page_of(pixels, found, reader or _shipped())


def page_of(image: np.ndarray, looks: Sequence[np.ndarray], reader: Reader) -> Page:
    """Reads the lines of a photograph whose places are known.

    Args:
      image: uint8 (height, width, 3).
      looks: proposals of the lines' corners, float (n, 4, 2) each, clockwise, the first side above.
        Lines of one proposal show different text; those of two may show the same.
      reader: reads the words.
    """
    height, width = image.shape[:2]
    read: list[_Read] = []
    for number, look in enumerate(looks):
        known = _known(look, read)
        strips = [
            _straightened(image, box) for box, one in zip(look, known, strict=True) if not one
        ]
        new = iter(_words(strips, reader))
        read += [
            _Read(number, box, one.words if one else next(new))
            for box, one in zip(look, known, strict=True)
        ]
    kept = _chosen(read)
    lines = []
    for joined in ordering.on_lines([_whole(words) for words in kept]):
        words = tuple(word for number in joined for word in kept[number])
        lines.append(Line(words, _whole(words)))
    order = ordering.in_order([line.box for line in lines])
    return Page(tuple(lines[number] for number in order), width, height)


@once
def _shipped() -> Reader:
    return reading.load()


def _words(strips: Sequence[_Strip], reader: Reader) -> list[list[Word]]:
    """Returns the words of each strip, from its beginning to its end; none where none are read."""
    found: list[list[Word]] = [[] for _ in strips]
    wide = {number: strip for number, strip in enumerate(strips) if not strip.tall}
    tall = [number for number, strip in enumerate(strips) if strip.tall]
    for number, one in zip(tall, reader.read([strips[n].image for n in tall]), strict=True):
        if one.turned % 2:
            wide[number] = strips[number].turned(one.turned)
        elif one.text:
            found[number] = [_word(strips[number], one)]
    for number, words in zip(wide, _read_strips(list(wide.values()), reader), strict=True):
        found[number] = words
    return found


def _known(boxes: np.ndarray, read: Sequence[_Read]) -> list[_Read | None]:
    """Returns for each box a line that was read in nearly the same place, or None."""
    if not len(boxes) or not read:
        return [None] * len(boxes)
    shares = quadrilaterals.shared(boxes, np.stack([one.box for one in read]))
    return [read[row.argmax()] if row.max() >= _SAME else None for row in shares]


def _chosen(lines: Sequence[_Read]) -> list[list[Word]]:
    """Returns the words of the lines that stay, where several looks show the same text.

    Lines are of one group if they share a place in two looks, or if a third line joins them. Of
    each group the lines of one look stay: those in which most letters are expected to be right,
    less those that are expected to be wrong. Of two such looks the first stays.
    """
    lines = [line for line in lines if line.words]
    if not lines:
        return []
    look = np.array([line.look for line in lines])
    boxes = np.stack([_whole(line.words) for line in lines])
    linked = quadrilaterals.overlapping(boxes, boxes) & (look[:, None] != look)
    _, groups = csgraph.connected_components(linked, directed=False)
    # The expected letters of each look in each group.
    values: dict[int, dict[int, float]] = {}
    for line, group in zip(lines, groups.tolist(), strict=True):
        looks = values.setdefault(group, {})
        letters = sum((2 * word.confidence - 1) * len(word.text) for word in line.words)
        looks[line.look] = looks.get(line.look, 0.0) + letters
    # Looks are in order, and `max` takes the first of the best.
    best = {group: max(looks, key=looks.__getitem__) for group, looks in values.items()}
    return [
        line.words
        for line, group in zip(lines, groups.tolist(), strict=True)
        if best[group] == line.look
    ]


def _straightened(image: np.ndarray, box: np.ndarray) -> _Strip:
    strip = quadrilaterals.straightened(image, box)
    height, width = strip.shape[:2]
    scale = min(1.0, _MOST_ROWS / min(height, width))
    return _Strip(box, resize(strip, (max(1, round(scale * width)), max(1, round(scale * height)))))


def _whole(words: Sequence[Word]) -> np.ndarray:
    return np.stack([words[0].box[0], *words[-1].box[1:3], words[0].box[3]])


def _read_strips(strips: Sequence[_Strip], reader: Reader) -> list[list[Word]]:
    """Returns the words of each strip, from its beginning to its end."""
    spaces = splitting.spaces([strip.image for strip in strips])
    stretches = [_stretches(*pair) for pair in zip(strips, spaces, strict=True)]
    parts = {
        (number, place): strips[number].between(*place)
        for number, some in enumerate(stretches)
        for stretch in some
        for place in stretch.places
    }
    texts = reader.read([part.image for part in parts.values()])
    read = dict(zip(parts, texts, strict=True))
    found = []
    for number, some in enumerate(stretches):
        words = [
            (parts[number, place], read[number, place])
            for stretch in some
            for place in stretch.best(lambda place: _evidence(read[number, place]))  # noqa: B023
            if read[number, place].text
        ]
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


def _stretches(strip: _Strip, spaces: splitting.Spaces) -> list[_Stretch]:
    """Returns the stretches between gaps that end a word for sure, from left to right."""
    start, end = spaces.start, spaces.end
    height, width = strip.image.shape[:2]
    margin = crops.MARGIN * height / width
    stretches = []
    doubtful: list[splitting.Gap] = []
    limit = 0.0
    for gap in spaces.gaps:
        if gap.always:
            ends, limits = (start, gap.left), (limit, gap.middle)
            stretches.append(_Stretch(_likeliest(doubtful), ends, limits, margin))
            start, limit, doubtful = gap.right, gap.middle, []
        else:
            doubtful.append(gap)
    stretches.append(_Stretch(_likeliest(doubtful), (start, end), (limit, 1.0), margin))
    return stretches


def _likeliest(gaps: Sequence[splitting.Gap]) -> list[splitting.Gap]:
    """Returns the likeliest gaps, as many as are looked at, from left to right."""
    likeliest = sorted(gaps, key=lambda gap: -gap.log_odds)[: splitting.MOST_DOUBTFUL]
    return sorted(likeliest, key=lambda gap: gap.left)
