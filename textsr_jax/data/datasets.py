"""Opens the data set that a config asks for, or counts its records without opening it."""

from __future__ import annotations

import dataclasses
import logging
import pathlib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from textsr_jax.config import word_sources
from textsr_jax.config.settings import Data, PhotographSettings, Synthetic
from textsr_jax.errors import UserError, require
from textsr_jax.text import Alphabet

# The processes that draw words import this file too and have no use for JAX and TFDS. Each function
# imports what it needs.
if TYPE_CHECKING:
    from textsr_jax.data.lmdb_words import LmdbWords
    from textsr_jax.data.photograph_folders import Photographs
    from textsr_jax.data.records import Record, Records

_TEST_ORDER = ("easy", "medium", "hard")

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class WordPairs:
    """A data set of word image pairs, ready to be batched.

    Attributes:
      title: the data root's name, or "synthetic words".
      fingerprint: a digest of everything that was read, in 16 hexadecimal digits. It does not
        depend on where the data lie.
      training: a digest likewise, of the records of `train` and `validation_splits`.
      train: training records; empty where the data root has no train folder.
      validation_splits: records held out from training, by the train folder that they come from;
        or "synthetic". A folder without such records has no entry.
      test: the test sets by name: easy, medium, hard, then any others. A test set without usable
        records is empty.
      skipped: the number of records left out, by folder and reason.
    """

    title: str
    fingerprint: str
    training: str
    train: Records
    validation_splits: Mapping[str, Records]
    test: Mapping[str, Records]
    skipped: dict[str, dict[str, int]]

    @property
    def validation(self) -> Records:
        """All records held out from training."""
        from textsr_jax.data.batching import Concatenated

        return Concatenated(list(self.validation_splits.values()))


