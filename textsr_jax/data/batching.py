"""Batches for training and evaluation, read by Grain, and records made of other records.

Training batches are a pure function of (records, seed, step), which makes resuming exact.
"""

import bisect
import dataclasses
import functools
import itertools
import logging
from collections.abc import Sequence
from typing import cast

import flax
import jax
import numpy as np
from jax.typing import DTypeLike

from textsr_jax.data import records as reading
from textsr_jax.data.records import Record, Records, WithTexts
from textsr_jax.data.records import images as all_images
from textsr_jax.data.synthetic.generation import HR_SHAPE, LR_SHAPE
from textsr_jax.errors import UserError, needs
from textsr_jax.images import Array
from textsr_jax.runtime.batches import fill
from textsr_jax.text import ALPHANUMERIC, Alphabet

with needs("train"):
    import grain

# Each thread decodes whole batches ahead. More threads would only wait for the interpreter.
_READ_OPTIONS = grain.ReadOptions(num_threads=4, prefetch_buffer_size=8)

_logger = logging.getLogger(__name__)


class Batch(flax.struct.PyTreeNode):
    """Word image pairs with labels; a pytree.

    Attributes:
      lr: uint8 (batch, 16, 64, 3), RGB, or `NO_IMAGES`.
      hr: uint8 (batch, 32, 128, 3), RGB, or `NO_IMAGES`.
      characters: int32 (batch, max_length), as `text.Alphabet.encode` gives them.
      index: int32 (batch,), the place of each record among all, from 0.
      valid: bool (batch,), False for repeated records that only fill the batch.
      attention: float32 (batch, heads, steps, positions), where the text-focus recogniser looks in
        `hr`; None where it has not been computed.
      whole: int32 (whole batch, max_length), the characters of the whole batch if this batch is one
        of several equal parts of it, else None. A part takes its mean over these characters.

    The images of some stages lie on the devices. Their batches have `NO_IMAGES`, and the training
    step takes the images by `index`.
    """

    lr: Array
    hr: Array
    characters: Array
    index: Array
    valid: Array
    attention: Array | None = None
    whole: Array | None = None


# The images of a batch until the step takes them from the devices. It is None, for a pytree without
# leaves; the cast spares all other batches from being checked for it.
NO_IMAGES = cast(Array, None)


def shapes(batch_size: int, max_length: int, *, images: bool = True) -> Batch:
    """The shapes and dtypes of a batch, with its images or without."""
    lr, hr = (
        array_shape((batch_size, *shape), np.uint8) if images else NO_IMAGES
        for shape in (LR_SHAPE, HR_SHAPE)
    )
    return Batch(
        lr=lr,
        hr=hr,
        characters=array_shape((batch_size, max_length), np.int32),
        index=array_shape((batch_size,), np.int32),
        valid=array_shape((batch_size,), np.bool_),
    )


