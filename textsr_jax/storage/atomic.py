"""The one way to write a file: whole or not at all, also on a full disk or when killed.

The content goes into a partial file in the same folder, which then takes the file's place.
"""

import contextlib
import fcntl
import json
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from textsr_jax.errors import UserError

_FIX = "name a place that can be written to and has space"


def write_bytes(
    path: str | pathlib.Path, content: bytes, *, parents: bool = False, fix: str = _FIX
) -> None:
    """Writes a file whole or not at all; arguments and errors are those of `replacing`."""
    with replacing(path, parents=parents, fix=fix) as stream:
        stream.write(content)


def write_text(
    path: str | pathlib.Path, content: str, *, parents: bool = False, fix: str = _FIX
) -> None:
    """Writes a UTF-8 file as `write_bytes` does."""
    write_bytes(path, content.encode(), parents=parents, fix=fix)


def write_json(path: str | pathlib.Path, content: Any, *, fix: str = _FIX) -> None:
    """Writes a JSON file, indented by 2, as `write_bytes` does; a missing folder is made.

    Args:
      path: the file.
      content: what JSON can hold; NaN and infinity are refused.
      fix: as of `replacing`.

    Raises:
      UserError: as `replacing`.
      ValueError: a number is not finite.
    """
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    write_text(path, text, parents=True, fix=fix)


@contextlib.contextmanager
def replacing(
    path: str | pathlib.Path, *, parents: bool = False, fix: str = _FIX
) -> Iterator[BinaryIO]:
    """A binary stream whose content becomes the file `path` when the block ends without an error.

    After an error, whatever it is, the file that was there is untouched, and no partial one stays.
    Processes that write the same file do so one after the other. A new file has the mode that the
    umask gives; a symbolic link stays one.

    Args:
      path: the file.
      parents: whether its folder is made where it is missing.
      fix: what the user can do where it cannot be written; ends the message.

    Raises:
      UserError: the file cannot be written, or its disk is full.
    """
    with _one_line(path, fix), contextlib.ExitStack() as stack:
        partial = stack.enter_context(_Partial(path, parents))
        yield partial.stream
        partial.finish()
        partial.take_place()


def write_together(folder: str | pathlib.Path, contents: Mapping[str, bytes], *, fix: str) -> None:
    """Writes files that belong together. A stop never leaves a mixture with the last of them.

    All are on disk before the first takes its place. The last, by which readers open the set, is
    deleted before that and takes its place at the end.

    Args:
      folder: made where it is missing.
      contents: of each file by its name.
      fix: as of `replacing`.

    Raises:
      UserError: as `replacing`.
    """
    folder = pathlib.Path(folder)
    with _one_line(folder, fix), contextlib.ExitStack() as stack:
        partials = []
        for name, content in contents.items():
            partial = stack.enter_context(_Partial(folder / name, parents=True))
            partial.stream.write(content)
            partial.finish()
            partials.append(partial)
        partials[-1].path.unlink(missing_ok=True)
        for partial in partials:
            partial.take_place()


@contextlib.contextmanager
def _one_line(path: str | pathlib.Path, fix: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        # NumPy's `save` and Pillow's encoders say what they could not write, and not why.
        reason = error.strerror or f"a short write, as on a full disk: {error}"
        raise UserError(f"{path}: cannot write it ({reason}); {fix}") from error


class _Partial:
    """A file on its way, `.NAME.partial` beside `path`: one process at a time writes it."""

    def __init__(self, path: str | pathlib.Path, parents: bool):
        self.path = pathlib.Path(os.path.realpath(path))
        if self.path.exists() and not self.path.is_file():
            what = "a folder" if self.path.is_dir() else "no regular file"
            raise UserError(f"{path}: is {what}; name a file")
        if parents:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        # A file's name may be as long as the system allows.
        name = os.fsdecode(os.fsencode(self.path.name)[:240])
        self._place = self.path.with_name(f".{name}.partial")
        self._placed = False
        self.stream = _locked(self._place)
        self.stream.truncate()  # what a killed process left

    def finish(self) -> None:
        """Puts everything on the disk."""
        self.stream.flush()
        os.fsync(self.stream.fileno())

    def take_place(self) -> None:
        os.replace(self._place, self.path)
        self._placed = True

    def __enter__(self) -> "_Partial":
        return self

    def __exit__(self, *_: object) -> None:
        if not self._placed:
            self._place.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # of bytes that could not be flushed
            self.stream.close()


def _locked(path: pathlib.Path) -> BinaryIO:
    """A stream to the file, which is made where it is missing; waits while another one has it."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        stream = os.fdopen(handle, "r+b")
        with contextlib.suppress(OSError):  # some network file systems have no locks
            fcntl.flock(stream, fcntl.LOCK_EX)
        # The one that had it may have put it in its place, or deleted it.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), os.stat(path)):
                return stream
        stream.close()
