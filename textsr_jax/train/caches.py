"""Arrays that a training makes once and reads from files; the workdir keeps their digests."""

import contextlib
import hashlib
import logging
import pathlib
from collections.abc import Iterator
from typing import BinaryIO

from textsr_jax.storage import atomic

_logger = logging.getLogger(__name__)


def is_kept(path: pathlib.Path, made_from: str) -> bool:
    """Whether the file is there, is what was written, and was made from the same models and words.

    A warning says where it is not. A file of an older version has no digest, and is believed.

    Args:
      path: the file.
      made_from: a digest of what its content follows from.
    """
    if not path.is_file():
        return False
    try:
        expected, *source = _digest_file(path).read_text().split()
    except FileNotFoundError:
        return True
    except (OSError, ValueError):
        expected, source = "", []
    if source not in ([], [made_from]):
        _logger.warning("%s: was made from another model or other words; it is made again", path)
        return False
    with path.open("rb") as stream:
        sound = hashlib.file_digest(stream, "sha256").hexdigest() == expected
    if not sound:
        _logger.warning("%s: is damaged; it is made again", path)
    return sound


@contextlib.contextmanager
def keeping(path: pathlib.Path, made_from: str, fix: str) -> Iterator[BinaryIO]:
    """A stream whose content becomes the file, as `atomic.replacing` does, and then its digest.

    Args:
      path: the file; its folder is made where it is missing.
      made_from: as `is_kept` takes it.
      fix: what the user can do where it cannot be written; ends the message.
    """
    with atomic.replacing(path, parents=True, fix=fix) as stream:
        yield stream
        stream.seek(0)
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        # Before the file itself takes its place: there is none without its digest.
        atomic.write_text(_digest_file(path), f"{digest} {made_from}\n", parents=True, fix=fix)


def _digest_file(path: pathlib.Path) -> pathlib.Path:
    # `path` is WORKDIR/STAGE/NAME.
    return path.parents[1] / ".digests" / f"{path.parent.name}_{path.name}.sha256"
