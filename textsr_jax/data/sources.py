"""The sources of `read.py`: image files, PDF files, folders, patterns, LMDB folders, and lists.

An image that cannot be read is an item with an error, so that all others are still read.
"""

from __future__ import annotations

import codecs
import dataclasses
import glob
import io
import itertools
import logging
import os
import pathlib
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from textsr_jax import text
from textsr_jax.data import lmdb_pages
from textsr_jax.errors import UserError, escaped
from textsr_jax.images import READ_PIXELS, SUFFIXES, decode_rgb, open_rgb

if TYPE_CHECKING:
    from textsr_jax.data.lmdb_folders import Samples

_LIST = "-"
_PATTERN = frozenset("*?[")
_PDF, _PDF_START = ".pdf", b"%PDF-"
_EXPECTED = "expected keys such as image-000000001 or image_lr-000000001"

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Item:
    """An image to read.

    Attributes:
      source: its file; `FOLDER:NUMBER` for a record of an LMDB, by the number in its keys; or
        `FILE:NUMBER` for a page of a PDF file, from 1.
      image: uint8 (height, width, 3), of the size that was wanted; None where it cannot be read.
      label: the true word in the LMDB or the list, its letters folded (`text.fold`); None where it
        is not known.
      error: why there is no image, and how to fix it; empty where there is one.
      page: whether it is a page of a PDF file, and so no crop.
    """

    source: str
    image: np.ndarray | None = None
    label: str | None = None
    error: str = ""
    page: bool = False


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What is wanted of the sources.

    Attributes:
      whole: whether images keep their size, and folders give their PDF files too. Otherwise larger
        images are reduced to `READ_PIXELS`.
      done: how often each source, escaped by `errors.escaped`, was read before. As many of its
        items are passed over, and are not opened; the counts fall.
    """

    whole: bool = False
    done: Counter[str] = dataclasses.field(default_factory=Counter)

    @property
    def most(self) -> int | None:
        """The most pixels of an image; None for no limit but that of `images`."""
        return None if self.whole else READ_PIXELS

    def passed(self, source: str) -> bool:
        """Whether an item is passed over; it is counted then."""
        name = escaped(source)
        if self.done[name] < 1:
            return False
        self.done[name] -= 1
        return True


@dataclasses.dataclass(frozen=True)
class Source:
    """Some images that belong together.

    Attributes:
      items: reads the images one after another.
      count: the number of images; None where it is known only at the end.
    """

    items: Callable[[], Iterator[Item]]
    count: int | None


def expand(
    names: Iterable[str], listed: BinaryIO | None = None, wanted: Wanted | None = None
) -> list[Source]:
    """The sources named on a command line. The fault of a source becomes an item with an error.

    A log line counts the entries of a folder that are passed over.

    Args:
      names: image files; PDF files; folders, whose images are taken in the order of their names,
        without hidden files; LMDB folders of TextZoom, whose LR images are taken, or of the
        recognition benchmarks; patterns such as `photos/*.png`; `-` for `listed`. `~` is the
        user's folder.
      listed: further names, one per line, in UTF-8, in UTF-16 with a byte order mark, or in the
        bytes of the file system. The true word may follow after a tab. None for standard input.
      wanted: what is wanted of them; None for crops.
    """
    wanted = wanted or Wanted()
    return [
        Source(lambda: _listed(listed, wanted), None) if name == _LIST else _expand(name, wanted)
        for name in names
    ]


def count(sources: Sequence[Source]) -> int | None:
    """The number of images in all sources; None where the number of one is not known."""
    counts = [source.count for source in sources if source.count is not None]
    return sum(counts) if len(counts) == len(sources) else None


def _expand(name: str, wanted: Wanted) -> Source:
    path = name if os.path.lexists(name) else os.path.expanduser(name)
    try:
        if lmdb_pages.is_lmdb(pathlib.Path(path)):
            return _lmdb(pathlib.Path(path), wanted)
        if os.path.isdir(path):
            return _folder(pathlib.Path(path), wanted)
        if not os.path.lexists(path) and _PATTERN.intersection(path):
            return _pattern(path, wanted)
        if _is_pdf(path):
            return _pdf(name, path, wanted)
    except (UserError, OSError) as error:
        return _failed(name, error)
    return _files([name], wanted)


def _failed(name: str, error: Exception) -> Source:
    reason = str(error)
    if isinstance(error, PermissionError):
        reason = f"{name}: {error.strerror}; see to its permissions"
    elif isinstance(error, OSError):
        reason = f"{name}: cannot read it ({error.strerror or error}); name another source"
    item = Item(name, error=reason)
    return Source(lambda: iter([item]), 1)


def _listed(listed: BinaryIO | None, wanted: Wanted) -> Iterator[Item]:
    if listed is None:
        listed = getattr(sys.stdin, "buffer", None)
    if listed is None:
        yield Item(
            _LIST, error=f"{_LIST}: there is no standard input; give names, or pipe a list of them"
        )
        return
    try:
        for name, label in _lines(listed):
            for item in _expand(name, wanted).items():
                yield item if label is None else dataclasses.replace(item, label=label)
    except OSError as error:
        yield Item(_LIST, error=f"{_LIST}: cannot read standard input ({error.strerror})")


def _lines(listed: BinaryIO) -> Iterator[tuple[str, str | None]]:
    """The names in a list, and the label after each; None where there is none."""
    first = listed.readline()
    if first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and b"\0" in first:
        # PowerShell writes such lists. No file's name has a NUL.
        lines: Iterable[bytes] = _utf16_lines(first, listed)
    else:
        lines = itertools.chain([first], listed)
    for number, line in enumerate(lines):
        line = line.rstrip(b"\r\n")
        if number == 0:
            line = line.removeprefix(codecs.BOM_UTF8)
        if not line:
            continue
        # Bytes that are not UTF-8 stay as they are in the file's name.
        name = os.fsdecode(line)
        label = None
        if b"\t" in line and not os.path.lexists(name):
            line, _, rest = line.partition(b"\t")
            label = text.fold(rest.split(b"\t")[0].decode(errors="replace"))
            name = os.fsdecode(line)
        yield name, label


def _utf16_lines(first: bytes, listed: BinaryIO) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder("utf-16")(errors="replace")
    rest = ""
    for data in itertools.chain([first], iter(lambda: _some(listed), b"")):
        *lines, rest = (rest + decoder.decode(data)).split("\n")
        yield from map(os.fsencode, lines)
    yield os.fsencode(rest)


def _some(listed: BinaryIO) -> bytes:
    """At most 64 KB of a stream, without waiting for more than what is there."""
    return listed.read1(1 << 16) if isinstance(listed, io.BufferedIOBase) else listed.read(1 << 16)


def _folder(path: pathlib.Path, wanted: Wanted) -> Source:
    suffixes = (*SUFFIXES, _PDF) if wanted.whole else SUFFIXES
    try:
        entries = sorted(os.scandir(path), key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(
            f"{path}: cannot list it ({error.strerror}); see to its permissions"
        ) from error
    files: list[str] = []
    others: Counter[str] = Counter()
    for entry in entries:
        if entry.name.startswith("."):
            others["hidden"] += 1
        elif os.path.isdir(entry):
            others["folders"] += 1
        elif not entry.name.lower().endswith(suffixes):
            others["no images by their names"] += 1
        else:
            files.append(entry.path)
    passed = ", ".join(f"{what}: {number}" for what, number in sorted(others.items()))
    if not files:
        raise UserError(
            f"{path}: holds neither images nor an LMDB's {lmdb_pages.FILE}"
            f"{passed and f' (passed over: {passed})'}; name a folder that does"
        )
    if others:
        _logger.warning(
            "%s: passed over %d of %d entries (%s); name them to read them",
            escaped(str(path)),
            others.total(),
            len(entries),
            passed,
        )
    if not any(name.lower().endswith(_PDF) for name in files):
        return _files(files, wanted)
    return _together([_expand(name, wanted) for name in files])


def _pattern(name: str, wanted: Wanted) -> Source:
    found = sorted(glob.glob(name, recursive=True))
    if not found:
        raise UserError(f"{name}: matches no file's name; name image files")
    return _together([_expand(each, wanted) for each in found])


def _together(parts: Sequence[Source]) -> Source:
    return Source(lambda: (item for part in parts for item in part.items()), count(parts))


def _files(names: Sequence[str], wanted: Wanted) -> Source:
    def items() -> Iterator[Item]:
        for name in names:
            if wanted.passed(name):
                continue
            try:
                yield Item(name, open_rgb(name, wanted.most))
            except UserError as error:
                yield Item(name, error=str(error))

    return Source(items, len(names))


def _is_pdf(path: str) -> bool:
    """Whether a regular file is a PDF file by its first bytes."""
    if not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        return file.read(len(_PDF_START)) == _PDF_START


def _pdf(name: str, path: str, wanted: Wanted) -> Source:
    # Imported here, since reading image files does not need the package pypdfium2.
    from textsr_jax.data.pdf_pages import PdfPages

    total = len(PdfPages(name, path))

    def items() -> Iterator[Item]:
        pages = PdfPages(name, path)
        for number in range(1, total + 1):
            source = f"{name}:{number}"
            if wanted.passed(source):
                continue
            try:
                yield Item(source, pages[number - 1], page=True)
            except UserError as error:
                yield Item(source, error=str(error), page=True)

    return Source(items, total)


def _lmdb(path: pathlib.Path, wanted: Wanted) -> Source:
    # Imported here, since reading image files does not need the package lmdb.
    from textsr_jax.data import lmdb_folders

    with lmdb_folders.open_samples(path, _EXPECTED) as samples:
        total, complaint = len(samples.numbers), samples.complaint
        if not total:
            raise UserError(f"{samples.file}: holds no images; {_EXPECTED}")

    def items() -> Iterator[Item]:
        if complaint:
            yield Item(str(path), error=f"{samples.file}: {complaint}")
        with lmdb_folders.open_samples(path, _EXPECTED) as opened:
            for number in opened.numbers:
                if not wanted.passed(f"{path}:{number}"):
                    yield _record(opened, f"{path}:{number}", number, wanted.most)

    return Source(items, total + bool(complaint))


def _record(samples: Samples, name: str, number: int, most: int | None) -> Item:
    try:
        word = samples.get("label", number)
        label = None if word is None else text.fold(word.decode(errors="replace"))
        data = samples.get("image_lr", number) or samples.get("image", number)
        if data is None:
            raise UserError(f"{name}: has no image; {_EXPECTED}")
        return Item(name, decode_rgb(data, name, most), label)
    except UserError as error:
        return Item(name, error=str(error))
