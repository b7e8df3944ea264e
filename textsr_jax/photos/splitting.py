"""Where the words of a straightened line may end: blank gaps between its letters, and their widths.

A gap of a width may stand between words or between letters. `photos.page_reading` reads a line cut
at its likely gaps and in one piece, and chooses.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from scipy import ndimage

from textsr_jax.images import resize

# A line is measured at this height, in pixels. The ground at a place is seen in this many heights
# around it; so many columns share one measurement.
_ROWS, _AROUND, _STEP = 32, 2.0, 8
# The part of the pixels that is surely ground, and the rows at each edge, as a part of all, that
# may show a frame.
_GROUND, _EDGE = 0.25, 0.15
# A column is blank if its ink is below this part of what columns of letters have. What a row has in
# all but this part of the columns is a rule, such as an underline.
_BLANK, _RULED = 0.35, 0.2
# The usual gap between letters, in heights, where a line shows none, and the least that counts.
_USUAL = 0.06

# The least width of two letters that touch, in heights.
_LETTER = 0.6

# Gaps that are narrower than so many heights, or usual gaps, never end a word.
_NEVER, _NEVER_RATIO = 0.08, 1.5
# Gaps that are wider than so many heights always do, and those of so many heights and usual gaps.
_ALWAYS, _CLEARLY, _CLEARLY_RATIO = 0.6, 0.2, 3.3
# The most gaps of one stretch that are in doubt; the widest are taken.
MOST_DOUBTFUL = 4


@dataclasses.dataclass(frozen=True)
class Gap:
    """Space without ink in a line.

    Attributes:
      left, right: where it is, as parts of the line's width.
      width: in heights of the line.
      ratio: how many times as wide as a usual gap between letters of the line.
    """

    left: float
    right: float
    width: float
    ratio: float

    @property
    def middle(self) -> float:
        """Its middle, as a part of the line's width."""
        return (self.left + self.right) / 2

    @property
    def always(self) -> bool:
        """Whether the gap ends a word for sure."""
        clearly = self.width >= _CLEARLY and self.ratio >= _CLEARLY_RATIO
        return clearly or self.width >= _ALWAYS

    @property
    def never(self) -> bool:
        """Whether it surely ends none."""
        return self.width < _NEVER or self.ratio < _NEVER_RATIO


def gaps(line: np.ndarray) -> tuple[list[Gap], tuple[float, float]]:
    """Returns the gaps between the letters of a line, and where its ink begins and ends.

    Ink is what differs from the ground in the direction of colours in which the line varies most.
    Ground is the colour of most pixels.

    Args:
      line: uint8 (height, width, 3).

    Returns:
      The gaps from left to right; and the ends of the ink, as parts of the width: (0, 1) if there
      is none.
    """
    height, width = line.shape[:2]
    columns = max(1, round(width * _ROWS / height))
    ink = _ink(resize(line, (columns, _ROWS)))
    # The darkest stroke of a column, so that a hyphen is ink.
    letters = ndimage.uniform_filter1d(ink, 3, axis=0)[1:-1].max(axis=0)
    strong = np.sort(letters)[int(0.8 * (len(letters) - 1))]
    blank = letters < _BLANK * strong
    inked = np.flatnonzero(~blank)
    if not len(inked):
        return [], (0.0, 1.0)
    first, last = int(inked[0]), int(inked[-1]) + 1
    edges = np.flatnonzero(np.diff(blank[first:last].astype(np.int8)))
    # The ink's ends are no gaps, so that edges come in pairs.
    places = edges.reshape(-1, 2) + first + 1
    widths = (places[:, 1] - places[:, 0]) / _ROWS
    found = []
    # Where ink stands in single letters, gaps as wide as this one are gaps between letters too.
    ends = np.concatenate([[first], places.ravel(), [last]]).reshape(-1, 2)
    single = np.median(ends[:, 1] - ends[:, 0]) < _LETTER * _ROWS
    for (left, right), gap in zip(places.tolist(), widths.tolist(), strict=True):
        narrower = np.sort(widths[widths <= gap])[:-1] if single else widths[widths < gap]
        usual = max(_USUAL, float(np.median(narrower))) if len(narrower) else _USUAL
        found.append(Gap(left / columns, right / columns, gap, gap / usual))
    return found, (first / columns, last / columns)


def _ink(line: np.ndarray) -> np.ndarray:
    """Returns how much ink each pixel has, float32 (rows without those of a frame, columns)."""
    pixels = line.astype(np.float32)
    colours = pixels.reshape(-1, 3) - pixels.mean(axis=(0, 1))
    # The eigenvector of the greatest eigenvalue.
    direction = np.linalg.eigh(colours.T @ colours)[1][:, -1]
    levels = (colours @ direction).reshape(pixels.shape[:2])
    edge = round(_EDGE * len(levels))
    levels = levels[edge : len(levels) - edge]
    # Less than half of the pixels are ink, so that they lie further from the mean around them.
    around = levels - _around(levels, np.mean)
    if np.mean(around**3) < 0:
        levels = -levels
    ink = (levels - _around(levels, lambda part: np.quantile(part, _GROUND))).clip(0)
    return (ink - np.quantile(ink, _RULED, axis=1, keepdims=True)).clip(0).astype(np.float32)


def _around(levels: np.ndarray, measure: Callable[[np.ndarray], np.floating]) -> np.ndarray:
    """Returns what is measured around each column, float64 (columns,)."""
    reach, columns = round(_AROUND * _ROWS / 2), levels.shape[1]
    middles = np.arange(0, columns + _STEP, _STEP)
    measured = [
        float(measure(levels[:, max(0, x - reach) : x + reach + 1])) if x - reach < columns else 0.0
        for x in middles.tolist()
    ]
    return np.interp(np.arange(columns), middles, measured)
