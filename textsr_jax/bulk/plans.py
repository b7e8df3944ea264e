"""The plan of a run: which crops go into which file of results. It is made once and then kept.

A part is a fixed list of pieces, and one file of results. Its crops are read by one worker.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import itertools
import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from textsr_jax.bulk import crops, places
from textsr_jax.bulk.crops import Piece
from textsr_jax.bulk.places import Place
from textsr_jax.errors import UserError, escaped, needs

with needs("bulk"):
    import pyarrow
    from pyarrow import parquet

FILE = "plan.parquet"

# The least and the most crops of a part, and photographs: so many that a file of results is worth
# its place, and a worker's minutes on it are no great loss. Small sources have about `PARTS` parts
# all the same, which are whole batches of crops.
CROPS, PAGES, PARTS = (16, 4096), (1, 256), 64
# A group of rows is read from its beginning for each part in it. It is cut into this many at most.
_PARTS_OF_A_GROUP = 16
# Footers that are read at once.
_THREADS = 32

_KEY = b"textsr_jax"
_SCHEMA = pyarrow.schema(
    [
        ("file", pyarrow.string()),
        ("kind", pyarrow.string()),
        ("first", pyarrow.int64()),
        ("stop", pyarrow.int64()),
    ]
)

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Plan:
    """The parts of a run, in `FILE` of the folder of results: a group of rows for each part.

    Attributes:
      settings: what the results depend on, such as `source` and `model`.
      parts: how many there are.
      out: the folder of results.
    """

    settings: dict[str, Any]
    parts: int
    out: Place

    def pieces(self, part: int) -> list[Piece]:
        """Returns the pieces of a part, from 0 on."""
        table = _opened(self.out).read_row_group(part)
        return [Piece(**row) for row in table.to_pylist()]


@functools.lru_cache(maxsize=1)
def _opened(out: Place) -> parquet.ParquetFile:
    return parquet.ParquetFile(pyarrow.BufferReader(out.read(FILE)))


def result_file(part: int) -> str:
    """Returns the name of a part's file of results."""
    return f"part-{part:06d}.parquet"


def load(out: Place) -> Plan:
    """Returns the plan in a folder of results; raises `UserError` where it cannot be read."""
    try:
        file = _opened(out)
        settings = json.loads(file.schema_arrow.metadata[_KEY])
    except (pyarrow.ArrowException, TypeError, KeyError, ValueError) as error:
        raise UserError(
            f"{out.full_name(FILE)}: is no plan of textsr_jax.bulk ({error}); name another --out"
        ) from error
    return Plan(settings, file.num_row_groups, out)


def write(out: Place, parts: Sequence[Sequence[Piece]], settings: dict[str, Any]) -> Plan:
    """Writes the plan of a run into its folder of results, and returns it."""
    schema = _SCHEMA.with_metadata({_KEY: json.dumps(settings)})
    with out.replacing(FILE) as stream, parquet.ParquetWriter(stream, schema) as writer:
        for pieces in parts:
            rows = [dataclasses.asdict(piece) for piece in pieces]
            writer.write_table(pyarrow.Table.from_pylist(rows, schema))
    _opened.cache_clear()
    return load(out)


def place_of(name: str) -> Place:
    """Returns the place that a source's files lie below: of a pattern it is a folder."""
    return places.base(name) if places.is_pattern(name) else places.find(name)


def find_source(name: str) -> tuple[Place, list[tuple[str, str]]]:
    """Returns the place of a source, and its files with their kinds.

    Args:
      name: an image file, a tar, a Parquet file, an LMDB, a folder of these, or a pattern; a path
        or a URL.

    Raises:
      UserError: there is no such place, or no crops are in it.
    """
    source = place_of(name)
    if places.is_pattern(name):
        files = places.matching(name)
    else:
        if not source.is_there():
            raise UserError(f"{source.name}: no such file or folder; name the crops to read")
        files = list(source.walk()) if source.is_folder() else [""]
    found = [(file, kind) for file in files if (kind := crops.kind_of(file or source.path))]
    if not found:
        raise UserError(
            f"{source.name}: holds no image files, tars, Parquet files or LMDBs by their names "
            f"({len(files)} other files); name crops to read"
        )
    passed = [file for file in files if not crops.kind_of(file or source.path)]
    passed = [file for file in passed if not file.endswith(("lock.mdb", "-lock"))]
    if passed:
        _logger.warning(
            "%s: passed over %d of %d files, such as %s; their names are of no kind that is read",
            escaped(source.name),
            len(passed),
            len(files),
            escaped(passed[0]),
        )
    return source, found


def make(
    source: Place, files: Iterable[tuple[str, str]], least: int = CROPS[0], most: int = CROPS[1]
) -> list[list[Piece]]:
    """Returns the parts of a source: lists of pieces with about as many crops each.

    A tar is a part of its own. Its crops are not counted, since for that it would have to be read.

    Args:
      source, files: as `find_source` returns them.
      least, most: bounds of the number of crops in a part.

    Raises:
      UserError: a table has no images, or an LMDB is damaged.
    """
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as threads:
        counted = list(threads.map(lambda file: _spans(source, *file), files))
    total = sum(stop - first for spans in counted for *_, first, stop in spans if stop is not None)
    size = min(most, least * max(1, -(-total // (PARTS * least))))
    parts: list[list[Piece]] = []
    free = 0
    for piece in _cut(counted, size):
        if piece.stop is None:
            parts.append([piece])
            free = 0
            continue
        count = piece.stop - (piece.first or 0)
        if count > free:
            parts.append([])
            free = max(size, count)
        _append(parts[-1], piece)
        free -= count
    return parts


# A file, its kind, and a range of its crops that is read in one go; the range of a tar is unknown.
_Span = tuple[str, str, int, int | None]


def _spans(source: Place, file: str, kind: str) -> list[_Span]:
    """The ranges of a file's crops that are stored together."""
    if kind == "image":
        return [(file, kind, 0, 1)]
    if kind == "tar":
        return [(file, kind, 0, None)]
    if kind == "lmdb":
        return [(file, kind, 0, len(crops.lmdb_samples(source, file).numbers))]
    try:
        with source.open(file) as stream, parquet.ParquetFile(stream) as table:
            crops.image_column(table.schema_arrow.names, source.full_name(file))
            groups = table.num_row_groups
            counts = [table.metadata.row_group(group).num_rows for group in range(groups)]
    except (pyarrow.ArrowException, OSError):
        # Reading it gives one crop with the reason.
        return [(file, kind, 0, None)]
    ends = itertools.accumulate(counts)
    return [(file, kind, end - count, end) for end, count in zip(ends, counts, strict=True)]


def _cut(counted: Iterable[Sequence[_Span]], size: int) -> Iterator[Piece]:
    """The ranges as pieces of at most `size` crops where a range may be cut so small."""
    for spans in counted:
        for file, kind, first, stop in spans:
            if stop is None:
                yield Piece(file, kind)
                continue
            step = size
            if kind == "parquet":
                step = max(size, -(-(stop - first) // _PARTS_OF_A_GROUP))
            for start in range(first, stop, step):
                yield Piece(file, kind, start, min(start + step, stop))


def _append(pieces: list[Piece], piece: Piece) -> None:
    """Adds a piece to a part; it becomes one with the last piece that it follows in a file."""
    if pieces and pieces[-1].file == piece.file and pieces[-1].stop == piece.first:
        piece = dataclasses.replace(piece, first=pieces.pop().first)
    pieces.append(piece)
