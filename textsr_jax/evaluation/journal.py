"""Measured results in a JSON-lines file, so that a long evaluation goes on where it was stopped."""

import hashlib
import json
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from textsr_jax.errors import UserError
from textsr_jax.evaluation.protocol import Row


class Journal:
    """Results by key, each written to disk before the next one is computed.

    Args:
      folder: where the file is; made where it is missing.
      name: what is measured. Each subject has a file of its own; a last line that was cut off is
        measured again.
      subject: JSON-able: all that results depend on beside their keys.

    Raises:
      UserError: the file cannot be read or written.
    """

    def __init__(self, folder: pathlib.Path, name: str, subject: Any):
        title = json.dumps({"subject": subject}, sort_keys=True)
        digest = hashlib.sha256(title.encode()).hexdigest()[:8]
        self.path = path = folder / f"{name}-{digest}.jsonl"
        self._known: dict[str, Any] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lines = path.read_text().splitlines() if path.exists() else []
            whole = [title]
            for line in lines[1:]:
                try:
                    entry = json.loads(line)
                    self._known[entry["key"]] = entry["result"]
                except (ValueError, KeyError, TypeError):
                    break
                whole.append(line)
            path.write_text("\n".join(whole) + "\n")
        except OSError as error:
            raise self._unwritable(error) from error

    def __contains__(self, key: str) -> bool:
        return key in self._known

    def result(self, key: str, measure: Callable[[], Any]) -> Any:
        """The result of `key`: the one on disk, or else what `measure` returns; JSON-able."""
        if key not in self._known:
            found = measure()
            line = json.dumps({"key": key, "result": found}, allow_nan=False)
            try:
                with self.path.open("a") as stream:
                    stream.write(line + "\n")
            except OSError as error:
                raise self._unwritable(error) from error
            self._known[key] = json.loads(line)["result"]
        return self._known[key]

    def row(self, key: str, measure: Callable[[], Row]) -> Row:
        """The same for a row of scores; one from disk does not hold the words that were read."""
        found = self.result(key, lambda: measure().as_json())
        return Row(found["sr"], found["ocr"], found["splits"], found["mean"], {})

    def _unwritable(self, error: OSError) -> UserError:
        return UserError(
            f"{self.path}: cannot keep results there ({error.strerror}); free some space or mend "
            "its permissions, and run the same command again"
        )


def fingerprint(tree: Any) -> str:
    """A digest of a tree's arrays and paths, in hexadecimal."""
    digest = hashlib.sha256()
    for keys, leaf in jax.tree_util.tree_leaves_with_path(tree):
        digest.update(jax.tree_util.keystr(keys).encode())
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()[:16]
