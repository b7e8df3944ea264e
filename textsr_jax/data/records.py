"""A word image pair with its label: the record, its TFDS features, and reading prepared sets.

Both TFDS builders, `textzoom` and `synthetic_words`, share this file. It needs no TensorFlow.
"""

import contextlib
import dataclasses
import errno
import fcntl
import functools
import io
import logging
import os
import pathlib
import re
import shutil
from collections.abc import Iterable, Iterator
from typing import BinaryIO, Protocol, TypedDict

import numpy as np
from absl import logging as absl_logging
from tqdm import tqdm

from textsr_jax.data import png, record_index
from textsr_jax.data.processes import Processes
from textsr_jax.data.shards import Shards
from textsr_jax.data.synthetic.generation import HR_SHAPE, LR_SHAPE, EncodedPair
from textsr_jax.errors import UserError, needs
from textsr_jax.text import Alphabet

with needs("train"):
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core import constants, example_serializer

# Child processes work on the images of sets of this size or larger.
_MANY = 20_000
_CHUNK = 256  # images that go to a process at once
_SHAPES = {"lr": LR_SHAPE, "hr": HR_SHAPE}

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Record:
    """A word at both resolutions.

    Attributes:
      key: names the record in its data set, e.g. "test/easy:17", counted from 1.
      lr: uint8 (16, 64, 3), RGB.
      hr: uint8 (32, 128, 3), RGB.
      label: the word as written, with case and punctuation.
    """

    key: str
    lr: np.ndarray
    hr: np.ndarray
    label: str


