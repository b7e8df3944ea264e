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
from typing import Any, cast

from textsr_jax.errors import MissingPackage, UserError, installing, needs

_SCHEMES = ("gs", "s3")


def named(name: str | os.PathLike[str]) -> pathlib.Path:
    """Returns the path that a user named; it need not exist.

    A path of an object store is an `etils.epath.Path`, which has the methods of `pathlib.Path` that
    this package uses. Only `absolute` takes its full name, and only `upload` writes it.

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
    # Where TensorFlow is installed, epath would open stores with it. It asks when it is first used.
    os.environ["EPATH_USE_TF"] = "false"
    from etils import epath

    return cast(pathlib.Path, epath.Path(text))


def is_url(path: str | os.PathLike[str]) -> bool:
    """Whether a path is one of an object store."""
    return os.fspath(path).startswith(tuple(f"{scheme}://" for scheme in _SCHEMES))


def absolute(path: pathlib.Path) -> str:
    """Returns the full name of a path: a URL is one."""
    return os.fspath(path) if is_url(path) else str(path.absolute())


def upload(file: str | os.PathLike[str], path: pathlib.Path) -> None:
    """Makes a file of a disk the object at `path`, whole or not at all.

    Raises:
      OSError: it cannot be written; `strerror` is the store's reason.
    """
    with _one_reason(path):
        _files(path).put_file(os.fspath(file), os.fspath(path))


def objects(folder: pathlib.Path) -> list[str]:
    """Returns the names of all objects below a folder of a store, relative to it, sorted.

    Raises:
      OSError: they cannot be listed.
    """
    with _one_reason(folder):
        files = _files(folder)
        top = files._strip_protocol(os.fspath(folder)).rstrip("/") + "/"
        try:
            return sorted(name.removeprefix(top) for name in files.find(os.fspath(folder)))
        except FileNotFoundError:  # the bucket is not there
            return []


def remove(path: pathlib.Path, names: list[str]) -> None:
    """Deletes objects below a folder of a store; one that is not there is passed over."""
    with _one_reason(path):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                _files(path).rm_file(f"{os.fspath(path)}/{name}")


def download(path: pathlib.Path, file: pathlib.Path) -> None:
    """Copies an object to a file of a disk, whose folder is made.

    Raises:
      OSError: it cannot be read.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with _one_reason(path):
        _files(path).get_file(os.fspath(path), os.fspath(file))


@contextlib.contextmanager
def on_disk(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a file of a disk with the content of `path`, to be opened or mapped into memory.

    It is `path` itself, or a copy of an object. A copy is deleted after the block; what has it open
    or mapped keeps it.

    Raises:
      OSError: the object cannot be read.
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
      OSError: an object cannot be read.
    """
    if not is_url(folder):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="textsr_jax-") as local:
        for name in objects(folder):
            if name.startswith(tuple(below)):
                download(folder / name, pathlib.Path(local, name))
        yield pathlib.Path(local)


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
        raise UserError(
            f"{url}: cannot be opened ({_reason(error)}); see to its name and to your credentials"
        ) from error


def _files(path: pathlib.Path) -> Any:
    """The file system that opens a URL."""
    with needs("cloud"):
        import fsspec
    return fsspec.filesystem(os.fspath(path).partition("://")[0])


@contextlib.contextmanager
def _one_reason(path: pathlib.Path) -> Iterator[None]:
    """Makes an `OSError` of whatever a store's package raises."""
    try:
        yield
    except Exception as error:
        code = error.errno if isinstance(error, OSError) and error.errno else errno.EIO
        raise OSError(code, _reason(error), os.fspath(path)) from error


def _reason(error: Exception) -> str:
    """The beginning of an error as one line."""
    told = error.strerror if isinstance(error, OSError) else None
    return " ".join((told or f"{type(error).__name__}: {error}").split())[:200]
