"""Draws the synthetic pairs: one pair, or a whole split by several processes.

Nothing here imports JAX or TensorFlow Datasets, since every worker process imports this file.
"""

import dataclasses
from collections.abc import Iterator
from typing import NamedTuple, Self

import numpy as np

from textsr_jax.data import png
from textsr_jax.data.processes import Processes
from textsr_jax.data.synthetic import degradation, fonts, rendering, vocabulary
from textsr_jax.errors import UserError

# To be raised whenever the same settings and fonts begin to give other pictures.
VERSION = 3

# A split's place in this list is part of its words' seeds.
SPLITS = ("train", "validation", "test_easy", "test_medium", "test_hard")

LR_SHAPE = (16, 64, 3)
HR_SHAPE = (32, 128, 3)

_DIFFICULTIES = tuple(degradation.DIFFICULTIES)
_CHUNK = 32  # words that travel from a worker at once


@dataclasses.dataclass(frozen=True)
class GeneratorSettings:
    """Everything that decides which words are drawn.

    Attributes:
      train, validation: the number of words in each of these splits; the difficulties take turns.
      test: the number of words in each of the three test splits.
      seed: at least 0; another seed gives other words.
      min_length, max_length: bounds of the number of letters and digits in a word.
      words: a kind of `vocabulary.KINDS`.
      plain: the part of the words, 0 to 1, that are clear prints and not photographs.
    """

    train: int = 50_000
    validation: int = 1_000
    test: int = 1_000
    seed: int = 0
    min_length: int = 1
    max_length: int = 25
    words: str = "mixed"
    plain: float = 0.0

    def __post_init__(self) -> None:
        """Raises a `UserError` for a value out of its range."""
        for name in ("train", "validation", "test"):
            if getattr(self, name) < 1:
                raise UserError(f"{name}={getattr(self, name)}: a split needs at least 1 word")
        if self.seed < 0:
            raise UserError(f"seed={self.seed}: must be at least 0")
        if not 1 <= self.min_length <= self.max_length:
            raise UserError(
                f"min_length={self.min_length}, max_length={self.max_length}:"
                " expected 1 <= min_length <= max_length"
            )
        if not 0 <= self.plain <= 1:
            raise UserError(f"plain={self.plain}: expected a part from 0 to 1")
        if self.words not in vocabulary.KINDS:
            raise UserError(f"words={self.words!r}: choose one of {', '.join(vocabulary.KINDS)}")

    def size(self, split: str) -> int:
        """The number of words in a split."""
        return {"train": self.train, "validation": self.validation}.get(split, self.test)


class WordPair(NamedTuple):
    """One word at both resolutions: uint8 (16, 64, 3), uint8 (32, 128, 3), and its text."""

    lr: np.ndarray
    hr: np.ndarray
    label: str

    def encoded(self) -> "EncodedPair":
        """The pair with its images as PNG files."""
        return EncodedPair(
            png.to_bytes(self.lr, LR_SHAPE), png.to_bytes(self.hr, HR_SHAPE), self.label
        )


class EncodedPair(NamedTuple):
    """One word at both resolutions, as PNG files, and its text."""

    lr: bytes
    hr: bytes
    label: str


def difficulty(split: str, index: int) -> str:
    """The difficulty of word `index` of a split: a test split's own, elsewhere they take turns."""
    return split.removeprefix("test_") if split.startswith("test_") else _DIFFICULTIES[index % 3]


def draw(settings: GeneratorSettings, split: str, index: int) -> WordPair:
    """Draws word `index` of a split; settings, split and index decide every bit of it."""
    rng = np.random.default_rng([settings.seed, SPLITS.index(split), index])
    word = vocabulary.sample(settings.words, settings.min_length, settings.max_length, rng)
    render = rendering.render_plain if rng.random() < settings.plain else rendering.render
    hr = render(word, rng)
    return WordPair(degradation.degrade(hr, difficulty(split, index), rng), hr, word)


class Workers(Processes):
    """Draws whole splits, in this process or in child processes; a context manager.

    The child processes end with the context, however it ends.

    Args:
      settings: what to draw.
      count: the number of processes; with 1 this process draws the words itself.
    """

    def __init__(self, settings: GeneratorSettings, count: int) -> None:
        super().__init__(count)
        self._settings = settings

    def __enter__(self) -> Self:
        # Missing fonts and impossible words raise their errors here, before any worker starts.
        fonts.families()
        settings = self._settings
        vocabulary.load(settings.words, settings.min_length, settings.max_length)
        return super().__enter__()

    def draw(self, split: str) -> Iterator[EncodedPair]:
        """The words of a split, in order. One split must end before the next begins.

        Raises:
          RuntimeError: a worker died; its own message is on the standard error output.
        """
        count = len(self)
        if not count:
            for chunk in _drawn(self._settings, split, 0, 1):
                yield from chunk
            return
        for first in range(count):
            self.ask(first, _drawn, self._settings, split, first, count)
        # A worker whose pipe is full waits, so no memory fills up here.
        for number in range(len(_chunks(self._settings.size(split)))):
            yield from self.take(number % count, f"drew {split}")


def _chunks(size: int) -> list[range]:
    return [range(start, min(start + _CHUNK, size)) for start in range(0, size, _CHUNK)]


def _drawn(
    settings: GeneratorSettings, split: str, first: int, step: int
) -> Iterator[list[EncodedPair]]:
    """Every `step`-th chunk of a split, from number `first` on.

    The process that draws a word also writes its PNG files: one process could not do so for ten.
    """
    for chunk in _chunks(settings.size(split))[first::step]:
        yield [draw(settings, split, index).encoded() for index in chunk]
