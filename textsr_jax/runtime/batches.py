"""Batches of one size, so that one compiled function serves all of them."""

from collections.abc import Iterator

import numpy as np


def fill(rows: np.ndarray, size: int) -> np.ndarray:
    """Returns `rows`, followed by copies of its first row, `size` of them in all.

    Args:
      rows: any array of 1 to `size` rows.
      size: the rows of the result.
    """
    missing = size - len(rows)
    return np.concatenate([rows, np.repeat(rows[:1], missing, axis=0)]) if missing else rows


def batches(rows: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, int]]:
    """Yields the rows in batches of `size`, each with the number of rows that are not filling.

    Args:
      rows: an array of any shape; nothing is yielded where it has no rows.
      size: the rows of every batch. The last batch is filled as `fill` does it.
    """
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        yield fill(part, size), len(part)
