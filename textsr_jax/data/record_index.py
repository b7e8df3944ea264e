"""What a training asks of all records at its start, in a small file beside a prepared split.

Without it, the keys and labels of all records would be read at every start.
"""

import hashlib
import io
import logging
import pathlib
from collections.abc import Iterable

import numpy as np

from textsr_jax.errors import UserError
from textsr_jax.runtime import atomic
from textsr_jax.text import ALPHABETS, Alphabet

# A row for each record: the first 8 bytes of its key's SHA-256, which order the records for
# validation, and the number of characters in its label, by alphabet. No label is longer than 65535.
_ROW = np.dtype([("hash", ">u8"), *((name, "<u2") for name in ALPHABETS)])
_LONGEST = 2**16 - 1
_PART = 4096  # rows that are put together at once

_logger = logging.getLogger(__name__)


class Index:
    """Rows that are collected one by one, 12 bytes each."""

    def __init__(self, texts: Iterable[tuple[str, str]] = ()) -> None:
        self._whole = io.BytesIO()
        self._rows: list[tuple[int, ...]] = []
        for key, label in texts:
            self.add(key, label)

    def add(self, key: str, label: str) -> None:
        """Adds a record behind the others."""
        lengths = (label_length(label, alphabet) for alphabet in ALPHABETS.values())
        self._rows.append((key_hash(key), *lengths))
        if len(self._rows) == _PART:
            self._pack()

    def rows(self) -> np.ndarray:
        """All rows: an array of the fields `hash` and the names of `text.ALPHABETS`."""
        self._pack()
        return np.frombuffer(self._whole.getbuffer(), _ROW)

    def save(self, folder: pathlib.Path, split: str) -> None:
        """Writes the index of a split; raises `UserError` where that cannot be done."""
        with atomic.replacing(_path(folder, split)) as file:
            np.save(file, self.rows())

    def _pack(self) -> None:
        if self._rows:
            self._whole.write(np.array(self._rows, _ROW).tobytes())
            self._rows.clear()


def key_hash(key: str) -> int:
    """A number from 0 to 2^64 - 1 that orders records as the SHA-256 of their keys does."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")


def label_length(label: str, alphabet: Alphabet) -> int:
    """How many characters of a label an alphabet has, 65535 at most."""
    return min(len(alphabet.normalize(label)), _LONGEST)


def rows(
    folder: pathlib.Path, split: str, count: int, texts: Iterable[tuple[str, str]]
) -> np.ndarray:
    """The rows of a prepared split, memory-mapped; see `Index.rows`.

    A set of an older version has no index. It is made once, and kept where it can be written.

    Args:
      folder: where the prepared set is.
      split: one of its splits.
      count: the number of its records.
      texts: their keys and labels, which are read only if there is no index.
    """
    found = _opened(_path(folder, split))
    if found is not None and len(found) == count:
        return found
    index = Index(texts)
    try:
        index.save(folder, split)
    except UserError as error:
        _logger.warning("%s", error)
    return index.rows()


def _opened(path: pathlib.Path) -> np.ndarray | None:
    try:
        found = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return None
    return found if found.dtype == _ROW and found.ndim == 1 else None


def _path(folder: pathlib.Path, split: str) -> pathlib.Path:
    return folder / f"{split}.index.npy"
