"""Crops as the networks take them: without blank sides, turned, in windows; which are sharp.

`python -m benchmarks.crops` measures what chose the numbers here.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from textsr_jax.images import HR_SIZE, LR_SIZE, resize

# The least `detail` of what is read as it is.
SHARP = 0.02

# Height over width from which a crop is also tried turned.
TALL = 1.5

# Levels by which a blank side may differ from its edge, and how much of it stays, in heights.
BLANK, MARGIN = 8, 0.15

# In heights of the crop: what is wider is read in windows of that width, which share that much
# with their neighbours at least.
WIDE, WINDOW, OVERLAP = 5.0, 4.0, 1.5


def trimmed(image: np.ndarray) -> np.ndarray:
    """The image without blank space left and right of it, into which letters would be read.

    Args:
      image: uint8 (height, width, 3).

    Returns:
      uint8 (height, at most width, 3); the image itself where nothing in it stands out.
    """
    height, width = image.shape[:2]
    ends = []
    for pixels in (image, image[:, ::-1]):
        # From the edge's mean colour, in the most different pixel of each column.
        differs = (
            np.abs(pixels - pixels[:, 0].mean(axis=0, dtype=np.float32)).max(axis=(0, 2)) > BLANK
        )
        ends.append(max(0, int(differs.argmax()) - math.ceil(MARGIN * height)))
    left, right = ends
    return image[:, left : width - right]


def detail(image: np.ndarray) -> float:
    """How much of an image an LR image loses: 0 for what has no more than 16x64, towards 1.

    It is the part of the variance, in grey at 32x128, that is gone after halving and doubling.

    Args:
      image: uint8 (height, width, 3).
    """
    hr = resize(image, HR_SIZE)
    grey, back = (
        pixels.mean(axis=2, dtype=np.float32)
        for pixels in (hr, resize(resize(hr, LR_SIZE), HR_SIZE))
    )
    # One grey level squared, so that an image of one colour has no detail.
    return float(np.square(grey - back).mean() / max(grey.var(), 1.0))


def is_sharp(image: np.ndarray) -> bool:
    """Whether the SR model, which sees 16x64, would lose more than it mends; uint8 (H, W, 3)."""
    width, height = LR_SIZE
    return (image.shape[0] > height or image.shape[1] > width) and detail(image) >= SHARP


def turns(image: np.ndarray) -> list[np.ndarray]:
    """The image; and where it is tall, also turned by 90 and 270 degrees against the clock."""
    height, width = image.shape[:2]
    return [image, np.rot90(image), np.rot90(image, 3)] if height > TALL * width else [image]


@dataclasses.dataclass(frozen=True)
class Window:
    """A part of an image over its whole height.

    Attributes:
      image: uint8 (height, width, 3).
      left, right: where it lies, in heights of the image.
    """

    image: np.ndarray
    left: float
    right: float


def windows(
    image: np.ndarray, wide: float = WIDE, size: float = WINDOW, overlap: float = OVERLAP
) -> list[Window]:
    """The image in one piece, or where it is wide in windows from left to right.

    Args:
      image: uint8 (height, width, 3).
      wide: the greatest width of one piece, in heights, as the others are; at least `size`.
      size: the width of a window.
      overlap: what a window shares with the one before it, at least; less than `size`.
    """
    height, width = image.shape[:2]
    aspect = width / height
    if aspect <= wide:
        return [Window(np.ascontiguousarray(image), 0.0, aspect)]
    found = []
    for left in np.linspace(0, aspect - size, math.ceil((aspect - overlap) / (size - overlap))):
        part = image[:, round(left * height) : round((left + size) * height)]
        found.append(Window(np.ascontiguousarray(part), float(left), float(left + size)))
    return found


def join(words: Sequence[str], places: Sequence[Window]) -> str:
    """The text of neighbouring windows: what two of them share is there once.

    Args:
      words: read in each window.
      places: the windows.
    """
    text = words[0]
    for number in range(1, len(words)):
        before, word = words[number - 1 : number + 1]
        left, right = places[number].left, places[number - 1].right
        # All windows of an image are alike in width.
        letters = (len(before) + len(word)) / 2 / (places[number].right - left)
        text = _overlapped(text, word, letters * (right - left))
    return text


def _overlapped(before: str, after: str, expected: float) -> str:
    """Two texts joined so that the end of the first and the start of the second agree best.

    Letters at a window's edge may be cut: up to two of each text are left out of the comparison, at
    a price, as is what is far from the expected number. Where letters that should be the same
    differ, each is taken from the text that it is further inside of.

    Args:
      before, after: the texts.
      expected: how many letters they should share, by their windows.
    """
    if not before or not after:
        return before + after
    best, joined = 0.0, ""
    for lost_before in range(min(2, len(before)) + 1):
        whole = before[: len(before) - lost_before]
        for lost_after in range(min(2, len(after)) + 1):
            rest = after[lost_after:]
            for shared in range(1, min(len(whole), len(rest)) + 1):
                same = sum(a == b for a, b in zip(whole[-shared:], rest, strict=False))
                distance = abs(shared + lost_before + lost_after - expected)
                # One letter that agrees by chance is worth less than many.
                score = (same - 0.5) / shared - distance / 4 - (lost_before + lost_after) / 10
                if score > best:
                    best = score
                    half = shared // 2
                    joined = whole[: len(whole) - shared + half] + rest[half:]
    if best > 0:
        return joined
    # Nothing agrees: both up to the middle of what they should share.
    cut = expected / 2
    return before[: len(before) - math.floor(cut)] + after[math.ceil(cut) :]


def side_by_side(pictures: Sequence[np.ndarray], places: Sequence[Window]) -> np.ndarray:
    """Windows as one picture again, each up to the middle of what it shares with the next.

    Args:
      pictures: of each window, uint8 (height, width, 3), alike in size.
      places: the windows.

    Returns:
      uint8 (height, ..., 3).
    """
    height, width = pictures[0].shape[:2]
    scale = width / (places[0].right - places[0].left)
    whole = np.zeros((height, round(scale * places[-1].right), 3), np.uint8)
    end = 0.0
    for picture, place in zip(pictures, places, strict=True):
        start = round(scale * place.left)
        inside = round(scale * max(0.0, end - place.left) / 2)
        whole[:, start + inside : start + width] = picture[:, inside : whole.shape[1] - start]
        end = place.right
    return whole