class _Counted:
    """Records of which only the number is known."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Record:
        raise TypeError(f"record {index} was counted only; open the data set to read it")


def load(config: Data) -> WordPairs:
    """Opens the data set that `config` asks for, and prepares it first where that is not done yet.

    Args:
      config: has the fields
        root: a folder of TextZoom's LMDB folders; "" for synthetic words.
        data_dir: where TFDS keeps prepared data; "" for its default.
        labels: how labels are read, one of `text.LABELS`; see `TextZoom`.
        validation_fraction: the part of the training records that is held out, from 0 to below 1,
          as a validation split for each train folder. A hash of the key chooses the records, so
          they stay the same. Synthetic words have a validation split of their own.
        synthetic: arguments of `SyntheticWords`.

    Raises:
      UserError: bad input, or `data_dir` cannot be written.
    """
    # If Grain is missing, that is said before words are drawn.
    require("grain", "train")
    data_dir = config.data_dir or None
    if config.root:
        return _textzoom(config.root, data_dir, config.labels, config.validation_fraction)
    return _synthetic(data_dir, config.synthetic)


def count(config: Data) -> WordPairs:
    """Counts the data set that `load` would prepare, without drawing, decoding or writing anything.

    Args:
      config: as for `load`.

    Returns:
      A data set without fingerprints, whose records have a length and cannot be read. The counts
      of a data root are those of its LMDBs; `load` may leave out some of the records.

    Raises:
      UserError: bad input.
    """
    from textsr_jax.data import lmdb_folders, textzoom
    from textsr_jax.data.synthetic import generation

    if not config.root:
        fields = {name: value for name, value in config.synthetic.items() if name != "workers"}
        settings = generation.GeneratorSettings(**fields)
        return WordPairs(
            title=title(""),
            fingerprint="",
            training="",
            train=_Counted(settings.size("train")),
            validation_splits={"synthetic": _Counted(settings.size("validation"))},
            test={name: _Counted(settings.size(f"test_{name}")) for name in _TEST_ORDER},
            skipped={},
        )
    root, sizes = pathlib.Path(config.root).expanduser(), {}
    for folder in textzoom.folders(root):
        with lmdb_folders.open_samples(root / folder, "expected TextZoom's LMDBs") as samples:
            sizes[folder] = len(samples.numbers)
    test = {name: size for name, size in sizes.items() if name.startswith("test/")}
    words = sum(size for name, size in sizes.items() if name not in test)
    held_out = round(config.validation_fraction * words)
    return WordPairs(
        title=title(config.root),
        fingerprint="",
        training="",
        train=_Counted(words - held_out),
        validation_splits={"train": _Counted(held_out)},
        test={name.removeprefix("test/"): _Counted(size) for name, size in test.items()},
        skipped={},
    )


def title(root: str) -> str:
    """The name of the data set of `config.data.root`, for titles and files of results.

    It is the folder's own name, without characters that file names should not have.
    """
    if not root:
        return "synthetic words"
    return re.sub(r"[^\w.-]+", "_", pathlib.Path(root).expanduser().resolve().name) or "data"


def load_words(config: Data, alphabet: Alphabet, max_length: int) -> list[tuple[LmdbWords, float]]:
    """The LMDBs of `config.words`, and the part of all words that each gives, above 0.

    Args:
      config: has the fields `words` and `labels`; see `word_sources` and `LmdbWords`.
      alphabet: of the characters that are trained on.
      max_length: the most characters of a label.

    Raises:
      UserError: there is no such LMDB, or it cannot be used.
    """
    from textsr_jax.data.lmdb_words import LmdbWords

    return [
        (LmdbWords(path, labels=config.labels, alphabet=alphabet, max_length=max_length), part)
        for path, part in word_sources.parts(config.words)
    ]


def load_photographs(
    config: PhotographSettings, data_dir: str, smallest: int
) -> tuple[Photographs, Photographs]:
    """The photographs of stage 0: those for training, and those that choose its checkpoint.

    Unusable files are left out with a warning.

    Args:
      config: has the fields
        train: a folder of images, or "tfds:div2k" for TFDS's prepared set.
        validation: another folder. "" takes the validation split of a TFDS set, or holds out a
          part of the folder `train`.
        validation_fraction: that part, above 0 and below 1; a hash of the files' names chooses.
      data_dir: where TFDS keeps prepared data; "" for its default.
      smallest: the least width and height of an image, in pixels.

    Raises:
      UserError: bad input.
    """
    from textsr_jax.data import photograph_folders, record_index

    def opened(field: str, split: str) -> Photographs:
        if config[field] == "tfds:div2k":
            return photograph_folders.PreparedDiv2k(split, data_dir or None)
        if not config[field]:
            raise UserError(
                f"config.photographs.{field} is empty; name a folder of images, such as "
                "DIV2K_train_HR, or tfds:div2k"
            )
        folder = photograph_folders.PhotographFolder(config[field], smallest)
        if folder.left_out:
            _logger.warning(
                "%s: left out %d of %d images, first: %s",
                config[field],
                len(folder.left_out),
                len(folder.left_out) + len(folder),
                folder.left_out[0],
            )
        return folder

    train = opened("train", "train")
    if config.validation:
        return train, opened("validation", "validation")
    if config.train == "tfds:div2k":
        return train, opened("train", "validation")
    fraction = config.validation_fraction
    if not 0 < fraction < 1:
        raise UserError(
            f"config.photographs.validation_fraction={fraction}: must be above 0 and below 1; or "
            "name a folder in config.photographs.validation"
        )
    hashes = np.array([record_index.key_hash(key) for key in train.keys], np.uint64)
    chosen = _held_out(hashes, fraction)
    kept, held_out = np.flatnonzero(~chosen).tolist(), np.flatnonzero(chosen).tolist()
    if not kept or not held_out:
        raise UserError(
            f"{config.train}: {len(held_out)} of {len(train)} images would be for validation; set "
            "config.photographs.validation_fraction so that training and validation have some"
        )
    return photograph_folders.Chosen(train, kept), photograph_folders.Chosen(train, held_out)


def _synthetic(data_dir: str | None, settings: Synthetic) -> WordPairs:
    from textsr_jax.data import records
    from textsr_jax.data.synthetic import words as synthetic_words

    builder = synthetic_words.SyntheticWords(data_dir=data_dir, **dict(settings))
    records.prepare(builder)
    # Settings, fonts and the generator's version decide every bit of the words.
    fingerprint = builder.builder_config.name
    return WordPairs(
        title=title(""),
        fingerprint=fingerprint,
        training=fingerprint,
        train=records.TfdsRecords(builder, "train"),
        validation_splits={"synthetic": records.TfdsRecords(builder, "validation")},
        test={name: records.TfdsRecords(builder, f"test_{name}") for name in _TEST_ORDER},
        skipped={},
    )


def _textzoom(
    root: str, data_dir: str | None, labels: str, validation_fraction: float
) -> WordPairs:
    from textsr_jax.data import batching, records, textzoom

    builder = textzoom.load(root, data_dir, labels)
    train: dict[str, Records] = {}
    test: dict[str, Records] = {}
    for folder, split in builder.splits.items():
        if folder.startswith("test/"):
            # A test set that lost every record stays as an empty one, which the evaluation refuses.
            found: Records = records.TfdsRecords(builder, split) if split else []
            test[folder.removeprefix("test/")] = found
        elif split:
            train[folder] = records.TfdsRecords(builder, split)
    together = batching.Concatenated(list(train.values()))
    chosen = _held_out(records.hashes(together), validation_fraction)
    kept = np.flatnonzero(~chosen)
    validation, start = {}, 0
    for folder, found in train.items():
        own = np.flatnonzero(chosen[start : start + len(found)])
        start += len(found)
        if len(own):
            validation[folder] = batching.Subset(found, own)
    order = {name: place for place, name in enumerate(_TEST_ORDER)}
    fingerprint = builder.fingerprint()
    return WordPairs(
        title=title(root),
        fingerprint=fingerprint,
        training=builder.fingerprint("train"),
        train=batching.Subset(together, kept),
        validation_splits=validation,
        test=dict(sorted(test.items(), key=lambda item: order.get(item[0], len(order)))),
        skipped=builder.skipped,
    )


def _held_out(hashes: np.ndarray, fraction: float) -> np.ndarray:
    """Whether each record is in the part `fraction` of them with the smallest hashes: bool."""
    chosen = np.zeros(len(hashes), bool)
    count = round(fraction * len(hashes))
    if count:
        chosen[np.argpartition(hashes, count - 1)[:count]] = True
    return chosen
