"""Results of measurements in a JSON-lines file: an evaluation goes on where it was stopped."""

import errno
import hashlib
import json
import os
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from textsr_jax.errors import UserError
from textsr_jax.evaluation.protocol import Row
from textsr_jax.runtime import atomic, paths
from textsr_jax.runtime.atomic import JSON

_FIX = "free some space or see to its permissions, and run the same command again"


class Journal:
    """Results by key, each written to disk before the next one is measured.

    A last line that was cut off is measured again.

    Args:
      folder: the folder of the file; it is made where it is missing.
      name: what is measured; the file's name begins with it.
      subject: everything that results depend on besides their keys, as JSON can hold it. Each
        subject has its own file.

    Raises:
      UserError: the file cannot be read or written.
    """

    def __init__(self, folder: pathlib.Path, name: str, subject: object):
        title = json.dumps({"subject": subject}, sort_keys=True)
        digest = hashlib.sha256(title.encode()).hexdigest()[:8]
        self.path = path = folder / f"{name}-{digest}.jsonl"
        self._known: dict[str, Any] = {}
        try:
            text = path.read_bytes().decode(errors="replace") if path.exists() else ""
            whole = [title]
            first, *lines = text.splitlines() or [""]
            for line in lines if first == title else []:
                try:
                    entry = json.loads(line)
                    self._known[entry["key"]] = entry["result"]
                except (ValueError, KeyError, TypeError):
                    break
                whole.append(line)
        except OSError as error:
            raise self._unwritable(error) from error
        sound = "\n".join(whole) + "\n"
        if text != sound:
            atomic.write_text(path, sound, parents=True, fix=_FIX)

    def __contains__(self, key: str) -> bool:
        return key in self._known

    def result(self, key: str, measure: Callable[[], JSON]) -> Any:
        """Returns the result of `key` from the disk, or measures it and writes it there.

        Args:
          key: the name of the result.
          measure: returns the result, which JSON can hold.

        Raises:
          UserError: the file cannot be written.
        """
        if key not in self._known:
            found = measure()
            line = json.dumps({"key": key, "result": found}, allow_nan=False)
            try:
                self._append(line.encode() + b"\n")
            except OSError as error:
                raise self._unwritable(error) from error
            self._known[key] = json.loads(line)["result"]
        return self._known[key]

    def row(self, key: str, measure: Callable[[], Row]) -> Row:
        """Returns a row of scores as `result` does; its `words` are not kept."""
        found = self.result(key, lambda: measure().as_json())
        return Row(found["sr"], found["ocr"], found["splits"], found["mean"], {})

    def _append(self, line: bytes) -> None:
        """Adds a whole line or nothing; only a killed process may leave a part of a line."""
        if paths.is_url(self.path):
            # An object takes no more lines: it is written anew.
            atomic.write_bytes(self.path, self.path.read_bytes() + line, fix=_FIX)
            return
        with self.path.open("ab", buffering=0) as stream:
            size = stream.seek(0, os.SEEK_END)
            if stream.write(line) < len(line):  # a full disk takes a part
                stream.truncate(size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(stream.fileno())

    def _unwritable(self, error: OSError) -> UserError:
        return UserError(f"{self.path}: cannot write it ({error.strerror}); {_FIX}")


def fingerprint(tree: object) -> str:
    """Returns a digest of a tree's arrays and their paths: 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for keys, leaf in jax.tree_util.tree_leaves_with_path(tree):
        digest.update(jax.tree_util.keystr(keys).encode())
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()[:16]
