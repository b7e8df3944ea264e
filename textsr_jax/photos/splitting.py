"""Where the words of a straightened line may end: blank gaps between its letters, and their widths.

A gap of a width may stand between words or between letters. `splits` names the likely ways to cut a
line; `photos.page_reading` reads them and chooses.
"""

import dataclasses

import numpy as np
from scipy import ndimage

from textsr_jax.images import resize

# A line is measured at this height, in pixels, and its ground in windows of this width, in heights.
_ROWS, _AROUND = 32, 2.0
# The outer rows on each side, as a part of all rows, that show the ground.
_EDGE = 0.1
# A column is blank if its ink is below this part of what columns of letters have. What a row has in
# all but this part of the columns is a rule, such as an underline.
_BLANK, _RULED = 0.25, 0.2

# In heights of letters: gaps that are narrower never end a word, wider ones always do.
NEVER, ALWAYS = 0.15, 0.7
# The most gaps of one stretch that are in doubt; the widest are taken.
MOST_DOUBTFUL = 4


@dataclasses.dataclass(frozen=True)
class Gap:
    """Space without ink in a line.

    Attributes:
      left, right: where it is, as parts of the line's width.
      width: in heights of the line's letters.
    """

    left: float
    right: float
    width: float


def gaps(line: np.ndarray) -> tuple[list[Gap], tuple[float, float]]:
    """Returns the gaps between the letters of a line, and where its ink begins and ends.

    Ink is what differs from the ground. The ground is taken from the line's upper and lower edge,
    which the detector's boxes leave blank.

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
    rows = ink[:, ~blank].mean(axis=1)
    high = np.flatnonzero(rows >= _BLANK * rows.max())
    letter_height = int(high[-1] - high[0] + 1)
    edges = np.flatnonzero(np.diff(blank[first:last].astype(np.int8)))
    found = []
    # The ink's ends are no gaps, so that edges come in pairs.
    for left, right in edges.reshape(-1, 2) + first + 1:
        found.append(Gap(left / columns, right / columns, float(right - left) / letter_height))
    return found, (first / columns, last / columns)


def _ink(line: np.ndarray) -> np.ndarray:
    """Returns how far each pixel is from the ground around it, float32 (rows, columns)."""
    pixels = line.astype(np.float32)
    edge = max(1, round(_EDGE * len(pixels)))
    window = min(2 * pixels.shape[1] - 1, round(_AROUND * len(pixels)))
    ends = []
    for rows in (pixels[:edge], pixels[-edge:]):
        means = rows.mean(axis=0)
        ends.append(ndimage.median_filter(means, size=(window, 1), mode="nearest"))
    down = np.linspace(0, 1, len(pixels), dtype=np.float32)[:, None, None]
    ground = (1 - down) * ends[0] + down * ends[1]
    ink = np.abs(pixels - ground).max(axis=2)
    return (ink - np.quantile(ink, _RULED, axis=1, keepdims=True)).clip(0)