# The error codes of a full disk, a used-up quota, and a file at its limit.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Records(Protocol):
    """Random access to records, as Grain reads them. A list of records is one.

    A class may also have `keys`, `labels`, `hashes`, `lengths`, `text` and `images`, which the
    functions of these names use.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Record: ...


class Example(TypedDict):
    """A record as a builder yields it, with its images as PNG files."""

    key: str
    label: str
    lr: BinaryIO
    hr: BinaryIO


def labels(records: Records) -> list[str]:
    """The labels of all records in order, without decoding images where that is possible."""
    if hasattr(records, "labels"):
        return list(records.labels)
    return [records[index].label for index in range(len(records))]


def keys(records: Records) -> list[str]:
    """The keys of all records in order, without decoding images where that is possible."""
    if hasattr(records, "keys"):
        return list(records.keys)
    return [records[index].key for index in range(len(records))]


def text(records: Records, index: int) -> tuple[str, str]:
    """The key and the label of a record, without decoding images where that is possible."""
    if hasattr(records, "text"):
        return records.text(index)
    return records[index].key, records[index].label


def hashes(records: Records) -> np.ndarray:
    """Numbers that order records as the SHA-256 of their keys does: uint64 (len,).

    No record is read where that is possible.
    """
    if hasattr(records, "hashes"):
        return records.hashes
    return np.array([record_index.key_hash(key) for key in keys(records)], np.uint64)


def lengths(records: Records, alphabet: Alphabet) -> np.ndarray:
    """How many characters of each label are in an alphabet, at most 65535: integers (len,).

    No record is read where that is possible.
    """
    if hasattr(records, "lengths"):
        return records.lengths(alphabet)
    found = (record_index.label_length(label, alphabet) for label in labels(records))
    return np.fromiter(found, np.uint16)


class WithTexts:
    """Records whose keys and labels can be had one by one, without decoding images."""

    def __len__(self) -> int:
        raise NotImplementedError

    def text(self, index: int) -> tuple[str, str]:
        """The key and the label of a record."""
        raise NotImplementedError

    @functools.cached_property
    def _texts(self) -> tuple[list[str], list[str]]:
        texts = [self.text(index) for index in range(len(self))]
        return [key for key, _ in texts], [label for _, label in texts]

    @property
    def keys(self) -> list[str]:
        """All keys, read once without decoding images."""
        return self._texts[0]

    @property
    def labels(self) -> list[str]:
        """All labels, read once without decoding images."""
        return self._texts[1]


def images(records: Records, field: str) -> np.ndarray:
    """The `lr` or `hr` images of all records in order: uint8 (len, height, width, 3).

    Nothing else is decoded where that is possible.
    """
    if hasattr(records, "images"):
        return records.images(field)
    return np.stack([getattr(records[index], field) for index in range(len(records))])


def process_count(records: int) -> int:
    """How many processes work on the images of so many records: one per core if there are many."""
    return (os.cpu_count() or 1) if records >= _MANY else 1


def features() -> tfds.features.FeaturesDict:
    """The TFDS features of a record: `key`, `label`, and `lr` and `hr` as PNG images."""
    return tfds.features.FeaturesDict(
        {
            "key": tfds.features.Text(),
            "label": tfds.features.Text(),
            "lr": tfds.features.Image(shape=LR_SHAPE, encoding_format="png"),
            "hr": tfds.features.Image(shape=HR_SHAPE, encoding_format="png"),
        }
    )


def example(key: str, pair: EncodedPair) -> Example:
    """A record as a builder yields it. TFDS without TensorFlow needs encoded images."""
    return {"key": key, "label": pair.label, "lr": io.BytesIO(pair.lr), "hr": io.BytesIO(pair.hr)}


class LocalInfo(tfds.core.DatasetInfo):
    """What TFDS keeps of a data set of `LocalBuilder`."""

    def initialize_from_bucket(self) -> None:
        """Does nothing: what is made here is in no bucket.

        TFDS looks there for each set that is not prepared yet, and leaves an empty folder in the
        machine's folder for temporary files (tensorflow_datasets 4.9.10).
        """


# TFDS has no types, so mypy does not know what its classes take.
class LocalBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """The base of our TFDS builders: local data, no downloads, ArrayRecord files.

    `_info` returns a `LocalInfo`.
    """

    # Without this, TFDS looks for a file of download checksums.
    url_infos = None

    def __init__(self, *, data_dir: str | os.PathLike[str] | None = None, **kwargs: object) -> None:
        if data_dir is not None:
            data_dir = os.path.expanduser(data_dir)
        with _quiet():
            super().__init__(data_dir=data_dir, file_format="array_record", **kwargs)

    # TFDS's `GeneratorBasedBuilder` does the same with a writer that waits for all examples.
    def _download_and_prepare(self, dl_manager: object, download_config: object) -> None:
        """Writes the examples of all splits as they are generated; a split without any is none."""
        del download_config
        splits = [self._written(*split) for split in self._split_generators(dl_manager).items()]
        self.info.set_splits(tfds.core.SplitDict([split for split in splits if split is not None]))

    def _written(
        self, split: str, examples: Iterable[tuple[int, Example]]
    ) -> tfds.core.SplitInfo | None:
        features = self.info.features
        serializer = example_serializer.ExampleSerializer(features.get_serialized_info())
        place = self._get_filename_template(split_name=split)
        shards, index = Shards(place), record_index.Index()
        has_words = {"key", "label"} <= set(features.keys())  # photographs have none
        for _, fields in examples:
            shards.add(serializer.serialize_example(features.encode_example(fields)))
            if has_words:
                index.add(fields["key"], fields["label"])
        shards.finish()
        if not shards.lengths:
            return None
        if has_words:
            index.save(pathlib.Path(place.data_dir), split)
        return tfds.core.SplitInfo(
            name=split,
            shard_lengths=shards.lengths,
            num_bytes=shards.size,
            filename_template=place,
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps TFDS from printing progress, and warnings that our users cannot act on."""
    verbosity = absl_logging.get_verbosity()
    absl_logging.set_verbosity(absl_logging.ERROR)
    tfds.display_progress_bar(enable=False)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        absl_logging.set_verbosity(verbosity)


