"""Crops and readers for one's own Ray Data pipelines: a data source, and `read` for a dataset."""

from __future__ import annotations

import functools
import itertools
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np

from textsr_jax import reading
from textsr_jax.bulk import crops, places, plans, words
from textsr_jax.bulk.crops import Crop, Piece
from textsr_jax.bulk.places import Place
from textsr_jax.errors import UserError, needs
from textsr_jax.reading import Reader

with needs("bulk"):
    import pyarrow
    from ray.data import ActorPoolStrategy, Dataset, Datasource, ReadTask
    from ray.data.block import BlockAccessor, BlockMetadata

_CROPS = pyarrow.schema(
    [
        ("id", pyarrow.string()),
        ("source", pyarrow.string()),
        ("image", pyarrow.binary()),
        ("error", pyarrow.string()),
    ]
)
# Crops of a block; blocks of many large images would be cut by Ray.
_TOGETHER = 256


class Crops(Datasource):
    """A data source of Ray: `ray.data.read_datasource(Crops("words_lmdb"))`.

    Its rows have `id`, `source`, `image` (the bytes of an image file) and `error`: null, or why
    there is no image. LMDBs are read in ranges of their keys, where they lie.

    Args:
      source: as `python -m textsr_jax.bulk` takes it.

    Raises:
      UserError: there are no crops.
    """

    def __init__(self, source: str):
        super().__init__()
        self._place, files = plans.find_source(source)
        self._parts = plans.make(self._place, files)

    def estimate_inmemory_data_size(self) -> int | None:
        """Returns None: how large the images are is not known before they are read."""
        return None

    def get_read_tasks(
        self,
        parallelism: int,
        per_task_row_limit: int | None = None,
        data_context: Any = None,
    ) -> list[ReadTask]:
        """Returns a task of Ray for each part of the source; `parallelism` changes nothing."""
        metadata = BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None)
        return [
            ReadTask(
                functools.partial(_blocks, self._place, pieces),
                metadata,
                schema=_CROPS,
                per_task_row_limit=per_task_row_limit,
            )
            for pieces in self._parts
        ]


def _blocks(place: Place, pieces: list[Piece]) -> Iterator[pyarrow.Table]:
    some: list[dict[str, Any]] = []
    for crop in crops.read(place, pieces):
        some.append(vars(crop))
        if len(some) == _TOGETHER:
            yield pyarrow.Table.from_pylist(some, _CROPS)
            some = []
    yield pyarrow.Table.from_pylist(some, _CROPS)


def pool(readers: int | None) -> ActorPoolStrategy:
    """Returns so many workers; None for as many as the cluster has room for while work is left."""
    return ActorPoolStrategy(min_size=1) if readers is None else ActorPoolStrategy(size=readers)


def resources(gpus_per_reader: float) -> dict[str, float]:
    """Returns what a worker takes, as arguments of `map_batches`: a core, and a share of a GPU."""
    return {"num_cpus": 1, "num_gpus": gpus_per_reader} if gpus_per_reader else {"num_cpus": 1}


def read(
    dataset: Dataset,
    reader: Reader | None = None,
    *,
    image: str = "image",
    gpus_per_reader: float = 0,
    sr: bool = False,
) -> Dataset:
    """Reads the crops of a dataset of Ray; workers load the models once.

    Args:
      dataset: rows with a column of images: bytes of image files, their paths or URLs, mappings
        with `bytes` and `path`, or arrays uint8 (height, width, 3). A row whose column `error` is
        not null is passed on with it.
      reader: what `textsr_jax.load` or `textsr_jax.export.engine.load` gave; None for the shipped
        models. Its file must lie at the same place on all nodes.
      image: the column of images. It is left out of the result.
      gpus_per_reader: the share of a GPU that each worker has; 0 for CPUs.
      sr: whether to return the images as they were read.

    Returns:
      The other columns of `dataset`, and of each row `text` and `confidence`, in [0, 1], which are
      null where the crop could not be read; `error`, which says why, or is null; with `sr` the
      column `sr`, PNG files of 32 rows.

    Raises:
      UserError: as `textsr_jax.load`.
    """
    reader = reading.load() if reader is None else reader
    return dataset.map_batches(
        _ReadBatch,
        batch_size=_TOGETHER,
        batch_format="pyarrow",
        fn_constructor_args=(pickle.dumps(reader), image, gpus_per_reader, sr),
        compute=pool(None),
        **resources(gpus_per_reader),
    )


class _ReadBatch:
    """Adds what was read to a table, on a worker of Ray."""

    def __init__(self, pickled: bytes, image: str, gpus: float, sr: bool):
        self._reader = words.load_reader(pickled, gpus)
        self._image, self._sr = image, sr

    def __call__(self, table: pyarrow.Table) -> pyarrow.Table:
        if self._image not in table.column_names:
            raise UserError(
                f"the dataset has no column {self._image!r}, only {', '.join(table.column_names)}; "
                "name the column of images by read(..., image=NAME)"
            )
        found = [word for rows in self._words(table) for word in rows]
        table = table.drop_columns([self._image])
        for field in words.schema(self._sr):
            if field.name in ("id", "source"):
                continue
            values = pyarrow.array([getattr(word, field.name) for word in found], field.type)
            if field.name in table.column_names:
                table = table.drop_columns([field.name])
            table = table.append_column(field, values)
        return table

    def _words(self, table: pyarrow.Table) -> Iterator[list[words.Word]]:
        return words.read(self._reader, self._crops(table), self._sr)

    def _crops(self, table: pyarrow.Table) -> Iterator[Crop]:
        columns = table.column_names
        errors = table["error"].to_pylist() if "error" in columns else itertools.repeat(None)
        named = next((name for name in ("source", "id") if name in columns), None)
        names = table[named].to_pylist() if named else itertools.repeat("the image")
        here = places.find(".")
        images = BlockAccessor.for_block(table).to_numpy(self._image)
        for value, name, error in zip(images, names, errors, strict=False):
            place = str(name)
            if error is not None or isinstance(value, np.ndarray):
                yield Crop(place, place, None if error else value, error)
                continue
            try:
                yield Crop(place, place, crops.content(value, place, here))
            except UserError as unreadable:
                yield Crop(place, place, error=str(unreadable))
