"""Photographs for stage 0 and for evaluation: a folder of images, or TFDS's prepared `div2k`.

Training crops are a pure function of (source, seed, step), which makes resuming exact.
"""

import contextlib
import functools
import hashlib
import math
import os
import pathlib
import threading
from collections.abc import Iterator, Sequence
from typing import Protocol

import flax
import numpy as np

from textsr_jax.data.batching import array_shape
from textsr_jax.errors import UserError, needs
from textsr_jax.images import FORMATS, SUFFIXES, Array, decode_rgb, image_size, open_rgb
from textsr_jax.runtime.batches import fill

with needs("train"):
    import grain
    import tensorflow_datasets as tfds

# Each crop decodes a whole photograph. Pillow lets other threads run meanwhile.
_READ_OPTIONS = grain.ReadOptions(num_threads=16, prefetch_buffer_size=16)
# Larger images are decoded one at a time, so that all threads together need at most 1 GB for them.
# The images of DIV2K have 3 million pixels.
_LARGE = 8_000_000


class Crops(flax.struct.PyTreeNode):
    """Square parts of photographs; a pytree.

    Attributes:
      hr: uint8 (batch, crop, crop, 3), RGB.
      index: int32 (batch,), the place of each photograph among all, from 0.
      valid: bool (batch,), False for repeated crops that only fill the batch.
    """

    hr: Array
    index: Array
    valid: Array


def shapes(batch_size: int, crop: int) -> Crops:
    """The shapes and dtypes of a batch of crops."""
    return Crops(
        hr=array_shape((batch_size, crop, crop, 3), np.uint8),
        index=array_shape((batch_size,), np.int32),
        valid=array_shape((batch_size,), np.bool_),
    )


class Photographs(Protocol):
    """Random access to photographs, uint8 (height, width, 3), RGB."""

    @property
    def keys(self) -> list[str]:
        """A name for each photograph."""
        ...

    @property
    def fingerprint(self) -> str:
        """A digest of the photographs, in 16 hexadecimal digits; their place does not matter."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> np.ndarray: ...


class PhotographFolder:
    """The image files of a folder, sorted by name, without its subfolders; decoded when asked for.

    The constructor reads the sizes in the files' headers. Unusable files are thus found before a
    training begins, not in its first epoch. Large images are decoded one at a time, by whichever
    thread asks first.

    Attributes:
      left_out: the fault of each unusable file: it is too small, too large or no image.

    Args:
      folder: holds the files; hidden files and those without one of `SUFFIXES` are passed over.
      smallest: the least width and height of an image, in pixels.

    Raises:
      UserError: there is no such folder, or no usable image in it.
    """

    def __init__(self, folder: str | os.PathLike[str], smallest: int) -> None:
        self.folder = pathlib.Path(folder).expanduser()
        if not self.folder.is_dir():
            raise UserError(f"{folder}: no such folder; name one of images, such as DIV2K_train_HR")
        self._paths = sorted(
            path
            for path in self.folder.iterdir()
            if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
        )
        if not self._paths:
            raise UserError(
                f"{folder}: has no images ({', '.join(FORMATS)}); name a folder of them, such as "
                "DIV2K_train_HR"
            )
        self._sizes: dict[pathlib.Path, tuple[int, int]] = {}
        self.left_out: list[str] = []
        for path in self._paths:
            try:
                self._sizes[path] = image_size(path)
                _check_size(str(path), self._sizes[path], smallest)
            except UserError as error:
                self._sizes.pop(path, None)
                self.left_out.append(str(error))
        if not self._sizes:
            raise UserError(f"{folder}: holds no usable image, first: {self.left_out[0]}")
        self._paths = list(self._sizes)
        self._one_at_a_time = threading.Lock()

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> np.ndarray:
        path = self._paths[index]
        large = math.prod(self._sizes[path]) > _LARGE
        with self._one_at_a_time if large else contextlib.nullcontext():
            return open_rgb(path)

    @property
    def keys(self) -> list[str]:
        """The files' names."""
        return [path.name for path in self._paths]

    @functools.cached_property
    def fingerprint(self) -> str:
        """A digest of the files' names and content; takes some seconds for DIV2K."""
        digest = hashlib.sha256()
        for path in self._paths:
            digest.update(os.fsencode(path.name) + b"\0")
            try:
                with path.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
            except OSError as error:
                raise UserError(
                    f"{path}: cannot read it ({error.strerror}); replace or remove it"
                ) from error
        return digest.hexdigest()[:16]


