"""How sure each letter of a word is: the share of beams that have the same letter at its place.

Which letters of two texts stand at the same place is told by an alignment of least edits.
"""

from collections.abc import Sequence

import numpy as np

# A beam with a smaller share of a word's probability counts as different in every letter.
_LEAST_SHARE = 1e-4


def matched(text: str, other: str) -> np.ndarray:
    """Which letters of a text another one has too, at their places.

    The texts are aligned with as few insertions, deletions and substitutions as possible
    (Levenshtein). Of several such alignments one is chosen, always the same.

    Returns:
      bool (len(text),): whether the letter is aligned with an equal one.
    """
    found = np.zeros(len(text), bool)
    start, end, other_end = 0, len(text), len(other)
    while start < min(end, other_end) and text[start] == other[start]:
        start += 1
    while start < min(end, other_end) and text[end - 1] == other[other_end - 1]:
        end, other_end = end - 1, other_end - 1
    found[:start] = found[end:] = True
    text, other = text[start:end], other[start:other_end]
    # Equal ends are aligned in some alignment of least edits. Mostly nothing is left between them.
    if not text or not other:
        return found
    edits = _edits(text, other)
    row, column = len(text), len(other)
    while row and column:
        here = edits[row][column]
        equal = text[row - 1] == other[column - 1]
        if here == edits[row - 1][column - 1] + (not equal):
            row, column = row - 1, column - 1
            found[start + row] = equal
        elif here == edits[row - 1][column] + 1:
            row -= 1
        else:
            column -= 1
    return found


def log_shares(text: str, others: Sequence[str], log_share: np.ndarray) -> np.ndarray:
    """The logarithm of the share of each letter of a text among beams.

    Args:
      text: one of `others`.
      others: the texts of the beams.
      log_share: float (beams,), the logarithm of each beam's share; the shares sum to 1.

    Returns:
      float64 (len(text),), at most 0, and at least the logarithm of the share of `text` itself.
    """
    share = np.exp(np.asarray(log_share, np.float64))
    total = np.zeros(len(text))
    for other, part in zip(others, share, strict=True):
        if other == text:
            total += part
        elif part >= _LEAST_SHARE:
            total += part * matched(text, other)
    tiny = np.finfo(float).tiny
    # Rounding may bring the sum above 1.
    return np.log(np.clip(total, tiny, 1.0))


def _edits(text: str, other: str) -> list[list[int]]:
    """How many edits make the first i letters of `text` the first j of `other`, at [i][j]."""
    edits = [list(range(len(other) + 1))]
    for row, letter in enumerate(text, start=1):
        above, line = edits[-1], [row]
        for column, wanted in enumerate(other, start=1):
            replaced = above[column - 1] + (letter != wanted)
            line.append(min(replaced, above[column] + 1, line[-1] + 1))
        edits.append(line)
    return edits
