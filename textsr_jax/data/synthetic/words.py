"""The synthetic words as a TFDS data set, drawn on this machine by `generation`.

Training and evaluation use it where no data root is given.
"""

import dataclasses
import hashlib
import os
from collections.abc import Iterator
from typing import Any

import tqdm

from textsr_jax.data import records
from textsr_jax.data.records import Example
from textsr_jax.data.synthetic import fonts, generation
from textsr_jax.data.synthetic.generation import SPLITS, GeneratorSettings, Workers
from textsr_jax.errors import UserError, needs

with needs("train"):
    import tensorflow_datasets as tfds


class SyntheticWords(records.LocalBuilder):
    """TFDS builder `synthetic_words`: rendered words with the splits of `generation.SPLITS`.

    `train` and `validation` mix the three difficulties evenly; `test_easy`, `test_medium` and
    `test_hard` have one each. Keys are "split:number", counted from 1.

    Args:
      data_dir: TFDS's data folder, for the prepared copy; None for TFDS's default. The copy is
        named by the settings, the fonts and the generator's version.
      workers: the number of processes that draw; None for one per core. It changes no word.
      settings: the fields of `generation.GeneratorSettings`.

    Raises:
      UserError: a setting is out of its range, or the fonts are not installed. While the set is
        prepared: wordfreq is not installed.
    """

    name = "synthetic_words"
    VERSION = tfds.core.Version("1.0.0")

    def __init__(
        self,
        *,
        data_dir: str | os.PathLike[str] | None = None,
        workers: int | None = None,
        **settings: Any,
    ) -> None:
        if workers is not None and workers < 1:
            raise UserError(f"workers={workers}: at least 1 is needed")
        self._settings = GeneratorSettings(**settings)
        self._workers = workers or os.cpu_count() or 1
        self._drawing = Workers(self._settings, self._workers)
        config = tfds.core.BuilderConfig(name=_fingerprint(self._settings))
        super().__init__(config=config, data_dir=data_dir)
        # For pickling, which builds the object again from its arguments.
        self._original_state = {"data_dir": data_dir, "workers": workers, **settings}

    def _info(self) -> records.LocalInfo:
        return records.LocalInfo(
            builder=self,
            description="Rendered words at two resolutions with labels.",
            features=records.features(),
            metadata=tfds.core.MetadataDict(dataclasses.asdict(self._settings)),
            disable_shuffling=True,
        )

    def download_and_prepare(self, **kwargs: object) -> None:
        """Draws all words, and writes them as TFDS does."""
        with self._drawing:
            super().download_and_prepare(**kwargs)

    def _split_generators(self, dl_manager: object) -> dict[str, Iterator[tuple[int, Example]]]:
        del dl_manager  # Nothing is downloaded.
        return {split: self._generate_examples(split) for split in SPLITS}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, Example]]:
        pairs = tqdm.tqdm(
            self._drawing.draw(split),
            desc=f"drawing {split}",
            total=self._settings.size(split),
            unit="word",
            disable=None,  # where the output is no terminal
        )
        for number, pair in enumerate(pairs, start=1):
            yield number, records.example(f"{split}:{number}", pair)


def _fingerprint(settings: GeneratorSettings) -> str:
    """Names everything that decides the words' bits, so that each set has a folder of its own."""
    fields = ", ".join(f"{name}={value!r}" for name, value in dataclasses.asdict(settings).items())
    # "Settings" is part of the names of all folders that were prepared so far.
    state = f"{generation.VERSION} {fonts.fingerprint()} Settings({fields})"
    return hashlib.sha256(state.encode()).hexdigest()[:16]
