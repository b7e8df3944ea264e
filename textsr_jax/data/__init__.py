"""The data room's door: `load` turns a config into sources for training, validation and tests.

A data root is read as TextZoom's LMDB folders; without one, words are synthesised.
"""

import dataclasses
import hashlib

import ml_collections

from textsr_jax.data import records, textzoom
from textsr_jax.data.batching import Subset
from textsr_jax.data.records import Source, TfdsSource
from textsr_jax.errors import UserError

_TEST_ORDER = ("easy", "medium", "hard")


@dataclasses.dataclass(frozen=True)
class WordPairs:
    """A data set of word image pairs, ready to be batched.

    Attributes:
      name: the prepared TFDS data set, e.g. "textzoom/0123456789abcdef/1.0.0".
      train: training records; empty where the data root has no train folder.
      validation: records held out from training.
      test: the test sets by name: easy, medium, hard, then any others.
    """

    name: str
    train: Source
    validation: Source
    test: dict[str, Source]


def load(config: ml_collections.ConfigDict) -> WordPairs:
    """Prepares the data set that `config` asks for, where that is not done, and opens it.

    Args:
      config: has the fields
        root: a folder of TextZoom's LMDB folders; "" for synthetic words.
        data_dir: where TFDS keeps prepared data; "" for its default.
        validation_fraction: the part of the training records, from 0 to below 1, that becomes
          the validation set. A hash of the key chooses them, so they stay the same. Synthetic
          words have a validation set of their own.
        synthetic: arguments of `SyntheticWords`.

    Raises:
      UserError: bad input, or `data_dir` cannot be written.
    """
    data_dir = config.data_dir or None
    if config.root:
        return _textzoom(config.root, data_dir, config.validation_fraction)
    from textsr_jax.data.synthetic_words import SyntheticWords

    builder = SyntheticWords(data_dir=data_dir, **dict(config.synthetic))
    records.prepare(builder)
    return WordPairs(
        name=builder.info.full_name,
        train=TfdsSource(builder, "train"),
        validation=TfdsSource(builder, "validation"),
        test={name: TfdsSource(builder, f"test_{name}") for name in _TEST_ORDER},
    )


def _textzoom(root: str, data_dir: str | None, validation_fraction: float) -> WordPairs:
    if not 0 <= validation_fraction < 1:
        raise UserError(
            f"validation_fraction: is {validation_fraction}; set it to at least 0 and below 1"
        )
    builder = textzoom.load(root, data_dir)
    train, test = [], {}
    for folder, split in builder.splits.items():
        if folder.startswith("test/"):
            test[folder.removeprefix("test/")] = TfdsSource(builder, split)
        else:
            train.append(split)
    records_for_training = TfdsSource(builder, "+".join(train)) if train else []
    held_out = _held_out(records.keys(records_for_training), validation_fraction)
    order = {name: place for place, name in enumerate(_TEST_ORDER)}
    return WordPairs(
        name=builder.info.full_name,
        train=Subset(
            records_for_training,
            [i for i in range(len(records_for_training)) if i not in held_out],
        ),
        validation=Subset(records_for_training, sorted(held_out)),
        test=dict(sorted(test.items(), key=lambda item: order.get(item[0], len(order)))),
    )


def _held_out(keys: list[str], fraction: float) -> set[int]:
    """The numbers of the `fraction` of `keys` whose hashes are smallest."""
    hashes = [hashlib.sha256(key.encode()).digest() for key in keys]
    ranked = sorted(range(len(keys)), key=hashes.__getitem__)
    return set(ranked[: round(fraction * len(keys))])
