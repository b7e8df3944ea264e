"""The only way to write files: whole or not at all, even if the disk is full or the process killed.

The content goes into a partial file in the same folder, which then replaces the file. An object of
a store is written from a temporary file at once.
"""

import contextlib
import fcntl
import glob
import json
import os
import pathlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import BinaryIO, cast

from textsr_jax.errors import UserError
from textsr_jax.runtime import paths

# What JSON can hold; it writes numbers that are keys as text.
JSON = (
    Mapping[str, "JSON"] | Mapping[int, "JSON"] | Sequence["JSON"] | str | int | float | bool | None
)

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


def write_json(path: str | pathlib.Path, content: JSON, *, fix: str = _FIX) -> None:
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
    """Yields a binary stream; its content becomes the file `path` if the block raises no error.

    After any error, an existing file is untouched and the partial file is deleted. Processes that
    write the same file wait for each other. A new file gets the mode that the umask gives. A
    symbolic link stays one, and its target is replaced.

    Args:
      path: the file, or an object, which may be read at any time and has no folder.
      parents: whether to make its folder if it is missing.
      fix: what the user can do if the file cannot be written; ends the message.

    Raises:
      UserError: the file cannot be written, or its disk is full.
    """
    with _one_line(path, fix), contextlib.ExitStack() as stack:
        if paths.is_url(path):
            content = stack.enter_context(tempfile.NamedTemporaryFile())
            yield cast(BinaryIO, content)
            content.flush()
            paths.upload(content.name, paths.named(path))
            return
        partial = stack.enter_context(_Partial(path, parents))
        yield partial.stream
        partial.finish()
        partial.take_place()


@contextlib.contextmanager
def growing(path: str | pathlib.Path, mark: str, *, fix: str = _FIX) -> Iterator[BinaryIO]:
    """As `replacing`, but a block that ends by an error leaves its partial file to the next one.

    Args:
      path: the file; its folder is made if it is missing. An object is begun anew each time.
      mark: tells what the content is made from. The stream holds what a block with the same mark
        left, from its start; what others left is deleted.
      fix: as of `replacing`.

    Raises:
      UserError: as `replacing`.
    """
    with _one_line(path, fix), contextlib.ExitStack() as stack:
        if paths.is_url(path):
            yield stack.enter_context(replacing(path, fix=fix))
            return
        partial = stack.enter_context(_Partial(path, parents=True, mark=mark))
        yield partial.stream
        partial.finish()
        partial.take_place()


def write_together(folder: str | pathlib.Path, contents: Mapping[str, bytes], *, fix: str) -> None:
    """Writes files that belong together, so that a stop never leaves a mixture of old and new ones.

    Readers open the set by its last file. All contents are written before the first file is
    replaced. The old last file is deleted before that, and the new one takes its place at the end.

    Args:
      folder: made if it is missing.
      contents: the content of each file by its name.
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
        # NumPy's `save` and Pillow's encoders say what they could not write, but not why.
        reason = error.strerror or f"a short write, as on a full disk: {error}"
        raise UserError(f"{path}: cannot write it ({reason}); {fix}") from error


class _Partial:
    """The partial file `.NAME.partial` beside `path`; one process at a time writes it.

    With a mark it is `.NAME.MARK.partial`, and is kept until it takes the place of `path`.
    """

    def __init__(self, path: str | pathlib.Path, parents: bool, mark: str = ""):
        self.path = pathlib.Path(os.path.realpath(path))
        if self.path.exists() and not self.path.is_file():
            what = "a folder" if self.path.is_dir() else "no regular file"
            raise UserError(f"{path}: is {what}; name a file")
        if parents:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        # A file's name may be as long as the system allows: leave space for the rest.
        name = os.fsdecode(os.fsencode(self.path.name)[:240])
        self._kept = bool(mark)
        self._place = self.path.with_name(f".{name}.{mark}.partial" if mark else f".{name}.partial")
        if mark:
            for other in self.path.parent.glob(f".{glob.escape(name)}.*.partial"):
                if other != self._place:
                    other.unlink(missing_ok=True)
        self._placed = False
        self.stream = _locked(self._place)
        if not mark:
            self.stream.truncate()  # a killed process may have left content

    def finish(self) -> None:
        """Writes everything to the disk."""
        self.stream.flush()
        os.fsync(self.stream.fileno())

    def take_place(self) -> None:
        """Replaces the file."""
        os.replace(self._place, self.path)
        self._placed = True

    def __enter__(self) -> "_Partial":
        return self

    def __exit__(self, *_: object) -> None:
        if not self._placed and not self._kept:
            self._place.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # of bytes that could not be flushed
            self.stream.close()


def _locked(path: pathlib.Path) -> BinaryIO:
    """Opens the file, makes it if it is missing, and waits until no other process has it."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        stream = os.fdopen(handle, "r+b")
        with contextlib.suppress(OSError):  # some network file systems have no locks
            fcntl.flock(stream, fcntl.LOCK_EX)
        # The process that had it may have renamed or deleted it.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), os.stat(path)):
                return stream
        stream.close()
