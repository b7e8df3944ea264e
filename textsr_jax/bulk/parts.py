"""Reads the parts of a plan on the workers of Ray, a file of results for each part."""

from __future__ import annotations

import dataclasses
import itertools
import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from textsr_jax.bulk import crops, pages, plans, words
from textsr_jax.bulk.places import Place
from textsr_jax.bulk.plans import Plan
from textsr_jax.errors import UserError, needs
from textsr_jax.runtime import concurrency

with needs("bulk"):
    import pyarrow
    from pyarrow import parquet

Row = words.Word | pages.PageRow

_KEY = "textsr_jax"
# Rows of results that are in memory at once.
_ROWS = 1024
# A crop that no reader takes for a blank one.
_STRIPES = np.tile(np.array([[[0] * 3] * 4 + [[200] * 3] * 4], np.uint8), (16, 8, 1))


@dataclasses.dataclass
class Counts:
    """How many crops were read or tried, and the errors of those that could not be read."""

    crops: int = 0
    errors: Counter[str] = dataclasses.field(default_factory=Counter)

    def add(self, rows: Iterable[Row]) -> None:
        for row in rows:
            self.crops += 1
            if row.error is not None:
                self.errors[words.error_kind(row.error)] += 1

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.crops + other.crops, self.errors + other.errors)

    def to_json(self) -> str:
        return json.dumps({"crops": self.crops, "errors": self.errors})

    @classmethod
    def of_json(cls, content: str | bytes) -> Counts:
        found = json.loads(content)
        return cls(found["crops"], Counter(found["errors"]))


class PartReader:
    """Reads parts on a worker of Ray. `map_batches` calls it with the numbers of parts.

    A file of results is written whole or not at all, and always under the same name. So a part that
    is read twice, since a worker died or the command was stopped, is there once.

    Args:
      plan: the plan.
      source: its source.
      pickled: the reader.
      gpus: the share of a GPU that this worker has.
    """

    def __init__(self, plan: Plan, source: Place, pickled: bytes, gpus: float):
        self._plan, self._source = plan, source
        self._reader = words.load_reader(pickled, gpus)
        # The networks are compiled now, so that no part's seconds hold that.
        with concurrency.at_most(1):
            self._reader.read([_STRIPES])

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list[Any]]:
        counts, seconds = [], []
        for part in batch["part"]:
            begin = time.perf_counter()
            counts.append(self._read(int(part)).to_json())
            seconds.append(time.perf_counter() - begin)
        return {"counts": counts, "seconds": seconds}

    def _read(self, part: int) -> Counts:
        found = crops.read(self._source, self._plan.pieces(part))
        rows: Iterable[Sequence[Row]]
        if self._plan.settings.get("pages"):
            schema, rows = pages.SCHEMA, pages.read(self._reader, found)
        else:
            sr = self._plan.settings["sr"]
            schema, rows = words.schema(sr), words.read(self._reader, found, sr)
        counts = Counts()
        file = plans.result_file(part)
        with (
            self._plan.out.replacing(file) as stream,
            parquet.ParquetWriter(stream, schema) as writer,
        ):
            for some in _together(rows):
                counts.add(some)
                table = pyarrow.Table.from_pylist([vars(row) for row in some], schema)
                writer.write_table(table)
            writer.add_key_value_metadata({_KEY: counts.to_json()})
        return counts


def counts_of(out: Place, part: int) -> Counts:
    """Returns the counts of a part's file of results; raises `UserError` where it is damaged."""
    file = plans.result_file(part)
    try:
        with out.open(file) as stream:
            return Counts.of_json(parquet.read_metadata(stream).metadata[_KEY.encode()])
    except (pyarrow.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{out.full_name(file)}: is damaged ({error}); delete it and run the command again"
        ) from error


def _together(batches: Iterable[Sequence[Row]]) -> Iterator[list[Row]]:
    """Rows in lists of `_ROWS`."""
    rows = itertools.chain.from_iterable(batches)
    while some := [*itertools.islice(rows, _ROWS)]:
        yield some
