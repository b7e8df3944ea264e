"""Makes the synthetic word pairs: what to draw, one pair, and all of a split by several processes.

Nothing here needs JAX or TensorFlow Datasets, since every worker process imports it.
"""

import contextlib
import dataclasses
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np

from textsr_jax.data import degradation, fonts, png, rendering, vocabulary
from textsr_jax.errors import UserError

# Raise it whenever the same settings and fonts begin to give other pictures.
VERSION = 3

# A split's place in this list is part of its words' seeds.
SPLITS = ("train", "validation", "test_easy", "test_medium", "test_hard")

LR_SHAPE = (16, 64, 3)
HR_SHAPE = (32, 128, 3)

_DIFFICULTIES = tuple(degradation.DIFFICULTIES)
_CHUNK = 32  # words that travel from a worker at once


@dataclasses.dataclass(frozen=True)
class Settings:
    """All that decides which words are drawn.

    Attributes:
      train, validation: the number of words of these splits; the difficulties take turns.
      test: the number of words of each of the three test splits.
      seed: at least 0; another seed gives other words.
      min_length, max_length: bounds of the number of letters and digits in a word.
      words: a kind of `vocabulary.KINDS`.
      plain: the part of the words, 0 to 1, that is printed clearly instead of photographed.
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
        """Raises UserError where a value makes no sense."""
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
        return EncodedPair(png.encode(self.lr, LR_SHAPE), png.encode(self.hr, HR_SHAPE), self.label)


class EncodedPair(NamedTuple):
    """One word at both resolutions, as PNG files, and its text."""

    lr: bytes
    hr: bytes
    label: str


def difficulty(split: str, index: int) -> str:
    """How hard word `index` of a split is: a test split's name says, elsewhere they take turns."""
    return split.removeprefix("test_") if split.startswith("test_") else _DIFFICULTIES[index % 3]


def draw(settings: Settings, split: str, index: int) -> WordPair:
    """Draws word `index` of a split: settings, split and index decide every bit of it."""
    rng = np.random.default_rng([settings.seed, SPLITS.index(split), index])
    word = vocabulary.sample(settings.words, settings.min_length, settings.max_length, rng)
    render = rendering.render_plain if rng.random() < settings.plain else rendering.render
    hr = render(word, rng)
    return WordPair(degradation.degrade(hr, difficulty(split, index), rng), hr, word)


class Workers:
    """Draws whole splits, in this process or by several others; a context manager.

    The others are plain child processes, not `multiprocessing`'s, which would import the caller's
    script, and JAX with it. They end with the context, however it ends.

    Args:
      settings: what to draw.
      count: the number of processes; with 1 the words are drawn in this one.
    """

    def __init__(self, settings: Settings, count: int) -> None:
        self._settings = settings
        self._count = count
        self._processes: list[subprocess.Popen] = []

    def __enter__(self) -> Self:
        # Words that cannot be drawn at all are reported here, before any worker starts.
        fonts.families()
        settings = self._settings
        vocabulary.load(settings.words, settings.min_length, settings.max_length)
        if self._count > 1:
            # A worker has one core: the threads of a linear algebra library would only disturb.
            paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
            environment = os.environ | {"PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1"}
            for _ in range(self._count):
                self._processes.append(
                    subprocess.Popen(
                        [sys.executable, "-c", f"from {__name__} import _work; _work()"],
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        env=environment,
                        # Ctrl-C is for the parent, which then ends its workers.
                        start_new_session=True,
                    )
                )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for process in self._processes:
            process.kill()
        for process in self._processes:
            with contextlib.suppress(BrokenPipeError):
                process.communicate()
        self._processes = []

    def draw(self, split: str) -> Iterator[EncodedPair]:
        """The words of a split in order. Splits are drawn one after the other.

        Raises:
          RuntimeError: a worker died; its last words are on the standard error output.
        """
        chunks = _chunks(self._settings.size(split))
        if not self._processes:
            for chunk in chunks:
                yield from _encoded(self._settings, split, chunk)
            return
        for first, process in enumerate(self._processes):
            job = (self._settings, split, first, len(self._processes))
            # A worker that is dead already is reported below, where its words are missed.
            with contextlib.suppress(BrokenPipeError):
                pickle.dump(job, process.stdin)
                process.stdin.flush()
        # A worker whose pipe is full waits, so nothing piles up here.
        for number in range(len(chunks)):
            process = self._processes[number % len(self._processes)]
            try:
                yield from pickle.load(process.stdout)
            except EOFError:
                raise RuntimeError(
                    f"a worker that drew {split} stopped with status {process.wait()}"
                ) from None


def _chunks(size: int) -> list[range]:
    return [range(start, min(start + _CHUNK, size)) for start in range(0, size, _CHUNK)]


def _encoded(settings: Settings, split: str, chunk: range) -> list[EncodedPair]:
    # To write PNG files takes a tenth as long as to draw; one process could not do it for ten.
    return [draw(settings, split, index).encoded() for index in chunk]


def _work() -> None:
    """A worker's life: every job on its standard input names the chunks that it must draw."""
    jobs, results = sys.stdin.buffer, sys.stdout.buffer
    # The parent may go at any time, and then there is nothing left to do or say.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    while True:
        try:
            settings, split, first, step = pickle.load(jobs)
        except EOFError:
            return
        for chunk in _chunks(settings.size(split))[first::step]:
            pickle.dump(_encoded(settings, split, chunk), results)
            results.flush()
