"""LMDBs of words, in the form of TextZoom and the benchmarks of text recognition.

Keys are such as `label-000000001`, counted from 1 or from 0; `num-samples` states their number.
"""

import array
import contextlib
import dataclasses
import errno
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from textsr_jax.data import lmdb_pages
from textsr_jax.data.lmdb_pages import FILE
from textsr_jax.errors import UserError, needs

with needs("lmdb"):
    import lmdb

_FIELDS = ("image", "image_hr", "image_lr", "label")
_KEY = re.compile(rb"(?:image|image_hr|image_lr|label)-(\d{9})")
_COUNT = "num-samples"
# So many keys are looked at in a second or two.
_SCANNED = 2**20


@dataclasses.dataclass(frozen=True)
class Samples:
    """The records of an open LMDB.

    Attributes:
      file: its file.
      expected: what the file should hold, for messages.
      transaction: reads values.
      numbers: the numbers of the records that have a label or an image, ascending. They come from
        the keys in the file, not from `num-samples`.
      complaint: how `num-samples` disagrees with `numbers`; empty where it agrees.
    """

    file: Path
    expected: str
    transaction: lmdb.Transaction
    numbers: Sequence[int]
    complaint: str

    def get(self, name: str, number: int) -> bytes | None:
        """The field `name` of record `number`, such as `label`; raises `UserError` if damaged."""
        key = f"{name}-{number:09d}"
        with _damage(self.file, key):
            value = self.transaction.get(key.encode())
            return None if value is None else bytes(value)


@contextlib.contextmanager
def open_samples(place: Path, expected: str) -> Iterator[Samples]:
    """Opens an LMDB without writing anything next to it, not even a lock file.

    Args:
      place: a folder that holds `FILE`, or the file itself.
      expected: what it should hold, for messages.

    Raises:
      UserError: it cannot be read, is damaged, or is cut short.
    """
    file = place / FILE if place.is_dir() else place
    try:
        lmdb_pages.check(file)
        environment = lmdb.open(
            str(file), subdir=False, readonly=True, lock=False, readahead=False, max_readers=1
        )
    except (lmdb.Error, OSError) as error:
        denied = os.strerror(errno.EACCES) in str(error)
        fix = "see to its permissions" if denied else expected
        raise UserError(f"{file}: is not a readable LMDB ({error}); {fix}") from error
    with environment, environment.begin() as transaction:
        with _damage(file, _COUNT):
            said = transaction.get(_COUNT.encode())
            stated = None if said is None else bytes(said)
        with _damage(file, "its keys"):
            numbers = _numbers(transaction, environment.stat()["entries"], said is not None)
        yield Samples(file, expected, transaction, numbers, _complaint(stated, numbers))


@contextlib.contextmanager
def _damage(file: Path, key: str) -> Iterator[None]:
    try:
        yield
    except lmdb.Error as error:
        raise UserError(f"{file}: is damaged at {key}; copy the file again") from error


def _numbers(transaction: lmdb.Transaction, entries: int, counted: bool) -> Sequence[int]:
    """The numbers of the records in the file, ascending.

    Args:
      transaction: reads keys.
      entries: the number of keys.
      counted: whether `num-samples` is one of them.
    """
    with transaction.cursor() as cursor:
        if entries > _SCANNED:
            spans = [span for name in _FIELDS if len(span := _span(cursor, name))]
            # Almost all large LMDBs have no gaps and no other keys; then they take no time. With as
            # many other keys as gaps, a record that is not there is met when it is read.
            if len(set(spans)) == 1 and len(spans) * len(spans[0]) + counted == entries:
                return spans[0]
        cursor.first()
        found = np.unique(np.fromiter(_scan(cursor, entries), np.int64))
    return array.array("q", found.tobytes())


def _span(cursor: lmdb.Cursor, name: str) -> range:
    """The range from the first to the last number in the keys of one field."""
    ends: list[bytes] = []
    if cursor.set_range(f"{name}-".encode()):
        ends.append(bytes(cursor.key()))
        # "." is the character after "-".
        if cursor.prev() if cursor.set_range(f"{name}.".encode()) else cursor.last():
            ends.append(bytes(cursor.key()))
    found = [match for key in ends if (match := _KEY.fullmatch(key))]
    if len(found) < 2 or not all(key.startswith(f"{name}-".encode()) for key in ends):
        return range(0)
    return range(int(found[0][1]), int(found[1][1]) + 1)


def _scan(cursor: lmdb.Cursor, entries: int) -> Iterator[int]:
    """The number in every key of a record."""
    for place, key in enumerate(cursor.iternext(values=False)):
        if place >= entries:
            raise lmdb.CorruptedError("more keys than entries")
        if found := _KEY.fullmatch(bytes(key)):
            yield int(found[1])


def _complaint(said: bytes | None, numbers: Sequence[int]) -> str:
    """How `num-samples` disagrees with the records in the file; empty where it agrees."""
    # Compared as text, since Python does not read numbers of thousands of digits.
    digits = (said or b"").strip()
    if digits.isdigit() and digits.lstrip(b"0") == str(len(numbers) or "").encode():
        return ""
    there = f"{len(numbers)} records are there"
    if len(numbers):
        there += f" (numbers {numbers[0]} to {numbers[-1]}) and are all read"
    if said is None:
        return f"has no key {_COUNT}; {there}"
    # The value may be anything, of any length.
    shown = ascii(said[:24])[2:-1] + "..." * (len(said) > 24)
    return f"its {_COUNT} is '{shown}'; {there}"