def array_shape(shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """A `jax.ShapeDtypeStruct`, with the type of the arrays for which it stands in a pytree."""
    return cast(Array, jax.ShapeDtypeStruct(shape, dtype))


def train_batches(
    records: Records,
    *,
    batch_size: int,
    max_length: int,
    seed: int,
    alphabet: Alphabet = ALPHANUMERIC,
    beside: Sequence[tuple[Records, float]] = (),
    attention: np.ndarray | None = None,
    images: bool = True,
    process_index: int = 0,
    process_count: int = 1,
    threads: int = _READ_OPTIONS.num_threads,
) -> grain.DatasetIterator:
    """Endless shuffled batches; the part of them that belongs to one process.

    The stream holds every record once per epoch, in a new order each time. Batches are cut from it
    and may span two epochs. Process p of n gets batches p, p + n, p + 2n, ... Thus n processes
    together see what one process with an n times larger batch sees. Records whose label does not
    fit are left out with a warning.

    Args:
      records: what to train on.
      batch_size: the number of records in a batch, on this process.
      max_length: the most characters in a label, and the width of `Batch.characters`.
      seed: a number from 0 to 2^32 - 1 for the order of records.
      alphabet: of the characters; a label's others are left out.
      beside: further records, and the part of all words that each gives, above 0 and together at
        most 1. Their labels fit, and they are always read with their images. `records` give the
        rest. Each of them has epochs of its own. In `Batch.index` they follow behind `records`.
      attention: float32 (len(records), heads, steps, positions), from which `Batch.attention` is
        taken by `index`; may be a memory-mapped array.
      images: whether batches hold their images; if not, they have `NO_IMAGES`, and no image is
        decoded.
      process_index: this process's number, from 0.
      process_count: the number of processes.
      threads: the number of threads that decode batches ahead; it changes no batch.

    Returns:
      An iterator over `Batch`; its `get_state` and `set_state` continue a run exactly.

    Raises:
      UserError: no record is left to train on.
    """
    streams: list[tuple[grain.MapDataset, float]] = []
    rest = round(1 - sum(part for _, part in beside), 9)
    if rest > 0:
        kept = _fitting(records, max_length, alphabet)
        streams.append((_shuffled(kept, seed), rest))
    start = len(records)
    for number, (others, part) in enumerate(beside, start=1):
        # Grain asks for places one by one, so that a range takes no memory.
        places = range(start, start + len(others))
        streams.append((_shuffled(places, (seed + number) % 2**32), part))
        start += len(others)
    sets, parts = zip(*streams, strict=True)
    dataset = sets[0] if len(sets) == 1 else grain.MapDataset.mix(sets, parts)
    if images:
        everything = Concatenated([records, *(others for others, _ in beside)])
        dataset = dataset.map(lambda index: (index, everything[int(index)]))
        collate = functools.partial(
            _collate, batch_size=batch_size, max_length=max_length, alphabet=alphabet
        )
    else:
        words = [alphabet.normalize(label)[:max_length] for label in reading.labels(records)]
        collate = functools.partial(_without_images, characters=alphabet.encode(words, max_length))
    dataset = dataset.batch(batch_size, drop_remainder=True, batch_fn=collate)
    if attention is not None:
        dataset = dataset.map(lambda batch: batch.replace(attention=attention[batch.index]))
    options = dataclasses.replace(_READ_OPTIONS, num_threads=threads)
    return iter(dataset[process_index::process_count].to_iter_dataset(options))


def _shuffled(places: Sequence[int] | np.ndarray, seed: int) -> grain.MapDataset:
    """Places without an end, each once per epoch, in a new order each time."""
    return grain.MapDataset.source(places).seed(seed).shuffle().repeat()


def _fitting(records: Records, max_length: int, alphabet: Alphabet) -> np.ndarray:
    """The places of the records whose label fits; a warning counts the others.

    Raises:
      UserError: there is none.
    """
    lengths = reading.lengths(records, alphabet)
    kept = np.flatnonzero(lengths <= max_length)
    if len(kept) < len(lengths):
        _, longest = reading.text(records, int(np.argmax(lengths)))
        _logger.warning(
            "left %d of %d records out of training: labels longer than %d characters, up to %r",
            len(lengths) - len(kept),
            len(lengths),
            max_length,
            alphabet.normalize(longest),
        )
    if not len(kept):
        raise UserError(
            f"training set: has no record with a label of at most {max_length} characters;"
            " give a data root with train folders"
        )
    return kept


def evaluation_batches(
    records: Records, *, batch_size: int, max_length: int, alphabet: Alphabet = ALPHANUMERIC
) -> grain.DatasetIterator:
    """All records once, in order; the last batch is filled by repeating its last record.

    The characters of labels longer than `max_length` are cut. Scoring takes the whole strings, of
    `data.records.labels`, by `Batch.index`.

    Returns:
      An iterator over `Batch`.
    """
    dataset = grain.MapDataset.source(range(len(records)))
    dataset = dataset.map(lambda index: (index, records[index]))
    collate = functools.partial(
        _collate, batch_size=batch_size, max_length=max_length, alphabet=alphabet
    )
    dataset = dataset.batch(batch_size, batch_fn=collate)
    return iter(dataset.to_iter_dataset(_READ_OPTIONS))


def _collate(
    pairs: Sequence[tuple[int, Record]], *, batch_size: int, max_length: int, alphabet: Alphabet
) -> Batch:
    words = [alphabet.normalize(record.label)[:max_length] for _, record in pairs]
    return Batch(
        lr=fill(np.stack([record.lr for _, record in pairs]), batch_size),
        hr=fill(np.stack([record.hr for _, record in pairs]), batch_size),
        characters=fill(alphabet.encode(words, max_length), batch_size),
        index=fill(np.array([index for index, _ in pairs], np.int32), batch_size),
        valid=np.arange(batch_size) < len(pairs),
    )


def _without_images(indices: Sequence[int], *, characters: np.ndarray) -> Batch:
    index = np.array(indices, np.int32)
    return Batch(
        lr=NO_IMAGES,
        hr=NO_IMAGES,
        characters=characters[index],
        index=index,
        valid=np.ones(len(index), np.bool_),
    )


class Subset(WithTexts):
    """The records with the given indices, in the given order."""

    def __init__(self, records: Records, indices: Sequence[int] | np.ndarray) -> None:
        self._records = records
        self._indices = np.asarray(indices, np.int64)

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Record:
        return self._records[int(self._indices[index])]

    def text(self, index: int) -> tuple[str, str]:
        return reading.text(self._records, int(self._indices[index]))

    def lengths(self, alphabet: Alphabet) -> np.ndarray:
        return reading.lengths(self._records, alphabet)[self._indices]

    def images(self, field: str) -> np.ndarray:
        return all_images(self._records, field)[self._indices]


class Concatenated(WithTexts):
    """The records of several sets, one set after the other."""

    def __init__(self, parts: Sequence[Records]) -> None:
        self._parts = list(parts)
        self._ends = list(itertools.accumulate(len(part) for part in self._parts))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> Record:
        part, place = self._place(index)
        return part[place]

    def _place(self, index: int) -> tuple[Records, int]:
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        place = bisect.bisect_right(self._ends, index)
        part = self._parts[place]
        return part, index - self._ends[place] + len(part)

    def text(self, index: int) -> tuple[str, str]:
        return reading.text(*self._place(index))

    @property
    def hashes(self) -> np.ndarray:
        empty = np.empty(0, np.uint64)
        return np.concatenate([empty, *(reading.hashes(part) for part in self._parts)])

    def lengths(self, alphabet: Alphabet) -> np.ndarray:
        empty = np.empty(0, np.uint16)
        return np.concatenate([empty, *(reading.lengths(part, alphabet) for part in self._parts)])

    def images(self, field: str) -> np.ndarray:
        return np.concatenate([all_images(part, field) for part in self._parts])


class Replaced(WithTexts):
    """Records with other HR images, such as super-resolved ones.

    Args:
      records: N records.
      images: uint8 (N, 32, 128, 3), RGB; may be a memory-mapped array.

    Raises:
      ValueError: `images` has another shape or type.
    """

    def __init__(self, records: Records, images: np.ndarray) -> None:
        shape = (len(records), *HR_SHAPE)
        if images.shape != shape or images.dtype != np.uint8:
            raise ValueError(f"expected uint8 {shape}, got {images.dtype} {images.shape}")
        self._records = records
        self._images = images

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Record:
        return dataclasses.replace(self._records[index], hr=self._images[index])

    def images(self, field: str) -> np.ndarray:
        return self._images if field == "hr" else all_images(self._records, field)

    def text(self, index: int) -> tuple[str, str]:
        return reading.text(self._records, index)

    def lengths(self, alphabet: Alphabet) -> np.ndarray:
        return reading.lengths(self._records, alphabet)
