"""Makes crops that the networks can take: trims, cuts, unstacks and joins; tells which are sharp.

The constants were chosen by what `python -m benchmarks.crops` measures.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from textsr_jax.images import HR_SIZE, LR_SIZE, resize

# A crop with at least this `detail` is read without the SR model.
SHARP = 0.02

# From this ratio of height to width on, a crop is also read turned.
TALL = 1.5

# By how many levels a blank side may differ from its edge, and how much of it stays, in heights.
BLANK, MARGIN = 8, 0.15

# Blank rows are cut if there are more of them than this multiple of the rows between them. A row is
# blank if the variance of its pixels is below this part of the greatest variance of a row.
BLANK_ROWS, ROW_VARIANCE = 1.0, 0.03

# Space between two words has this width, in heights, and at most this part of letters' variance.
GAP, GAP_VARIANCE = 0.7, 0.05

# For letters below each other: rows with at most this part of the greatest contrast are blank. A
# piece with less than this part of the median height is a part of a letter, such as a dot.
BLANK_ROW, PART_OF_LETTER = 0.25, 0.4

# In heights of the crop: from which width on it is read in windows, the width of a window, and how
# much neighbouring windows share at least.
WIDE, WINDOW, OVERLAP = 5.0, 4.0, 1.5


def box_means(image: np.ndarray) -> np.ndarray:
    """Returns means of 3x3 pixels inside the image: (H-2, W-2, ...) of (H, W, ...)."""
    rows = image[:-2] + image[1:-1] + image[2:]
    return (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) / 9


def trimmed(image: np.ndarray) -> np.ndarray:
    """Returns the image without blank space around it, in which letters could be seen wrongly.

    Blank columns are cut to `MARGIN`. Blank rows are cut to it only if there are more of them than
    in usual crops.

    Args:
      image: uint8 (height, width, 3).

    Returns:
      uint8 (at most height, at most width, 3); the image itself if all of it is blank.
    """
    above, below = _blank_rows(image)
    inside = image.shape[0] - above - below
    if max(above, below) > BLANK_ROWS * inside:
        margin = math.ceil(MARGIN * inside)
        image = image[max(0, above - margin) : image.shape[0] - max(0, below - margin)]
    height, width = image.shape[:2]
    margin = math.ceil(MARGIN * height)
    left, right = (max(0, _blank(turned) - margin) for turned in (image, image[:, ::-1]))
    return image[:, left : width - right]


def _blank_rows(image: np.ndarray) -> tuple[int, int]:
    """Returns how many rows are above and below all ink of an image, uint8 (height, width, 3)."""
    height, width = image.shape[:2]
    rows, columns = min(height, 4 * HR_SIZE[1]), min(width, 2 * HR_SIZE[0])
    third = height // 3
    if min(rows, columns) < 3 or not third:
        return 0, 0
    # Rows are cut only if a third of them is blank. For most crops a few pixels exclude that.
    few = np.ascontiguousarray(image[:, :: max(1, width // 32)], np.float32).var(axis=1).max(axis=1)
    if min(few[:third].max(), few[-third:].max()) > 0.3 * few.max():
        return 0, 0
    small = resize(image, (columns, rows)).astype(np.float32)
    # If much of a column is blank, its median is the colour of the ground.
    means = box_means(small - np.median(small, axis=0))
    variance = means.var(axis=1).max(axis=-1)
    ink = np.flatnonzero(variance >= ROW_VARIANCE * variance.max())
    scale = height / rows
    # A mean of three rows counts for the middle one.
    above, below = round(scale * ink[0]), round(scale * (len(variance) - 1 - ink[-1]))
    # If upright strokes fill most of the rows, they are the median themselves, and the ground is
    # taken for ink.
    outside = np.concatenate([few[:above], few[height - below :]])
    inside = few[above : height - below]
    if len(outside) and (not len(inside) or outside.mean() > inside.mean()):
        return 0, 0
    return above, below


def _blank(image: np.ndarray) -> int:
    """Returns how many columns at the left have the edge's colour; 0 if all columns have it."""
    edge = image[:, 0].mean(axis=0, dtype=np.float32)
    least, most = np.ceil(edge - BLANK).clip(0, 255), np.floor(edge + BLANK).clip(0, 255)
    # The pixel that differs most decides for its column.
    differs = ((image < least.astype(np.uint8)) | (image > most.astype(np.uint8))).any(axis=(0, 2))
    return int(differs.argmax())


