"""Files and folders on disks and in object stores, named by a path or a URL.

PyArrow's own file systems open them (s3, gs, hdfs, abfss, ...); fsspec opens those of other URLs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fnmatch
import functools
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator
from typing import BinaryIO, cast

from textsr_jax.errors import UserError, needs
from textsr_jax.runtime import atomic, paths

with needs("bulk"):
    import fsspec
    import pyarrow
    from pyarrow import fs

_PATTERN = frozenset("*?[")


@dataclasses.dataclass(frozen=True)
class Place:
    """A file, or a folder and what is below it. Files below it go by their paths in it, with `/`.

    Attributes:
      name: an absolute path or a URL, for messages and results.
      files: the file system.
      path: in the file system.
    """

    name: str
    files: fs.FileSystem = dataclasses.field(compare=False)
    path: str

    @property
    def local(self) -> pathlib.Path | None:
        """The path on a disk of this machine; None for an object store."""
        return pathlib.Path(self.path) if isinstance(self.files, fs.LocalFileSystem) else None

    def full_name(self, file: str) -> str:
        """Returns the name of a file below this folder; of "" it is the name of this place."""
        return f"{self.name}/{file}" if file else self.name

    def full_path(self, file: str) -> str:
        """Returns the path of a file below this folder in the file system."""
        return f"{self.path}/{file}" if file else self.path

    def folder_of(self, file: str) -> Place:
        """Returns the folder that holds a file below this folder."""
        name = self.full_name(file).rpartition("/")[0]
        return Place(name, self.files, self.full_path(file).rpartition("/")[0])

    def is_there(self, file: str = "") -> bool:
        """Whether a file or folder exists."""
        return self._type(file) != fs.FileType.NotFound

    def is_folder(self) -> bool:
        """Whether this is a folder."""
        return self._type("") == fs.FileType.Directory

    def walk(self, folder: str = "") -> Iterator[str]:
        """Yields the files below this folder in the order of their names, without hidden ones."""
        with self._one_line(folder, "list"):
            found = self.files.get_file_info(fs.FileSelector(self.full_path(folder)))
        for entry in sorted(found, key=lambda entry: entry.base_name):
            inner = f"{folder}/{entry.base_name}" if folder else entry.base_name
            if entry.base_name.startswith("."):
                continue
            if entry.type == fs.FileType.Directory:
                yield from self.walk(inner)
            elif entry.type == fs.FileType.File:
                yield inner

    def open(self, file: str = "") -> pyarrow.NativeFile:
        """Opens a file for reading bytes at any position; raises `UserError` where it cannot."""
        with self._one_line(file, "open"):
            return self.files.open_input_file(self.full_path(file))

    def read(self, file: str = "") -> bytes:
        """Returns the content of a file; raises `UserError` where it cannot be read."""
        with self._one_line(file, "read"), self.open(file) as stream:
            return stream.read()

    @contextlib.contextmanager
    def replacing(self, file: str) -> Iterator[BinaryIO]:
        """Yields a stream whose content becomes a file, whole or not at all; makes the folder.

        On a disk it is written beside the file and takes its place. An object store shows an object
        once it is complete. It would complete a broken one too, so that the content is written to a
        file of this machine first.

        Raises:
          UserError: the file cannot be written.
        """
        if self.local is not None:
            with atomic.replacing(self.full_path(file), parents=True) as stream:
                yield stream
            return
        with tempfile.TemporaryFile() as content:
            yield cast(BinaryIO, content)
            content.seek(0)
            with self._one_line(file, "write"):
                self.files.create_dir(os.path.dirname(self.full_path(file)), recursive=True)
                try:
                    with self.files.open_output_stream(self.full_path(file)) as stream:
                        shutil.copyfileobj(content, stream, 1 << 20)
                except BaseException:
                    with contextlib.suppress(Exception):
                        self.files.delete_file(self.full_path(file))
                    raise

    def _type(self, file: str) -> fs.FileType:
        with self._one_line(file, "look up"):
            return self.files.get_file_info(self.full_path(file)).type

    @contextlib.contextmanager
    def _one_line(self, file: str, verb: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise UserError(f"{self.full_name(file)}: no such file or folder") from error
        except UserError:
            raise
        except Exception as error:  # each store's package raises its own
            raise UserError(
                f"{self.full_name(file)}: cannot {verb} it ({paths.reason(error)}); see to the "
                "name and to its permissions, and run the same command again"
            ) from error


def shown_name(name: str) -> str:
    """Returns an absolute path, or a URL without its query and without a password in it."""
    if "://" not in name:
        return os.path.abspath(os.path.expanduser(name))
    scheme, _, rest = name.partition("?")[0].rstrip("/").partition("://")
    bucket, slash, path = rest.partition("/")
    return f"{scheme}://{bucket.rpartition('@')[2]}{slash}{path}"


@functools.lru_cache(maxsize=64)
def find(name: str) -> Place:
    """Returns a place by its name; it need not exist.

    Args:
      name: a path, `~` allowed, or a URL such as `s3://bucket/words`. A URL's query, such as
        `?region=us-east-1`, says how its file system is opened and is no part of the name.

    Raises:
      UserError: nothing opens such a URL.
    """
    if "://" not in name:
        path = shown_name(name)
        return Place(path, fs.LocalFileSystem(), path)
    shown = shown_name(name)
    try:
        files, path = fs.FileSystem.from_uri(name)
        return Place(shown, files, path.rstrip("/"))
    except (pyarrow.ArrowInvalid, NotImplementedError):
        pass  # a scheme that PyArrow does not know
    except OSError as error:
        raise UserError(f"{shown}: cannot open it ({error}); see to the name") from error
    try:
        other, path = fsspec.core.url_to_fs(name)
    except (ValueError, ImportError) as error:
        raise UserError(f"{shown}: no file system for it ({error}); name a path or URL") from error
    return Place(shown, fs.PyFileSystem(fs.FSSpecHandler(other)), path.rstrip("/"))


def is_pattern(name: str) -> bool:
    """Whether a name is a pattern; the name of a file that exists on a disk is none."""
    if "://" in name:
        return bool(_PATTERN & set(name.partition("?")[0]))
    return bool(_PATTERN & set(name)) and not os.path.lexists(name)


def base(pattern: str) -> Place:
    """Returns the folder before the first sign of a pattern such as `s3://bucket/words-*.tar`."""
    folder, _, query = _split(pattern)
    return find((folder or ".") + (query and f"?{query}"))


def matching(pattern: str) -> list[str]:
    """Returns the files below `base(pattern)` that match it.

    `*` and `?` match `/` too. In a URL `?` begins the query, as `find` takes it.

    Raises:
      UserError: the folder cannot be listed, or no file matches.
    """
    _, wanted, _ = _split(pattern)
    files = [file for file in base(pattern).walk() if fnmatch.fnmatchcase(file, wanted)]
    if not files:
        raise UserError(f"{pattern}: matches no file's name; name files or a folder")
    return files


def _split(pattern: str) -> tuple[str, str, str]:
    """The folder of a pattern, the pattern below it, and the query of a URL."""
    name, query = pattern, ""
    if "://" in pattern:
        name, _, query = pattern.partition("?")
    first = min(name.index(sign) for sign in _PATTERN if sign in name)
    folder, slash, _ = name[:first].rpartition("/")
    return folder or slash, name[len(folder + slash) :], query


def read_named(name: str, beside: Place) -> bytes:
    """Returns the content of a file that a table names.

    Args:
      name: a path, a URL, or a path below the folder `beside`.
      beside: the folder of the table.

    Raises:
      UserError: the file cannot be read.
    """
    if "://" in name:
        scheme, _, rest = name.partition("://")
        bucket, _, file = rest.partition("/")
        return find(f"{scheme}://{bucket}").read(file)
    if os.path.isabs(name) and beside.local is not None:
        return find(os.path.dirname(name)).read(os.path.basename(name))
    return beside.read(name)
