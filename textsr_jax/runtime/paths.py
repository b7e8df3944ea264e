"""Paths that users name: on a disk, or by a URL in an object store (gs://, s3://).

A store has objects, each of which is there once it is whole. It has no folders and no locks.
"""

import contextlib
import errno
import functools
import logging
import os
import pathlib
import tempfile
from collections.abc import Iterator, Sequence
from typing import IO, Any, cast

from textsr_jax.errors import MissingPackage, StoreError, UserError, installing, needs

_SCHEMES = ("gs", "s3")
# Errors of the disk that copies lie on, not of a store.
_FULL = (errno.ENOSPC, errno.EDQUOT)


def named(name: str | os.PathLike[str]) -> pathlib.Path:
    """Returns the path that a user named; it need not exist.

    A path of an object store is an `etils.epath.Path`, which has the methods of `pathlib.Path` that
    this package uses. Only `absolute` takes its full name, and only `upload` writes it. Its methods
    raise `FileNotFoundError` for what is not there, and `StoreError` if the store fails.

    Args:
      name: a path of a disk, `gs://BUCKET/...` or `s3://BUCKET/...`.

    Raises:
      UserError: the URL is of another kind or names no bucket, or its store cannot be opened.
      MissingPackage: the package that opens its store is not installed.
    """
    text = os.fspath(name)
    scheme, sign, rest = text.partition("://")
    # With one slash, as pathlib leaves of two, it is no folder either.
    if not sign and not text.startswith(tuple(f"{scheme}:/" for scheme in _SCHEMES)):
        return pathlib.Path(text)
    if scheme not in _SCHEMES or not rest.partition("/")[0]:
        raise UserError(
            f"{text}: no such place; name a folder, gs://BUCKET/FOLDER or s3://BUCKET/FOLDER"
        )
    _check_store(text)
    return cast(pathlib.Path, _store_path()(text))


def is_url(path: str | os.PathLike[str]) -> bool:
    """Whether a path is one of an object store."""
    return os.fspath(path).startswith(tuple(f"{scheme}://" for scheme in _SCHEMES))


def absolute(path: pathlib.Path) -> str:
    """Returns the full name of a path: a URL is one."""
    return os.fspath(path) if is_url(path) else str(path.absolute())


def upload(file: str | os.PathLike[str], path: pathlib.Path) -> None:
    """Makes a file of a disk the object at `path`, whole or not at all.

    Raises:
      StoreError: it cannot be written.
    """
    with _one_line(path, "write"):
        _files(path).put_file(os.fspath(file), os.fspath(path))


def objects(folder: pathlib.Path) -> list[str]:
    """Returns the names of all objects below a folder of a store, relative to it, sorted.

    Raises:
      StoreError: they cannot be listed.
    """
    with _one_line(folder, "list"):
        files = _files(folder)
        top = files._strip_protocol(os.fspath(folder)).rstrip("/") + "/"
        try:
            return sorted(name.removeprefix(top) for name in files.find(os.fspath(folder)))
        except FileNotFoundError:  # the bucket is not there
            return []


def remove(path: pathlib.Path, names: list[str]) -> None:
    """Deletes objects below a folder of a store; one that is not there is passed over.

    Raises:
      StoreError: they cannot be deleted.
    """
    with _one_line(path, "delete from"):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                _files(path).rm_file(f"{os.fspath(path)}/{name}")


def download(path: pathlib.Path, file: pathlib.Path) -> None:
    """Copies an object to a file of a disk, whose folder is made.

    Raises:
      FileNotFoundError: it is not there.
      StoreError: it cannot be read.
      OSError: the disk is full.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with _one_line(path, "read"):
        _files(path).get_file(os.fspath(path), os.fspath(file))


@contextlib.contextmanager
def on_disk(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a file of a disk with the content of `path`, to be opened or mapped into memory.

    It is `path` itself, or a copy of an object. A copy is deleted after the block; what has it open
    or mapped keeps it.

    Raises:
      FileNotFoundError, StoreError, OSError: as of `download`.
    """
    if not is_url(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="textsr_jax-") as folder:
        file = pathlib.Path(folder, path.name)
        download(path, file)
        yield file