def detail(image: np.ndarray) -> float:
    """Returns how much of an image is lost at 16x64 pixels, from 0 for nothing towards 1.

    This is the part of the variance, in grey at 32x128, that is lost by halving and doubling.

    Args:
      image: uint8 (height, width, 3).
    """
    hr = resize(image, HR_SIZE)
    grey, back = (
        pixels.mean(axis=2, dtype=np.float32)
        for pixels in (hr, resize(resize(hr, LR_SIZE), HR_SIZE))
    )
    # At least one squared grey level, so that an image of one colour has no detail.
    return float(np.square(grey - back).mean() / max(grey.var(), 1.0))


def is_sharp(image: np.ndarray) -> bool:
    """Whether the SR model, which sees 16x64, would lose more than it adds; uint8 (H, W, 3)."""
    width, height = LR_SIZE
    return (image.shape[0] > height or image.shape[1] > width) and detail(image) >= SHARP


def apart(image: np.ndarray) -> list[np.ndarray]:
    """Returns the words of a line, cut at wide space around them; or the image alone.

    Space is at least as wide as `GAP` and has nearly no variance along its rows. It may be paint,
    noise or stripes.

    Args:
      image: uint8 (height, width, 3).

    Returns:
      From left to right, uint8 (height, width, 3): a word with up to `MARGIN` on both sides.
    """
    height, width = image.shape[:2]
    rows = min(height, HR_SIZE[1])
    # At the height that the recogniser sees.
    small = resize(image, (max(1, round(width * rows / height)), rows)).astype(np.float32)
    span = max(2, round(GAP * rows))
    if small.shape[0] < 3 or small.shape[1] < 2 * span:
        return [image]
    means = box_means(small - small.mean(axis=(0, 1)))
    first, second = (_running_mean(values, span) for values in (means, means * means))
    variance = (second - first * first).mean(axis=0).max(axis=-1)
    if variance.max() < 1:
        return [image]
    # Independent of how much of the line is blank.
    written = np.sort(variance[variance >= GAP_VARIANCE * variance.max()])
    blank = variance < GAP_VARIANCE * written[9 * len(written) // 10]
    words, start = [], 0.0
    scale, margin = height / rows, MARGIN * height
    for left, right in _runs(blank):
        # From each of these columns on, a whole span is blank. The box reaches one pixel further.
        left, right = scale * left, scale * (right - 1 + span + 2)
        if left > margin and left - start > margin:
            words.append((start, left + margin))
        start = right - margin
    if width - start > 2 * margin:
        words.append((start, width))
    return [image[:, max(0, round(left)) : round(right)] for left, right in words] or [image]


def _running_mean(values: np.ndarray, span: int) -> np.ndarray:
    """Returns means of `span` neighbours along axis 1."""
    sums = np.cumsum(values, axis=1, dtype=np.float64)
    sums[:, span:] -= sums[:, :-span].copy()
    return sums[:, span - 1 :] / span


def _runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """Returns start and end of each run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def unstacked(image: np.ndarray) -> np.ndarray | None:
    """Puts letters that stand below each other side by side; None if there are fewer than three.

    Args:
      image: uint8 (height, width, 3).

    Returns:
      uint8 (height of the highest letter, width of all, 3).
    """
    contrast = np.ptp(image.astype(np.int16), axis=1).max(axis=-1)
    runs = _runs(contrast > BLANK_ROW * contrast.max())
    letters = _whole_letters(runs)
    if len(letters) < 3:
        return None
    ground = np.median(image[[0, -1]].reshape(-1, 3), axis=0).astype(np.uint8)
    high = max(bottom - top for top, bottom in letters)
    margin = math.ceil(MARGIN * high)
    cells = []
    for top, bottom in letters:
        cell = image[max(0, top - 1) : bottom + 1]
        left, right = (_blank(turned) for turned in (cell, cell[:, ::-1]))
        cell = cell[:, max(0, left - margin // 2) : cell.shape[1] - max(0, right - margin // 2)]
        # All letters stand on one line.
        above = high + 2 + margin - cell.shape[0]
        padded = np.full((high + 2 + 2 * margin, cell.shape[1], 3), ground)
        padded[above : above + cell.shape[0]] = cell
        cells.append(padded)
    return np.concatenate(cells, axis=1)


def _whole_letters(runs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Returns runs of rows; joins runs that are too low for a letter to the nearest run."""
    if not runs:
        return []
    least = PART_OF_LETTER * float(np.median([bottom - top for top, bottom in runs]))
    while len(runs) > 1:
        part = min(range(len(runs)), key=lambda number: runs[number][1] - runs[number][0])
        if runs[part][1] - runs[part][0] >= least:
            break
        before = runs[part][0] - runs[part - 1][1] if part else math.inf
        after = runs[part + 1][0] - runs[part][1] if part + 1 < len(runs) else math.inf
        first = part - 1 if before < after else part
        runs = [*runs[:first], (runs[first][0], runs[first + 1][1]), *runs[first + 2 :]]
    return runs


@dataclasses.dataclass(frozen=True)
class Window:
    """A part of an image over its whole height.

    Attributes:
      image: uint8 (height, width, 3).
      left, right: its place in the image, in heights.
    """

    image: np.ndarray
    left: float
    right: float


def windows(
    image: np.ndarray, wide: float = WIDE, size: float = WINDOW, overlap: float = OVERLAP
) -> list[Window]:
    """Returns the image in one piece, or a wide image in windows from left to right.

    Args:
      image: uint8 (height, width, 3).
      wide: the greatest width of one piece, in heights; at least `size`.
      size: the width of a window, in heights.
      overlap: how much a window shares with the one before it, at least, in heights; less than
        `size`.
    """
    height, width = image.shape[:2]
    aspect = width / height
    count = count_windows(image, wide, size, overlap)
    if count == 1:
        return [Window(np.ascontiguousarray(image), 0.0, aspect)]
    found = []
    for left in np.linspace(0, aspect - size, count):
        part = image[:, round(left * height) : round((left + size) * height)]
        found.append(Window(np.ascontiguousarray(part), float(left), float(left + size)))
    return found


def count_windows(
    image: np.ndarray, wide: float = WIDE, size: float = WINDOW, overlap: float = OVERLAP
) -> int:
    """Returns how many `windows` the image has."""
    aspect = image.shape[1] / image.shape[0]
    return 1 if aspect <= wide else math.ceil((aspect - overlap) / (size - overlap))


def join(words: Sequence[str], places: Sequence[Window]) -> str:
    """Returns the joined text of neighbouring windows; see `joined_letters`."""
    return "".join(words[window][place] for window, place in joined_letters(words, places))


def joined_letters(words: Sequence[str], places: Sequence[Window]) -> list[tuple[int, int]]:
    """Returns the letters of the joined text of neighbouring windows.

    What two windows share is there once.

    Args:
      words: the text in each window.
      places: the windows.

    Returns:
      For each letter the number of its window and its place in that window's text.
    """
    kept = [(0, place) for place in range(len(words[0]))]
    for number in range(1, len(words)):
        before, word = words[number - 1 : number + 1]
        left, right = places[number].left, places[number - 1].right
        # All windows of an image have the same width.
        letters = (len(before) + len(word)) / 2 / (places[number].right - left)
        text = "".join(words[window][place] for window, place in kept)
        end, start = _overlap(text, word, letters * (right - left))
        kept = kept[:end] + [(number, place) for place in range(len(word))][start:]
    return kept


def _overlap(before: str, after: str, expected: float) -> tuple[int, int]:
    """Finds where the end of one text and the start of the next one agree best.

    Letters at a window's edge may be cut. So up to two letters of each text may be dropped, at a
    price. A number of shared letters that is far from the expected one has a price too. If shared
    letters differ, each is taken from the text in which it is further from the edge.

    Args:
      before, after: the texts.
      expected: how many letters they should share, by the places of their windows.

    Returns:
      `end` and `start`: the joined text is before[:end] + after[start:].
    """
    if not before or not after:
        return len(before), 0
    best, found = 0.0, (0, 0)
    for lost_before in range(min(2, len(before)) + 1):
        whole = before[: len(before) - lost_before]
        for lost_after in range(min(2, len(after)) + 1):
            rest = after[lost_after:]
            for shared in range(1, min(len(whole), len(rest)) + 1):
                same = sum(a == b for a, b in zip(whole[-shared:], rest, strict=False))
                distance = abs(shared + lost_before + lost_after - expected)
                # One letter may agree by chance, so it counts less than many.
                score = (same - 0.5) / shared - distance / 4 - (lost_before + lost_after) / 10
                if score > best:
                    best = score
                    half = shared // 2
                    found = len(whole) - shared + half, lost_after + half
    if best > 0:
        return found
    # Nothing agrees: take both up to the middle of what they should share.
    cut = expected / 2
    return len(before) - math.floor(cut), math.ceil(cut)


def side_by_side(
    pictures: Sequence[np.ndarray] | np.ndarray, places: Sequence[Window]
) -> np.ndarray:
    """Joins windows into one picture; each is shown up to the middle of what it shares.

    Args:
      pictures: one for each window, uint8 (height, width, 3), all of the same size.
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
