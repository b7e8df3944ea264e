"""What `read.py` can be told to read: image files, folders, patterns, LMDB folders, lists of these.

An image that cannot be read is an item of its own, so that all others are still read.
"""

import dataclasses
import glob
import os
import pathlib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from textsr_jax import text
from textsr_jax.data import lmdb_folders
from textsr_jax.errors import UserError
from textsr_jax.images import SUFFIXES, decode_rgb, open_rgb

_LIST = "-"
_PATTERN = frozenset("*?[")
_EXPECTED = "expected keys such as image-000000001 or image_lr-000000001"


@dataclasses.dataclass(frozen=True)
class Item:
    """An image to read.

    Attributes:
      source: its file, or `FOLDER:NUMBER` for a record of an LMDB, by the number in its keys.
      image: uint8 (height, width, 3); None where it cannot be read.
      label: the true word, as the LMDB has it, its letters folded (`text.fold`); None where it is
        not known.
      error: why there is no image, and the mend; empty where there is one.
    """

    source: str
    image: np.ndarray | None = None
    label: str | None = None
    error: str = ""


@dataclasses.dataclass(frozen=True)
class Source:
    """Some images that belong together.

    Attributes:
      items: reads them one after another.
      count: how many they are; None where that shows only at the end.
    """

    items: Callable[[], Iterator[Item]]
    count: int | None


def expand(names: Iterable[str], lines: Iterable[str] = sys.stdin) -> list[Source]:
    """The sources that are named on a command line; what is wrong with one becomes an item.

    Args:
      names: image files; folders, of which all images are taken in the order of their names; LMDB
        folders of TextZoom, of which the LR images are taken, or of the recognition benchmarks;
        patterns such as `photos/*.png`; `-` for `lines`.
      lines: further names, one a line.
    """
    return [_expand(name, lines) for name in names]


def count(sources: Sequence[Source]) -> int | None:
    """How many images there are in all; None where one of the sources cannot tell."""
    counts = [source.count for source in sources]
    return None if None in counts else sum(counts)


def _expand(name: str, lines: Iterable[str]) -> Source:
    if name == _LIST:
        return Source(lambda: _listed(lines), None)
    path = pathlib.Path(name)
    try:
        if lmdb_folders.is_lmdb(path):
            return _lmdb(path)
        if path.is_dir():
            return _folder(path)
        if not path.exists() and _PATTERN.intersection(name):
            return _pattern(name, lines)
    except UserError as error:
        item = Item(name, error=str(error))
        return Source(lambda: iter([item]), 1)
    return _files([name])


def _listed(lines: Iterable[str]) -> Iterator[Item]:
    for line in lines:
        if name := line.rstrip("\r\n"):
            yield from _expand(name, ()).items()


def _folder(path: pathlib.Path) -> Source:
    try:
        names = sorted(os.listdir(path))
    except OSError as error:
        raise UserError(
            f"{path}: cannot list it ({error.strerror}); see to its permissions"
        ) from error
    files = [str(path / name) for name in names if name.lower().endswith(SUFFIXES)]
    if not files:
        raise UserError(
            f"{path}: holds neither images nor an LMDB's {lmdb_folders.FILE}; name a folder that "
            "does"
        )
    return _files(files)


def _pattern(name: str, lines: Iterable[str]) -> Source:
    found = sorted(glob.glob(name, recursive=True))
    if not found:
        raise UserError(f"{name}: no file's name is like this; name image files")
    parts = [_expand(each, lines) for each in found]
    return Source(lambda: (item for part in parts for item in part.items()), count(parts))


def _files(names: Sequence[str]) -> Source:
    def items() -> Iterator[Item]:
        for name in names:
            try:
                yield Item(name, open_rgb(name))
            except UserError as error:
                yield Item(name, error=str(error))

    return Source(items, len(names))


def _lmdb(path: pathlib.Path) -> Source:
    with lmdb_folders.open_samples(path, _EXPECTED) as samples:
        total, complaint = len(samples.numbers), samples.complaint
        if not total:
            raise UserError(f"{samples.file}: holds no images; {_EXPECTED}")

    def items() -> Iterator[Item]:
        if complaint:
            yield Item(str(path), error=f"{samples.file}: {complaint}")
        with lmdb_folders.open_samples(path, _EXPECTED) as opened:
            for number in opened.numbers:
                yield _record(opened, f"{path}:{number}", number)

    return Source(items, total + bool(complaint))


def _record(samples: lmdb_folders.Samples, name: str, number: int) -> Item:
    try:
        label = samples.get("label", number)
        label = None if label is None else text.fold(label.decode(errors="replace"))
        data = samples.get("image_lr", number) or samples.get("image", number)
        if data is None:
            raise UserError(f"{name}: has no image; {_EXPECTED}")
        return Item(name, decode_rgb(data, name), label)
    except UserError as error:
        return Item(name, error=str(error))