def prepare(builder: LocalBuilder) -> None:
    """Writes `builder`'s data set as ArrayRecord files, unless that is done already.

    TFDS writes into a temporary folder and renames it at the end, so that a half-prepared set is
    never taken for a whole one. Several processes may prepare the same set at once. The remains of
    killed processes are deleted, unless another process prepares the set now.

    Raises:
      UserError: the data folder cannot be written, its disk is full, or the prepared set is
        damaged.
    """
    path = builder.data_path
    if not path.exists():
        _logger.info("preparing %s in %s", builder.name, path)
        try:
            with _preparing(pathlib.Path(path.parent)), _quiet():
                builder.download_and_prepare()
        except (OSError, RuntimeError) as error:
            reason = _refusal(error)
            if reason is None:
                raise
            # If another process was faster, the renaming fails, and its copy is used.
            if not path.exists():
                full = any(os.strerror(code) in reason for code in _FULL)
                raise UserError(
                    f"{builder.data_dir_root}: cannot write the prepared {builder.name} data"
                    f" ({reason}); {'free some space, or ' * full}set config.data.data_dir to a "
                    "folder that can be written"
                ) from error
    try:
        with _quiet():
            builder.info.read_from_directory(builder.data_dir)
        whole = all(f.exists() for split in builder.info.splits.values() for f in split.filepaths)
    except (OSError, ValueError):
        whole = False
    if not whole:
        raise UserError(f"{path}: the prepared data are damaged; delete this folder and try again")


@contextlib.contextmanager
def _preparing(folder: pathlib.Path) -> Iterator[None]:
    """Holds a shared lock on the folder; a process that is alone in it deletes remains first."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        # Some network file systems have no locks. Remains stay there.
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for left in folder.glob(f"{constants.INCOMPLETE_PREFIX}*"):
                shutil.rmtree(left, ignore_errors=True)
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_SH)
        yield
    finally:
        os.close(handle)


def _refusal(error: OSError | RuntimeError) -> str | None:
    """Why the system refused to write, or None if `error` is about something else."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    # ArrayRecord's writer: "... write() failed: No space left on device; writing ...".
    found = re.search(r"\w\(\) failed: ([^;]+)", str(error))
    return found[1] if found else None


class TfdsRecords(WithTexts):
    """The records of a split of a prepared builder, decoded by Pillow when asked for.

    Args:
      builder: a builder with the features of `features()`, prepared by `prepare`.
      split: a split, or several joined by "+".
    """

    def __init__(self, builder: tfds.core.DatasetBuilder, split: str) -> None:
        # TFDS would decode by OpenCV where that is installed, and warn where it is not.
        raw = tfds.decode.SkipDecoding()
        self._examples = builder.as_data_source(split, decoders={"lr": raw, "hr": raw})
        self._name, self._split = f"{builder.name}/{split}", split
        self._folder = pathlib.Path(builder.data_path)

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> Record:
        fields = self._examples[index]
        return Record(
            key=fields["key"].decode(),
            lr=png.from_bytes(fields["lr"]),
            hr=png.from_bytes(fields["hr"]),
            label=fields["label"].decode(),
        )

    def __repr__(self) -> str:
        return f"TfdsRecords({self._name})"

    def text(self, index: int) -> tuple[str, str]:
        fields = self._examples[index]
        return fields["key"].decode(), fields["label"].decode()

    @functools.cached_property
    def _rows(self) -> np.ndarray:
        texts = (self.text(index) for index in range(len(self)))
        return record_index.rows(self._folder, self._split, len(self), texts)

    @property
    def hashes(self) -> np.ndarray:
        """As the function `hashes`; from a file."""
        return self._rows["hash"].astype(np.uint64)

    def lengths(self, alphabet: Alphabet) -> np.ndarray:
        """As the function `lengths`; from a file."""
        return self._rows[alphabet.name]

    def images(self, field: str) -> np.ndarray:
        """As the function `images`; many images are decoded by one process per core."""
        made = np.empty((len(self), *_SHAPES[field]), np.uint8)
        bar = tqdm(total=len(self), desc=f"reading {field}", unit="word", leave=False, disable=None)
        starts = range(0, len(self), _CHUNK)
        files = ((self._files(field, start),) for start in starts)
        with bar, Processes(process_count(len(self))) as processes:
            decoded = processes.map(png.all_from_bytes, files, "decoded images")
            for start, images in zip(starts, decoded, strict=True):
                made[start : start + len(images)] = images
                bar.update(len(images))
        return made

    def _files(self, field: str, start: int) -> list[bytes]:
        numbers = range(start, min(start + _CHUNK, len(self)))
        return [fields[field] for fields in self._examples.__getitems__(numbers)]
