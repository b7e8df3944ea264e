"""The data room's door: `load` turns a config into sources for training, validation and tests.

A data root is read as TextZoom's LMDB folders; without one, words are synthesised. Stage 0 learns
from photographs: `load_photographs`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import pathlib
import re
from typing import TYPE_CHECKING

from textsr_jax.errors import UserError

# The processes that draw words import this package too, so it must not bring JAX and TFDS along;
# the functions below import what they need.
if TYPE_CHECKING:
    import ml_collections

    from textsr_jax.data.photograph_folders import Photographs
    from textsr_jax.data.records import Source

_TEST_ORDER = ("easy", "medium", "hard")

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class WordPairs:
    """A data set of word image pairs, ready to be batched.

    Attributes:
      title: what people call it: the data root's name, or "synthetic words".
      fingerprint: of all that was read, wherever it lies: 16 hexadecimal digits.
      training: likewise of what `train` and `validation_splits` are cut from.
      train: training records; empty where the data root has no train folder.
      validation_splits: records held out from training, by the train folder that they were cut
        from, each that has some; or "synthetic".
      test: the test sets by name: easy, medium, hard, then any others; one whose records are all
        unusable is empty.
      skipped: of each folder how many records were left out, by reason.
    """

    title: str
    fingerprint: str
    training: str
    train: Source
    validation_splits: dict[str, Source]
    test: dict[str, Source]
    skipped: dict[str, dict[str, int]]

    @property
    def validation(self) -> Source:
        """All records held out from training."""
        from textsr_jax.data.batching import Concatenated

        return Concatenated(list(self.validation_splits.values()))


def load(config: ml_collections.ConfigDict) -> WordPairs:
    """Prepares the data set that `config` asks for, where that is not done, and opens it.

    Args:
      config: has the fields
        root: a folder of TextZoom's LMDB folders; "" for synthetic words.
        data_dir: where TFDS keeps prepared data; "" for its default.
        labels: how labels are read, one of `text.LABELS`; see `TextZoom`.
        validation_fraction: the part of the training records, from 0 to below 1, that is held out,
          a validation split for each train folder. A hash of the key chooses them, so they stay the
          same. Synthetic words have a validation split of their own.
        synthetic: arguments of `SyntheticWords`.

    Raises:
      UserError: bad input, or `data_dir` cannot be written.
    """
    data_dir = config.data_dir or None
    if config.root:
        # Configs of older workdirs and packed files do not have it.
        labels = config.get("labels", "strip")
        return _textzoom(config.root, data_dir, labels, config.validation_fraction)
    return _synthetic(data_dir, config.synthetic)


def count(config: ml_collections.ConfigDict) -> WordPairs:
    """The sizes of the data set that `load` would prepare; nothing is drawn, decoded or written.

    Args:
      config: as of `load`.

    Returns:
      Pairs without fingerprints, whose sources have a length and no records: of a data root that
      of its LMDBs, some of whose records `load` may leave out.

    Raises:
      UserError: bad input.
    """
    from textsr_jax.data import lmdb_folders, textzoom
    from textsr_jax.data.synthetic import generation

    if not config.root:
        fields = {name: value for name, value in config.synthetic.items() if name != "workers"}
        settings = generation.Settings(**fields)
        return WordPairs(
            title=title(""),
            fingerprint="",
            training="",
            train=range(settings.size("train")),
            validation_splits={"synthetic": range(settings.size("validation"))},
            test={name: range(settings.size(f"test_{name}")) for name in _TEST_ORDER},
            skipped={},
        )
    _check_fraction(config.validation_fraction)
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
        train=range(words - held_out),
        validation_splits={"train": range(held_out)},
        test={name.removeprefix("test/"): range(size) for name, size in test.items()},
        skipped={},
    )


def title(root: str) -> str:
    """What people call the data set of `config.data.root`, for titles and files of results.

    Of a folder its own name, of characters that do no harm there.
    """
    if not root:
        return "synthetic words"
    return re.sub(r"[^\w.-]+", "_", pathlib.Path(root).expanduser().resolve().name) or "data"


def load_photographs(
    config: ml_collections.ConfigDict, data_dir: str, smallest: int
) -> tuple[Photographs, Photographs]:
    """The photographs of stage 0: those it is trained on, and those that choose its checkpoint.

    Files that will not do are left out, and a warning says so.

    Args:
      config: has the fields
        train: a folder of images, or "tfds:div2k" for TFDS's prepared set.
        validation: likewise another folder; "" for the set's own validation split, or of a folder
          for a part of `train`.
        validation_fraction: that part, above 0 and below 1; a hash of the files' names chooses.
      data_dir: where TFDS keeps prepared data; "" for its default.
      smallest: what each side of an image has at least, in pixels.

    Raises:
      UserError: bad input.
    """
    from textsr_jax.data import photograph_folders

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
    held_out = _held_out(train.keys, fraction)
    if not 0 < len(held_out) < len(train):
        raise UserError(
            f"{config.train}: of {len(train)} images {len(held_out)} would be for validation; set "
            "config.photographs.validation_fraction so that training and validation have some"
        )
    kept = sorted(set(range(len(train))) - held_out)
    return photograph_folders.Chosen(train, kept), photograph_folders.Chosen(
        train, sorted(held_out)
    )


def _synthetic(data_dir: str | None, settings: ml_collections.ConfigDict) -> WordPairs:
    from textsr_jax.data import records
    from textsr_jax.data.synthetic import words as synthetic_words

    builder = synthetic_words.SyntheticWords(data_dir=data_dir, **dict(settings))
    records.prepare(builder)
    # Settings, fonts and the generator's version decide every bit of them.
    fingerprint = builder.builder_config.name
    return WordPairs(
        title=title(""),
        fingerprint=fingerprint,
        training=fingerprint,
        train=records.TfdsSource(builder, "train"),
        validation_splits={"synthetic": records.TfdsSource(builder, "validation")},
        test={name: records.TfdsSource(builder, f"test_{name}") for name in _TEST_ORDER},
        skipped={},
    )


def _textzoom(
    root: str, data_dir: str | None, labels: str, validation_fraction: float
) -> WordPairs:
    from textsr_jax import text
    from textsr_jax.data import batching, records, textzoom

    if labels not in text.LABELS:
        raise UserError(f"config.data.labels={labels!r}: take one of {', '.join(text.LABELS)}")
    _check_fraction(validation_fraction)
    builder = textzoom.load(root, data_dir, labels)
    train, test = {}, {}
    for folder, split in builder.splits.items():
        if folder.startswith("test/"):
            # A test set that lost every record stays, empty, for the evaluation to refuse.
            source = records.TfdsSource(builder, split) if split else []
            test[folder.removeprefix("test/")] = source
        elif split:
            train[folder] = records.TfdsSource(builder, split)
    together = batching.Concatenated(list(train.values()))
    held_out = _held_out(records.keys(together), validation_fraction)
    kept = sorted(set(range(len(together))) - held_out)
    validation, start = {}, 0
    for folder, source in train.items():
        own = [index for index in range(len(source)) if start + index in held_out]
        start += len(source)
        if own:
            validation[folder] = batching.Subset(source, own)
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


def _check_fraction(fraction: float) -> None:
    if not 0 <= fraction < 1:
        raise UserError(f"validation_fraction: is {fraction}; set it to at least 0 and below 1")


def _held_out(keys: list[str], fraction: float) -> set[int]:
    """The numbers of the `fraction` of `keys` whose hashes are smallest."""
    hashes = [hashlib.sha256(key.encode()).digest() for key in keys]
    ranked = sorted(range(len(keys)), key=hashes.__getitem__)
    return set(ranked[: round(fraction * len(keys))])
