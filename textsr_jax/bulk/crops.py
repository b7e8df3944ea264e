"""Reads crops as bytes: of image files, WebDataset tars, Parquet files and LMDBs.

A `Piece` is a range of the crops of one file. What cannot be read is a crop with an error.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import pathlib
import tarfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from textsr_jax.bulk import places
from textsr_jax.bulk.places import Place
from textsr_jax.data import lmdb_folders
from textsr_jax.errors import UserError, needs
from textsr_jax.images import SUFFIXES

with needs("bulk"):
    from pyarrow import parquet

# The columns of a table that may hold the image; the first one that is there does.
IMAGE_COLUMNS = ("image", "image_lr", "path")
TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")

_EXPECTED = "expected keys such as image-000000001 or image_lr-000000001"
# Rows of a table that are in memory at once.
_ROWS = 256


@dataclasses.dataclass(frozen=True)
class Crop:
    """An image to read.

    Attributes:
      id: of this crop alone: the column `id` of its table, or its place below the source.
      source: the name of its file, and the number or name of the crop in it.
      image: the content of an image file, or an array as `images.image_rgb` takes it; None where it
        cannot be had.
      error: why there is no image; None where there is one.
    """

    id: str
    source: str
    image: bytes | np.ndarray | None = None
    error: str | None = None


@dataclasses.dataclass(frozen=True)
class Piece:
    """A range of the crops of one file.

    Attributes:
      file: below the source; "" for the source itself.
      kind: one of `KINDS`.
      first, stop: the range, counted from 0; None for the whole file.
    """

    file: str
    kind: str
    first: int | None = None
    stop: int | None = None


def kind_of(file: str) -> str | None:
    """Returns the kind of a file by its name; None for a file that holds no crops."""
    name = file.lower()
    if name.endswith((".mdb", ".lmdb")):
        # LMDB keeps a lock beside its file.
        return None if name.endswith("lock.mdb") else "lmdb"
    if name.endswith(".parquet"):
        return "parquet"
    if name.endswith(TAR_SUFFIXES):
        return "tar"
    return "image" if name.endswith(SUFFIXES) else None


def read(source: Place, pieces: Iterable[Piece]) -> Iterator[Crop]:
    """Yields the crops of some pieces in order.

    Where a file cannot be read, a crop with an error stands for each crop of the piece that was not
    read; for a whole file, whose number of crops is not known, one crop that has the file's name.
    """
    for piece in pieces:
        yield from _read_piece(source, piece)


def lmdb_samples(source: Place, file: str) -> lmdb_folders.Samples:
    """Returns an open LMDB; raises `UserError` where it is damaged, or not on a disk."""
    if source.local is None:
        raise UserError(
            f"{source.full_name(file)}: an LMDB is mapped into memory and must lie on a disk; copy "
            "it to one, or write tars or Parquet"
        )
    _, samples = _opened_lmdb(source.full_path(file))
    return samples


@functools.lru_cache(maxsize=4)
def _opened_lmdb(path: str) -> tuple[contextlib.ExitStack, lmdb_folders.Samples]:
    # It stays open for the next pieces: its pages and keys are checked whenever it is opened.
    stack = contextlib.ExitStack()
    return stack, stack.enter_context(lmdb_folders.open_samples(pathlib.Path(path), _EXPECTED))


def image_column(columns: Iterable[str], place: str) -> str:
    """Returns the column that holds the images; raises `UserError` where there is none."""
    columns = list(columns)
    for name in IMAGE_COLUMNS:
        if name in columns:
            return name
    raise UserError(
        f"{place}: has no column {' or '.join(IMAGE_COLUMNS)}, only {', '.join(columns) or 'none'};"
        " rename the column of the images"
    )


def _read_piece(source: Place, piece: Piece) -> Iterator[Crop]:
    done = piece.first or 0
    place = source.full_name(piece.file)
    try:
        for crop in KINDS[piece.kind](source, piece):
            done += 1
            yield crop
        if piece.stop is None or done == piece.stop:
            return
        reason = f"{place}: has fewer crops than when the work began; put it there as it was"
    except UserError as error:
        reason = str(error)
    except Exception as error:  # of the file's format, or of its store, whose packages vary
        text = " ".join(str(error).split()) or type(error).__name__
        reason = f"{place}: is damaged or cut short ({text}); copy the file again"
    if piece.stop is None:
        yield Crop(_id(source, piece.file), place, error=reason)
        return
    for number in range(done, piece.stop):
        named = "" if piece.kind == "image" else f"[{number}]"
        yield Crop(_id(source, piece.file) + named, place + named, error=reason)


def _id(source: Place, file: str) -> str:
    return file or pathlib.PurePath(source.path).name


def _image(source: Place, piece: Piece) -> Iterator[Crop]:
    name = source.full_name(piece.file)
    yield Crop(_id(source, piece.file), name, source.read(piece.file))


def _tar(source: Place, piece: Piece) -> Iterator[Crop]:
    """The images of a tar, which is read from its beginning to its end."""
    seen: Counter[str] = Counter()
    with (
        source.open(piece.file) as stream,
        tarfile.open(fileobj=stream, mode="r|*") as tar,
    ):
        for member in tar:
            if not (member.isfile() and member.name.lower().endswith(SUFFIXES)):
                continue
            content = tar.extractfile(member)
            data = content.read() if content else b""
            if len(data) != member.size:
                raise EOFError(f"{member.name} is cut short")
            seen[member.name] += 1
            # A tar may hold several members of one name.
            again = f"#{seen[member.name]}" if seen[member.name] > 1 else ""
            name = f":{member.name}{again}"
            yield Crop(_id(source, piece.file) + name, source.full_name(piece.file) + name, data)


def _parquet(source: Place, piece: Piece) -> Iterator[Crop]:
    """The rows of a table. Groups of rows outside of the range are not read."""
    place = source.full_name(piece.file)
    folder = source.folder_of(piece.file)
    with source.open(piece.file) as stream, parquet.ParquetFile(stream) as table:
        names = table.schema_arrow.names
        column = image_column(names, place)
        columns = [column, *({"id"} & set(names))]
        start = 0
        first, stop = piece.first or 0, piece.stop or table.metadata.num_rows
        for group in range(table.num_row_groups):
            count = table.metadata.row_group(group).num_rows
            if start < stop and start + count > first:
                row = start
                for batch in table.iter_batches(_ROWS, row_groups=[group], columns=columns):
                    some = batch.slice(max(0, first - row), max(0, stop - max(first, row)))
                    for number, values in enumerate(some.to_pylist(), row + max(0, first - row)):
                        yield _row(values, column, f"{number}", piece.file, source, folder)
                    row += len(batch)
            start += count


def _row(
    values: dict[str, Any], column: str, number: str, file: str, source: Place, folder: Place
) -> Crop:
    place = f"{source.full_name(file)}:{number}"
    given = values.get("id")
    id = f"{_id(source, file)}:{number}" if given is None else str(given)
    try:
        return Crop(id, place, content(values[column], place, folder))
    except UserError as error:
        return Crop(id, place, error=str(error))


def content(value: Any, place: str, folder: Place) -> bytes:
    """Returns the content of an image file from a value of a table.

    Args:
      value: the bytes; a path or URL; or a mapping with `bytes` and `path`, as data sets of the
        Hugging Face Hub have them.
      place: of the value, for messages.
      folder: relative paths lie there.

    Raises:
      UserError: there is no image, or its file cannot be read.
    """
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes):
        return value
    if isinstance(value, str) and value:
        return places.read_named(value, folder)
    what = "no image" if not value else f"a {type(value).__name__} in place of an image"
    raise UserError(f"{place}: has {what}; give the bytes or the path of an image file")


def _lmdb(source: Place, piece: Piece) -> Iterator[Crop]:
    samples = lmdb_samples(source, piece.file)
    name = source.full_name(piece.file)
    stop = len(samples.numbers) if piece.stop is None else piece.stop
    for number in samples.numbers[piece.first or 0 : stop]:
        id, place = f"{_id(source, piece.file)}:{number}", f"{name}:{number}"
        try:
            data = samples.get("image_lr", number) or samples.get("image", number)
            if data is None:
                raise UserError(f"{place}: has no image; {_EXPECTED}")
            yield Crop(id, place, data)
        except UserError as error:
            yield Crop(id, place, error=str(error))


KINDS: dict[str, Callable[[Place, Piece], Iterator[Crop]]] = {
    "image": _image,
    "tar": _tar,
    "parquet": _parquet,
    "lmdb": _lmdb,
}
