"""Where the words of a straightened line may end, by a small network that has seen drawn lines.

A gap may stand between words or between letters. Where the network is not sure,
`photos.page_reading` reads the line both ways and chooses.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np

from textsr_jax import quantization
from textsr_jax.images import resize
from textsr_jax.models import Network, Variables
from textsr_jax.models.word_columns import ROWS, STEP, WordColumns
from textsr_jax.runtime.batches import batches
from textsr_jax.runtime.concurrency import once

# Log odds, (n, 128), that columns of windows, float32 (n, 32, 256), lie inside words.
Compute = Callable[[np.ndarray], np.ndarray]

# The network's variables, which `textsr_jax.experiments.train_gaps` trains.
WEIGHTS = pathlib.Path(__file__).parents[1] / "weights" / "word_columns.safetensors"

# A line is looked at in windows of so many columns. Each shares so many with the next one, and half
# of these count.
WINDOW, _SHARED = 256, 128
# So many windows are computed at once.
_BATCH = 4

# The log odds from which on a gap is looked at, and from which on it ends a word for sure.
_POSSIBLE, _SURE = -2.5, 4.0
# So few columns of the output, an eighth of a height, at an end of a line are no word.
_SLIVER = 2
# The columns of a gap have log odds of at least this, or of so much less than its best column.
_INSIDE, _BELOW = 0.0, 1.0
# Colours that vary by less than this many levels are one colour.
_LEAST_DEVIATION = 1.0
# The most gaps of one stretch that are in doubt; the likeliest are taken.
MOST_DOUBTFUL = 4


@dataclasses.dataclass(frozen=True)
class Gap:
    """Space in a line that may end a word.

    Attributes:
      left, right: where it is, as parts of the line's width.
      log_odds: that it ends a word.
    """

    left: float
    right: float
    log_odds: float

    @property
    def middle(self) -> float:
        """Its middle, as a part of the line's width."""
        return (self.left + self.right) / 2

    @property
    def always(self) -> bool:
        """Whether the gap ends a word for sure."""
        return self.log_odds >= _SURE


@dataclasses.dataclass(frozen=True)
class Spaces:
    """The spaces in a line.

    Attributes:
      gaps: those that may end words, from left to right.
      start, end: where the first word begins and the last one ends, as parts of the line's width.
    """

    gaps: tuple[Gap, ...]
    start: float
    end: float


def spaces(lines: Sequence[np.ndarray], compute: Compute | None = None) -> list[Spaces]:
    """Returns where the words of lines may begin and end.

    Args:
      lines: uint8 (height, width, 3) each, upright.
      compute: of `compiled`; None for the shipped network.

    Returns:
      The spaces of each line; one without words has no gaps and goes from 0 to 1.
    """
    odds = word_odds([levels(line) for line in lines], compute or shipped())
    return [_spaces(one) for one in odds]


def levels(line: np.ndarray) -> np.ndarray:
    """Returns a line as the network sees it, float32 (32, columns).

    The colours are projected to the direction in which they vary most, because ink and ground may
    be equally light. The mean is 0 and the deviation 1; a line of one colour has zeros.

    Args:
      line: uint8 (height, width, 3).
    """
    height, width = line.shape[:2]
    small = resize(line, (max(1, round(width * ROWS / height)), ROWS)).astype(np.float32)
    colours = small.reshape(-1, 3) - small.mean(axis=(0, 1))
    # The eigenvector of the greatest eigenvalue.
    values, vectors = np.linalg.eigh(colours.T @ colours / len(colours))
    deviation = float(np.sqrt(max(values[-1], 0.0)))
    if deviation < _LEAST_DEVIATION:
        return np.zeros(small.shape[:2], np.float32)
    return (colours @ vectors[:, -1] / deviation).reshape(small.shape[:2])


def word_odds(lines: Sequence[np.ndarray], compute: Compute) -> list[np.ndarray]:
    """Returns the log odds that columns of lines lie inside words.

    Args:
      lines: of `levels`, (32, columns) each.
      compute: of `compiled`.

    Returns:
      For each line float32 (columns / 2, rounded up,).
    """
    windows = [list(_windows(line)) for line in lines]
    if not windows:
        return []
    stacked = np.stack([window for some in windows for window in some])
    odds = np.concatenate([compute(part)[:count] for part, count in batches(stacked, _BATCH)])
    found, done = [], 0
    for line, some in zip(lines, windows, strict=True):
        whole = np.empty((_SHARED + (WINDOW - _SHARED) * len(some)) // STEP, np.float32)
        for number in range(len(some)):
            start, skipped = number * (WINDOW - _SHARED) // STEP, _SHARED // 2 // STEP
            skipped = skipped if number else 0
            whole[start + skipped : start + WINDOW // STEP] = odds[done + number, skipped:]
        done += len(some)
        found.append(whole[: -(-line.shape[1] // STEP)])
    return found


@once
def shipped() -> Compute:
    """Returns the network with the shipped variables, for windows (4, 32, 256); loaded once."""
    return compiled(quantization.dequantize(quantization.load(WEIGHTS)))


def network() -> Network:
    """Returns the network as pure functions of its variables."""
    return Network(lambda rngs: WordColumns(rngs=rngs))


def compiled(variables: Variables) -> Compute:
    """Returns the network with these variables, for windows (n, 32, 256)."""
    function = jax.jit(network())
    return lambda windows: np.asarray(function(variables, windows))


def padded(line: np.ndarray, columns: int) -> np.ndarray:
    """Returns a line, (32, n), with its last column repeated up to so many columns."""
    return np.pad(line, ((0, 0), (0, columns - line.shape[1])), mode="edge")


def _windows(line: np.ndarray) -> Iterator[np.ndarray]:
    step = WINDOW - _SHARED
    count = 1 + max(0, -(-(line.shape[1] - WINDOW) // step))
    whole = padded(line, WINDOW + (count - 1) * step)
    for start in range(0, count * step, step):
        yield whole[:, start : start + WINDOW]


def _spaces(odds: np.ndarray) -> Spaces:
    """The spaces of a line, of the log odds that its columns lie inside words."""
    inside = np.flatnonzero(odds > 0)
    if not len(inside):
        return Spaces((), 0.0, 1.0)
    first, last = int(inside[0]), int(inside[-1]) + 1
    blank = -odds[first:last]
    found = []
    for left, right in _runs(blank > _POSSIBLE):
        if left <= _SLIVER or right >= len(blank) - _SLIVER:
            continue
        best = float(blank[left:right].max())
        peak = left + int(blank[left:right].argmax())
        wide = blank[left:right] >= min(_INSIDE, best - _BELOW)
        # The part around the best column.
        (around,) = [run for run in _runs(wide) if run[0] <= peak - left < run[1]]
        start, end = ((first + left + place) / len(odds) for place in around)
        found.append(Gap(start, end, best))
    return Spaces(tuple(found), first / len(odds), last / len(odds))


def _runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """Returns start and end of each run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
