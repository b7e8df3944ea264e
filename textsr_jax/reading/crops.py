"""Crops as the networks take them: without blank sides, turned, apart, in windows; what is sharp.

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

# Blank rows are cut where they are more than this part of what is between them: crops have some.
# Their pixels vary by so small a part of what the pixels of other rows do.
ROOM, ROW_VARIANCE = 1.0, 0.03

# Space between two words: so wide, in heights, and of so small a part of the letters' variance.
GAP, GAP_VARIANCE = 0.7, 0.05

# Rows with so small a part of the greatest contrast are blank, between letters below each other; a
# piece so much lower than the others is a part of a letter, such as a dot.
BLANK_ROW, PART_OF_LETTER = 0.25, 0.4

# In heights of the crop: what is wider is read in windows of that width, which share that much
# with their neighbours at least.
WIDE, WINDOW, OVERLAP = 5.0, 4.0, 1.5


def box_means(image: np.ndarray) -> np.ndarray:
    """Means of 3x3 pixels, without those that reach over the edge: (H, W, ...), (H-2, W-2, ...)."""
    rows = image[:-2] + image[1:-1] + image[2:]
    return (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) / 9


def trimmed(image: np.ndarray) -> np.ndarray:
    """The image without blank space around it, into which letters would be read.

    Blank columns are cut to `MARGIN`. Blank rows are cut to that only where there are more of them
    than crops have.

    Args:
      image: uint8 (height, width, 3).

    Returns:
      uint8 (at most height, at most width, 3); the image itself where nothing in it stands out.
    """
    above, below = _blank_rows(image)
    inside = image.shape[0] - above - below
    if max(above, below) > ROOM * inside:
        margin = math.ceil(MARGIN * inside)
        image = image[max(0, above - margin) : image.shape[0] - max(0, below - margin)]
    height, width = image.shape[:2]
    margin = math.ceil(MARGIN * height)
    left, right = (max(0, _blank(turned) - margin) for turned in (image, image[:, ::-1]))
    return image[:, left : width - right]


def _blank_rows(image: np.ndarray) -> tuple[int, int]:
    """How many rows are above and below all ink of an image, uint8 (height, width, 3)."""
    height, width = image.shape[:2]
    rows, columns = min(height, 4 * HR_SIZE[1]), min(width, 2 * HR_SIZE[0])
    third = height // 3
    if min(rows, columns) < 3 or not third:
        return 0, 0
    # Where rows are cut, at least a third of all is blank. Few pixels tell that of most crops.
    few = np.ascontiguousarray(image[:, :: max(1, width // 32)], np.float32).var(axis=1).max(axis=1)
    if min(few[:third].max(), few[-third:].max()) > 0.3 * few.max():
        return 0, 0
    small = resize(image, (columns, rows)).astype(np.float32)
    # Where there is much blank space, the middle value of a column is the ground's.
    means = box_means(small - np.median(small, axis=0))
    variance = means.var(axis=1).max(axis=-1)
    ink = np.flatnonzero(variance >= ROW_VARIANCE * variance.max())
    scale = height / rows
    # Means of three rows are of the middle one.
    above, below = round(scale * ink[0]), round(scale * (len(variance) - 1 - ink[-1]))
    # Upright strokes that fill most of the rows are the middle value themselves: the ground would
    # pass for ink.
    outside = np.concatenate([few[:above], few[height - below :]])
    inside = few[above : height - below]
    if len(outside) and (not len(inside) or outside.mean() > inside.mean()):
        return 0, 0
    return above, below


def _blank(image: np.ndarray) -> int:
    """How many columns from the left are of the edge's colour; 0 where all of them are."""
    edge = image[:, 0].mean(axis=0, dtype=np.float32)
    least, most = np.ceil(edge - BLANK).clip(0, 255), np.floor(edge + BLANK).clip(0, 255)
    # In the most different pixel of each column.
    differs = ((image < least.astype(np.uint8)) | (image > most.astype(np.uint8))).any(axis=(0, 2))
    return int(differs.argmax())


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


def apart(image: np.ndarray) -> list[np.ndarray]:
    """The words of a line, cut at wide space between, before and behind them; or the image alone.

    Space is as wide as `GAP` and has nearly no variance along its rows, as paint, noise, stripes.

    Args:
      image: uint8 (height, width, 3).

    Returns:
      uint8 (height, width of the word and up to `MARGIN` on both sides, 3), from left to right.
    """
    height, width = image.shape[:2]
    rows = min(height, HR_SIZE[1])
    # Of a line as high as the recogniser sees it.
    small = resize(image, (max(1, round(width * rows / height)), rows)).astype(np.float32)
    span = max(2, round(GAP * rows))
    if small.shape[0] < 3 or small.shape[1] < 2 * span:
        return [image]
    means = box_means(small - small.mean(axis=(0, 1)))
    first, second = (_running_mean(values, span) for values in (means, means * means))
    variance = (second - first * first).mean(axis=0).max(axis=-1)
    if variance.max() < 1:
        return [image]
    # However much of the line is blank.
    written = np.sort(variance[variance >= GAP_VARIANCE * variance.max()])
    blank = variance < GAP_VARIANCE * written[9 * len(written) // 10]
    words, start = [], 0.0
    scale, margin = height / rows, MARGIN * height
    for left, right in _runs(blank):
        # The span from each of these columns on is blank, and the box one pixel beyond.
        left, right = scale * left, scale * (right - 1 + span + 2)
        if left > margin and left - start > margin:
            words.append((start, left + margin))
        start = right - margin
    if width - start > 2 * margin:
        words.append((start, width))
    return [image[:, max(0, round(left)) : round(right)] for left, right in words] or [image]


def _running_mean(values: np.ndarray, span: int) -> np.ndarray:
    """Means of `span` neighbours along axis 1."""
    sums = np.cumsum(values, axis=1, dtype=np.float64)
    sums[:, span:] -= sums[:, :-span].copy()
    return sums[:, span - 1 :] / span


def _runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """Start and end of each run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def unstacked(image: np.ndarray) -> np.ndarray | None:
    """Letters that stand below each other, side by side; None where there are not three or more.

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
    room = math.ceil(MARGIN * high)
    cells = []
    for top, bottom in letters:
        cell = image[max(0, top - 1) : bottom + 1]
        left, right = (_blank(turned) for turned in (cell, cell[:, ::-1]))
        cell = cell[:, max(0, left - room // 2) : cell.shape[1] - max(0, right - room // 2)]
        # They stand on one line.
        above = high + 2 + room - cell.shape[0]
        padded = np.full((high + 2 + 2 * room, cell.shape[1], 3), ground)
        padded[above : above + cell.shape[0]] = cell
        cells.append(padded)
    return np.concatenate(cells, axis=1)


def _whole_letters(runs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Runs of rows, those that are too low for a letter joined to the nearest one."""
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
    """How many `windows` the image has."""
    aspect = image.shape[1] / image.shape[0]
    return 1 if aspect <= wide else math.ceil((aspect - overlap) / (size - overlap))


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


def side_by_side(
    pictures: Sequence[np.ndarray] | np.ndarray, places: Sequence[Window]
) -> np.ndarray:
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