@contextlib.contextmanager
def folder_on_disk(folder: pathlib.Path, below: Sequence[str] = ("",)) -> Iterator[pathlib.Path]:
    """Yields a folder of a disk with the files of `folder`: itself, or a copy as of `on_disk`.

    Args:
      folder: a folder, or the URL of one.
      below: the beginnings of the names of objects to copy; by default all are.

    Raises:
      FileNotFoundError, StoreError, OSError: as of `objects` and `download`.
    """
    if not is_url(folder):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="textsr_jax-") as local:
        for name in objects(folder):
            if name.startswith(tuple(below)):
                download(folder / name, pathlib.Path(local, name))
        yield pathlib.Path(local)


def reason(error: Exception) -> str:
    """Returns the beginning of an error of any package as one line."""
    told = error.strerror if isinstance(error, OSError) else None
    return " ".join((told or f"{type(error).__name__}: {error}").split())[:200]


@functools.cache
def _check_store(url: str) -> None:
    """Raises `UserError` unless the store of a URL can be asked what is there."""
    scheme = url.partition("://")[0]
    with needs("cloud"):
        import fsspec
    try:
        kind = fsspec.get_filesystem_class(scheme)
    except ImportError as error:
        raise MissingPackage(
            f"{url}: {error}; it comes with the extra [cloud]: {installing('cloud')}"
        ) from error
    # They log what they raise as well, with tracebacks.
    logging.getLogger(kind.__module__.partition(".")[0]).setLevel(logging.CRITICAL)
    # Other processes may write there too.
    for protocol in [kind.protocol] if isinstance(kind.protocol, str) else kind.protocol:
        fsspec.config.conf.setdefault(protocol, {}).setdefault("use_listings_cache", False)
    try:
        fsspec.filesystem(scheme).exists(url)
    except Exception as error:  # each package raises its own
        raise StoreError(
            f"{url}: cannot be opened ({reason(error)}); see to its name and to your credentials"
        ) from error


@functools.cache
def _store_path() -> type:
    """The class of paths of stores: epath's, with the errors of this file."""
    # Where TensorFlow is installed, epath would open stores with it. It asks when it is first used.
    os.environ["EPATH_USE_TF"] = "false"
    from etils.epath import gpath

    class StorePath(gpath.PosixGPath):
        # fsspec and epath take what cannot be looked up as not there, whatever the reason is: a run
        # would begin anew, or make again what took hours.
        def _kind(self) -> str | None:
            with _one_line(self, "look up"), contextlib.suppress(FileNotFoundError):
                return _files(self).info(os.fspath(self))["type"]
            return None

        def exists(self) -> bool:
            return self._kind() is not None

        def is_dir(self) -> bool:
            return self._kind() == "directory"

        def is_file(self) -> bool:
            return self._kind() == "file"

        def iterdir(self) -> Iterator[Any]:
            with _one_line(self, "list"):
                found = list(super().iterdir())
            yield from found

        def glob(self, pattern: str) -> Iterator[Any]:
            with _one_line(self, "list"):
                found = list(super().glob(pattern))
            yield from found

        def unlink(self, missing_ok: bool = False) -> None:
            with _one_line(self, "delete"):
                super().unlink(missing_ok)

        def open(self, mode: str = "r", **options: Any) -> IO[Any]:
            """Reads a copy on a disk, so that no later read can fail."""
            if "r" not in mode:
                with _one_line(self, "write"):
                    return super().open(mode, **options)
            with on_disk(cast(pathlib.Path, self)) as file:
                return file.open(mode, **options)

    return StorePath


def _files(path: Any) -> Any:
    """The file system that opens a URL."""
    with needs("cloud"):
        import fsspec
    return fsspec.filesystem(os.fspath(path).partition("://")[0])


@contextlib.contextmanager
def _one_line(path: Any, verb: str) -> Iterator[None]:
    """Makes a `StoreError` of whatever a store's package raises, but for what is not there."""
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(errno.ENOENT, "no such object", os.fspath(path)) from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _FULL:
            raise
        raise StoreError(
            f"{os.fspath(path)}: cannot {verb} it ({reason(error)}); see to the store and to your "
            "credentials, and run the same command again"
        ) from error
