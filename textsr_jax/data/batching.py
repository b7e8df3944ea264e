"""Batches for training and evaluation, read by Grain, and sources made out of other sources.

Training batches are a pure function of (source, seed, step), which makes resuming exact.
"""

import bisect
import dataclasses
import functools
import itertools
import logging
from collections.abc import Sequence

import flax
import jax
import numpy as np

from textsr_jax import text
from textsr_jax.data import records
from textsr_jax.data.records import Record, Source
from textsr_jax.errors import UserError, needs
from textsr_jax.runtime.batches import fill

with needs("train"):
    import grain

# Threads decode whole batches ahead; more of them only fight for the interpreter.
_READ_OPTIONS = grain.ReadOptions(num_threads=4, prefetch_buffer_size=8)

_logger = logging.getLogger(__name__)


@flax.struct.dataclass
class Batch:
    """Word image pairs with labels; a pytree.

    Attributes:
      lr: uint8 (batch, 16, 64, 3), RGB.
      hr: uint8 (batch, 32, 128, 3), RGB.
      characters: int32 (batch, max_length), as `text.encode` gives them.
      index: int32 (batch,), the record's number in its source, from 0.
      valid: bool (batch,), False for repeated records that only fill the batch up.
      attention: float32 (batch, heads, steps, positions), where the text-focus recogniser looks in
        `hr`; None where nobody has asked it yet.
      whole: int32 (whole batch, max_length), the characters of the batch of which this is one of
        several equal parts; None where this is a whole batch. A part's mean over characters is
        taken by them.

    Of a stage whose images lie on the devices `lr` and `hr` are None until its step takes them by
    `index`.
    """

    lr: np.ndarray | None
    hr: np.ndarray | None
    characters: np.ndarray
    index: np.ndarray
    valid: np.ndarray
    attention: np.ndarray | None = None
    whole: np.ndarray | None = None


def shapes(batch_size: int, max_length: int, *, images: bool = True) -> Batch:
    """The shapes and dtypes of a batch, with its images or without."""
    lr, hr = (
        jax.ShapeDtypeStruct((batch_size, *shape), np.uint8) if images else None
        for shape in (records.LR_SHAPE, records.HR_SHAPE)
    )
    return Batch(
        lr=lr,
        hr=hr,
        characters=jax.ShapeDtypeStruct((batch_size, max_length), np.int32),
        index=jax.ShapeDtypeStruct((batch_size,), np.int32),
        valid=jax.ShapeDtypeStruct((batch_size,), np.bool_),
    )


def train_batches(
    source: Source,
    *,
    batch_size: int,
    max_length: int,
    seed: int,
    attention: np.ndarray | None = None,
    images: bool = True,
    process_index: int = 0,
    process_count: int = 1,
    threads: int = _READ_OPTIONS.num_threads,
) -> grain.DatasetIterator:
    """Endless shuffled batches; the part of them that belongs to one process.

    The stream of records holds every record once an epoch, in a new order each time; batches are
    cut from it without regard to where an epoch ends. Process p of n gets batches p, p + n,
    p + 2n, ... Thus n processes together see what one process with an n times larger batch sees.
    Records whose label does not fit are left out, with a warning.

    Args:
      source: the records.
      batch_size: records a batch, on this process.
      max_length: the most characters in a label, and the width of `Batch.characters`.
      seed: a number from 0 to 2^32 - 1 for the order of records.
      attention: (len(source), heads, steps, positions), what `Batch.attention` takes by the
        record's number; a memory-mapped array will do.
      images: whether batches bring their images; without, nothing is decoded, `lr` and `hr` are
        None.
      process_index: which process this is.
      process_count: how many there are.
      threads: how many decode batches ahead; what they give does not depend on it.

    Returns:
      An iterator over `Batch`; its `get_state` and `set_state` continue a run exactly.

    Raises:
      UserError: no record is left to train on.
    """
    words = [text.normalize(label) for label in records.labels(source)]
    kept = [index for index, word in enumerate(words) if len(word) <= max_length]
    if len(kept) < len(words):
        longest = max(words, key=len)
        _logger.warning(
            "left %d of %d records out of training: labels longer than %d characters, up to %r",
            len(words) - len(kept),
            len(words),
            max_length,
            longest,
        )
    if not kept:
        raise UserError(
            f"training set: has no record with a label of at most {max_length} characters;"
            " give a data root with train folders"
        )
    dataset = grain.MapDataset.source(kept).seed(seed).shuffle().repeat()
    if images:
        dataset = dataset.map(lambda index: (index, source[index]))
        collate = functools.partial(_collate, batch_size=batch_size, max_length=max_length)
    else:
        collate = functools.partial(
            _without_images,
            characters=text.encode([word[:max_length] for word in words], max_length),
        )
    dataset = dataset.batch(batch_size, drop_remainder=True, batch_fn=collate)
    if attention is not None:
        dataset = dataset.map(lambda batch: batch.replace(attention=attention[batch.index]))
    options = dataclasses.replace(_READ_OPTIONS, num_threads=threads)
    return iter(dataset[process_index::process_count].to_iter_dataset(options))


