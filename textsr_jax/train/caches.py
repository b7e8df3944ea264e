"""Arrays that a training makes once and reads from files, each with its digest beside it."""

import contextlib
import hashlib
import logging
import pathlib
from collections.abc import Iterator
from typing import BinaryIO

from textsr_jax.storage import atomic

_logger = logging.getLogger(__name__)


def is_kept(path: pathlib.Path) -> bool:
    """Whether the file is there and is what was written; a warning says where it is not.

    A file of an older version has no digest beside it, and is believed.
    """
    if not path.is_file():
        return False
    try:
        expected = _digest_file(path).read_text()
    except FileNotFoundError:
        return True
    except (OSError, ValueError):
        expected = ""
    with path.open("rb") as stream:
        sound = hashlib.file_digest(stream, "sha256").hexdigest() == expected.strip()
    if not sound:
        _logger.warning("%s: is damaged; it is made again", path)
    return sound


@contextlib.contextmanager
def keeping(path: pathlib.Path, fix: str) -> Iterator[BinaryIO]:
    """A stream whose content becomes the file, as `atomic.replacing` does, and then its digest.

    Args:
      path: the file; its folder is made where it is missing.
      fix: what the user can do where it cannot be written; ends the message.
    """
    with atomic.replacing(path, parents=True, fix=fix) as stream:
        yield stream
        stream.seek(0)
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        # Before the file itself takes its place: there is none without its digest.
        atomic.write_text(_digest_file(path), f"{digest}\n", fix=fix)


def _digest_file(path: pathlib.Path) -> pathlib.Path:
    return path.with_name(f"{path.name}.sha256")