class PreparedDiv2k:
    """The HR images of a split of TFDS's `div2k`, which the user has prepared.

    The HR images are the same in all of its configurations.

    Args:
      split: "train" or "validation".
      data_dir: TFDS's data folder; None for TFDS's default.

    Raises:
      UserError: the set is not there, or its files do not allow random access.
    """

    def __init__(self, split: str, data_dir: str | os.PathLike[str] | None = None) -> None:
        root = pathlib.Path(data_dir or tfds.core.constants.DATA_DIR).expanduser() / "div2k"
        found = sorted(root.glob("*/*/dataset_info.json"))
        fix = "prepare it there (tfds build div2k --file_format=array_record)"
        if not found:
            raise UserError(
                f"{root}: holds no prepared div2k; {fix}, or name the folder of DIV2K_train_HR in "
                "config.photographs.train"
            )
        builder = tfds.builder_from_directory(str(found[0].parent))
        if builder.info.file_format is not tfds.core.FileFormat.ARRAY_RECORD:
            raise UserError(
                f"{found[0].parent}: is kept as {builder.info.file_format.value}, which does not "
                f"allow random access; {fix}"
            )
        if split not in builder.info.splits:
            raise UserError(f"{found[0].parent}: has no split {split!r}; {fix}")
        raw = tfds.decode.SkipDecoding()
        self._examples = builder.as_data_source(split, decoders={"lr": raw, "hr": raw})
        self._name = f"div2k/{split}"
        prepared = builder.info.splits[split]
        state = f"{builder.info.full_name} {split} {prepared.shard_lengths} {prepared.num_bytes}"
        self._fingerprint = hashlib.sha256(state.encode()).hexdigest()[:16]

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> np.ndarray:
        return decode_rgb(self._examples[index]["hr"], f"{self._name}:{index}")

    @property
    def keys(self) -> list[str]:
        """The split and each image's number in it, from 0; the set keeps no file names."""
        return [f"{self._name}:{index}" for index in range(len(self))]

    @property
    def fingerprint(self) -> str:
        """A digest of the set's version, the split and its sizes."""
        return self._fingerprint


class Chosen:
    """The photographs with the given indices, in the given order."""

    def __init__(self, photographs: Photographs, indices: Sequence[int]) -> None:
        self._photographs, self._indices = photographs, list(indices)

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> np.ndarray:
        return self._photographs[self._indices[index]]

    @property
    def keys(self) -> list[str]:
        keys = self._photographs.keys
        return [keys[index] for index in self._indices]

    @property
    def fingerprint(self) -> str:
        state = f"{self._photographs.fingerprint} {self._indices}"
        return hashlib.sha256(state.encode()).hexdigest()[:16]


def random_crops(
    photographs: Photographs,
    *,
    batch_size: int,
    crop: int,
    seed: int,
    turn: bool,
    process_index: int = 0,
    process_count: int = 1,
) -> grain.DatasetIterator:
    """Endless batches of random crops; the part of them that belongs to one process.

    Every photograph gives one crop per epoch, in a new order each time. Processes share the batches
    as in `batching.train_batches`.

    Args:
      photographs: what to train on.
      batch_size: the number of crops in a batch, on this process.
      crop: the side of a crop, in pixels.
      seed: a number from 0 to 2^32 - 1 for the order, the places and the turns.
      turn: whether crops are also flipped and turned by multiples of 90 degrees, in all eight ways.
      process_index: this process's number, from 0.
      process_count: the number of processes.

    Returns:
      An iterator over `Crops`; its `get_state` and `set_state` continue a run exactly. Reading
      raises a `UserError` where a photograph is damaged or smaller than a crop.
    """
    keys = photographs.keys
    dataset = grain.MapDataset.source(range(len(photographs))).seed(seed).shuffle().repeat()

    def cut(index: int, rng: np.random.Generator) -> tuple[int, np.ndarray]:
        image = photographs[index]
        height, width = image.shape[:2]
        _check_size(keys[index], (width, height), crop)
        top, left = rng.integers(height - crop + 1), rng.integers(width - crop + 1)
        part = image[top : top + crop, left : left + crop]
        if turn:
            part = np.rot90(part, int(rng.integers(4)))
            part = part[:, ::-1] if rng.integers(2) else part
        # A copy, since a view would keep the whole photograph until the batch is made.
        return index, part.copy()

    dataset = dataset.random_map(cut).batch(batch_size, drop_remainder=True, batch_fn=_collate)
    return iter(dataset[process_index::process_count].to_iter_dataset(_READ_OPTIONS))


def central_crops(photographs: Photographs, *, batch_size: int, crop: int) -> Iterator[Crops]:
    """The middle of every photograph once, in order; the last batch is filled with its last crop.

    Raises:
      UserError: a photograph is damaged or smaller than a crop.
    """
    for start in range(0, len(photographs), batch_size):
        pairs = []
        for index in range(start, min(start + batch_size, len(photographs))):
            image = photographs[index]
            height, width = image.shape[:2]
            _check_size(photographs.keys[index], (width, height), crop)
            top, left = (height - crop) // 2, (width - crop) // 2
            pairs.append((index, image[top : top + crop, left : left + crop].copy()))
        crops = _collate(pairs)
        yield Crops(
            hr=fill(np.asarray(crops.hr), batch_size),
            index=fill(np.asarray(crops.index), batch_size),
            valid=np.arange(batch_size) < len(pairs),
        )


def _collate(pairs: Sequence[tuple[int, np.ndarray]]) -> Crops:
    return Crops(
        hr=np.stack([part for _, part in pairs]),
        index=np.array([index for index, _ in pairs], np.int32),
        valid=np.ones(len(pairs), bool),
    )


def _check_size(name: str, size: tuple[int, int], smallest: int) -> None:
    if min(size) < smallest:
        raise UserError(
            f"{name}: is {size[0]}x{size[1]}; each side needs at least {smallest} pixels; remove it"
        )