def evaluation_batches(
    source: Source, *, batch_size: int, max_length: int
) -> grain.DatasetIterator:
    """All records once, in order; the last batch is filled up by repeating its last record.

    Labels longer than `max_length` stay, with their characters cut; scoring takes the whole
    strings of `records.labels(source)` by `Batch.index`.

    Returns:
      An iterator over `Batch`.
    """
    dataset = grain.MapDataset.source(range(len(source)))
    dataset = dataset.map(lambda index: (index, source[index]))
    collate = functools.partial(_collate, batch_size=batch_size, max_length=max_length)
    dataset = dataset.batch(batch_size, batch_fn=collate)
    return iter(dataset.to_iter_dataset(_READ_OPTIONS))


def _collate(pairs: Sequence[tuple[int, Record]], *, batch_size: int, max_length: int) -> Batch:
    words = [text.normalize(record.label)[:max_length] for _, record in pairs]
    return Batch(
        lr=fill(np.stack([record.lr for _, record in pairs]), batch_size),
        hr=fill(np.stack([record.hr for _, record in pairs]), batch_size),
        characters=fill(text.encode(words, max_length), batch_size),
        index=fill(np.array([index for index, _ in pairs], np.int32), batch_size),
        valid=np.arange(batch_size) < len(pairs),
    )


def _without_images(indices: Sequence[int], *, characters: np.ndarray) -> Batch:
    index = np.array(indices, np.int32)
    return Batch(
        lr=None,
        hr=None,
        characters=characters[index],
        index=index,
        valid=np.ones(len(index), np.bool_),
    )


class Subset:
    """The records of `source` with the given numbers, in the given order."""

    def __init__(self, source: Source, indices: Sequence[int]) -> None:
        self._source = source
        self._indices = list(indices)

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Record:
        return self._source[self._indices[index]]

    def images(self, field: str) -> np.ndarray:
        return records.images(self._source, field)[self._indices]

    @property
    def keys(self) -> list[str]:
        keys = records.keys(self._source)
        return [keys[index] for index in self._indices]

    @property
    def labels(self) -> list[str]:
        labels = records.labels(self._source)
        return [labels[index] for index in self._indices]


class Concatenated:
    """The records of several sources, one source after the other."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = list(sources)
        self._ends = list(itertools.accumulate(len(source) for source in self._sources))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> Record:
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        place = bisect.bisect_right(self._ends, index)
        return self._sources[place][index - self._ends[place] + len(self._sources[place])]

    def images(self, field: str) -> np.ndarray:
        return np.concatenate([records.images(source, field) for source in self._sources])

    @property
    def keys(self) -> list[str]:
        return [key for source in self._sources for key in records.keys(source)]

    @property
    def labels(self) -> list[str]:
        return [label for source in self._sources for label in records.labels(source)]


class Replaced:
    """The records of `source` with other HR images, such as super-resolved ones.

    Args:
      source: N records.
      images: uint8 (N, 32, 128, 3), RGB; a memory-mapped array will do.

    Raises:
      ValueError: `images` has another shape or type.
    """

    def __init__(self, source: Source, images: np.ndarray) -> None:
        shape = (len(source), *records.HR_SHAPE)
        if images.shape != shape or images.dtype != np.uint8:
            raise ValueError(f"expected uint8 {shape}, got {images.dtype} {images.shape}")
        self._source = source
        self._images = images

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Record:
        return dataclasses.replace(self._source[index], hr=self._images[index])

    def images(self, field: str) -> np.ndarray:
        return self._images if field == "hr" else records.images(self._source, field)

    @property
    def keys(self) -> list[str]:
        return records.keys(self._source)

    @property
    def labels(self) -> list[str]:
        return records.labels(self._source)
