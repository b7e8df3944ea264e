"""LMDB folders of words, as TextZoom and the benchmarks of text recognition have them.

Keys are such as `label-000000001`, counted from 1; `num-samples` says how many there are.
"""

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import lmdb

from textsr_jax.errors import UserError

FILE = "data.mdb"


@dataclasses.dataclass(frozen=True)
class Samples:
    """The records of an open LMDB.

    Attributes:
      file: its file.
      expected: what should be in it, for messages.
      transaction: what is read with.
    """

    file: Path
    expected: str
    transaction: lmdb.Transaction

    def __len__(self) -> int:
        """How many records there are; raises `UserError` where that is not said."""
        count = self._get("num-samples")
        if count is None or not count.isdigit():
            raise UserError(f"{self.file}: has no count under the key num-samples; {self.expected}")
        return int(count)

    def get(self, name: str, number: int) -> bytes | None:
        """What record `number`, from 1, has as `name`, such as `label`; raises `UserError`."""
        return self._get(f"{name}-{number:09d}")

    def _get(self, key: str) -> bytes | None:
        try:
            return self.transaction.get(key.encode())
        except lmdb.Error as error:
            raise UserError(f"{self.file}: is damaged at {key}; copy the file again") from error


@contextlib.contextmanager
def open_samples(folder: Path, expected: str) -> Iterator[Samples]:
    """Opens an LMDB without writing anything, not even a lock file, next to it.

    Args:
      folder: that holds `FILE`.
      expected: what should be in it, for messages.

    Raises:
      UserError: it cannot be read, or is cut short.
    """
    file = folder / FILE
    try:
        environment = lmdb.open(
            str(folder), readonly=True, lock=False, readahead=False, max_readers=1
        )
    except lmdb.Error as error:
        raise UserError(f"{file}: is not a readable LMDB ({error}); {expected}") from error
    with environment:
        # A read behind the end of the file would kill the process.
        pages = environment.info()["last_pgno"] + 1
        if pages * environment.stat()["psize"] > file.stat().st_size:
            raise UserError(f"{file}: is cut short; copy the file again")
        with environment.begin() as transaction:
            yield Samples(file, expected, transaction)
