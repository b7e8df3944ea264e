"""`Word` and `Line`: text in a photograph, and the quadrilaterals that it stands in.

Nothing here needs JAX.
"""

import dataclasses
import math

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Word:
    """A word of a photograph.

    Attributes:
      text: what was read.
      confidence: in the text, in [0, 1].
      box: the corners as x, y in pixels of the photograph, float64 (4, 2), clockwise from the
        upper left of the text. The text may be turned, so its upper left may be anywhere. The
        array cannot be written to.

    Raises:
      ValueError: the box has another shape or is not finite, or the confidence is out of [0, 1].
    """

    text: str
    confidence: float
    box: np.ndarray

    def __post_init__(self) -> None:
        object.__setattr__(self, "box", _corners(self.box))
        if not 0 <= self.confidence <= 1:
            raise ValueError(f"a confidence of {self.confidence} is out of [0, 1]")


@dataclasses.dataclass(frozen=True, eq=False)
class Line:
    """A line of words.

    Attributes:
      words: from the beginning of the line to its end.
      box: the corners of the line, as `Word.box`.

    Raises:
      ValueError: the box has another shape or is not finite.
    """

    words: tuple[Word, ...]
    box: np.ndarray

    def __post_init__(self) -> None:
        object.__setattr__(self, "box", _corners(self.box))

    @property
    def text(self) -> str:
        """The texts of the words, joined by spaces."""
        return " ".join(word.text for word in self.words if word.text)


def size(box: np.ndarray) -> tuple[float, float]:
    """Returns how wide and how high the text in a box is, in pixels: the means of its sides."""
    top, right, bottom, left = np.linalg.norm(np.roll(box, -1, axis=0) - box, axis=1).tolist()
    return (top + bottom) / 2, (left + right) / 2


def angle(box: np.ndarray) -> float:
    """Returns how far the text in a box is turned, in degrees in (-180, 180], clockwise."""
    right = box[1] + box[2] - box[0] - box[3]
    return math.degrees(math.atan2(right[1], right[0]))


def bounds(box: np.ndarray, width: int, height: int) -> tuple[int, int, int, int]:
    """Returns the upright rectangle around a box: left, top, right, bottom in whole pixels.

    Args:
      box: the corners, float (4, 2).
      width, height: of the photograph. What lies outside is cut off.
    """
    left, top = np.floor(box.min(axis=0)).astype(int).tolist()
    right, bottom = np.ceil(box.max(axis=0)).astype(int).tolist()
    left, top = min(max(left, 0), width - 1), min(max(top, 0), height - 1)
    return left, top, min(max(right, left + 1), width), min(max(bottom, top + 1), height)


def _corners(box: np.ndarray) -> np.ndarray:
    corners = np.array(box, np.float64)
    if corners.shape != (4, 2) or not np.isfinite(corners).all():
        raise ValueError(f"a box needs 4 corners x, y; it is {corners.tolist()}")
    corners.setflags(write=False)
    return corners
