"""Calibration: whether a confidence of 0.9 means nine words in ten, and the temperature for that.

As Guo et al., "On Calibration of Modern Neural Networks" (2017), but of whole words.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy import optimize
from tqdm import tqdm

from textsr_jax import metrics
from textsr_jax.errors import UserError
from textsr_jax.reading import Reader, Reading

if TYPE_CHECKING:
    from textsr_jax.data.records import Record

BINS = 15

# Words that are read at once.
_BATCH = 64

# Temperatures beyond these would mean a recogniser that knows nothing of itself.
LOWEST, HIGHEST = 0.05, 20.0

# No word is surer than float32 can tell from 1; a wrong one would cost infinitely much.
_SUREST = -1e-7


@dataclasses.dataclass(frozen=True)
class Sample:
    """Words that were read, and whether rightly.

    Attributes:
      log_probability: float64 (n,), at most 0: the logarithm of the confidence at temperature 1.
      right: bool (n,), case apart, letters and digits only.
    """

    log_probability: np.ndarray
    right: np.ndarray

    @classmethod
    def of(cls, readings: Sequence[Reading], labels: Sequence[str]) -> Sample:
        """Compares readings, of a reader of temperature 1, with the true words."""
        confidence = np.array([reading.confidence for reading in readings])
        right = metrics.correct_words([reading.text for reading in readings], labels)
        return cls(np.log(np.maximum(confidence, np.finfo(float).tiny)), right)

    def confidence(self, temperature: float) -> np.ndarray:
        """exp(log p / temperature), float64 (n,) in [0, 1]."""
        return np.exp(self.log_probability / temperature)


def joined(*samples: Sample) -> Sample:
    """The words of several samples as one."""
    return Sample(
        np.concatenate([sample.log_probability for sample in samples]),
        np.concatenate([sample.right for sample in samples]),
    )


@dataclasses.dataclass(frozen=True)
class Bin:
    """Words of like confidence.

    Attributes:
      low, high: bounds of their confidence.
      n: how many they are.
      confidence: their mean confidence; 0 where there are none.
      accuracy: the part that was read rightly; 0 where there are none.
    """

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float


def read(reader: Reader, records: Sequence[Record]) -> tuple[list[Reading], list[str]]:
    """Reads the LR images of words; returns the readings, and the true words."""
    readings = []
    with tqdm(total=len(records), desc="reading", unit="word", leave=False, disable=None) as bar:
        for start in range(0, len(records), _BATCH):
            part = records[start : start + _BATCH]
            readings += reader.read([record.lr for record in part])
            bar.update(len(part))
    return readings, [record.label for record in records]


def negative_log_likelihood(sample: Sample, temperature: float) -> float:
    """The mean over words of -log of the probability that the confidence gives to what happened."""
    sure = np.minimum(sample.log_probability / temperature, _SUREST)
    return float(-np.where(sample.right, sure, np.log(-np.expm1(sure))).mean())


def fit_temperature(sample: Sample) -> float:
    """The temperature of the least negative log likelihood, between `LOWEST` and `HIGHEST`.

    The likelihood is concave in 1 / temperature, so there is no other.

    Raises:
      UserError: all words were read rightly, or all wrongly, so that no temperature fits.
    """
    if sample.right.all() or not sample.right.any():
        which = "right" if sample.right.all() else "wrong"
        raise UserError(
            f"all {len(sample.right)} validation words were read {which}, which tells nothing of"
            " confidence; name a data root with more words"
        )
    found = optimize.minimize_scalar(
        lambda inverse: negative_log_likelihood(sample, 1 / inverse),
        bounds=(1 / HIGHEST, 1 / LOWEST),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(1 / found.x)


def reliability(confidence: np.ndarray, right: np.ndarray, bins: int = BINS) -> list[Bin]:
    """Words by confidence in bins of equal width; a confidence on a bound belongs below it.

    Args:
      confidence: float (n,) in [0, 1].
      right: bool (n,).
      bins: how many.
    """
    bounds = np.linspace(0, 1, bins + 1)
    place = np.clip(np.searchsorted(bounds, confidence, side="left") - 1, 0, bins - 1)
    made = []
    for number, (low, high) in enumerate(itertools.pairwise(bounds)):
        chosen = place == number
        some = bool(chosen.any())
        made.append(
            Bin(
                low=float(low),
                high=float(high),
                n=int(chosen.sum()),
                confidence=float(confidence[chosen].mean()) if some else 0.0,
                accuracy=float(right[chosen].mean()) if some else 0.0,
            )
        )
    return made


def expected_calibration_error(bins: Sequence[Bin]) -> float:
    """The mean over words of |accuracy - confidence| of their bin, in [0, 1].

    Raises:
      ValueError: there are no words.
    """
    total = sum(part.n for part in bins)
    if not total:
        raise ValueError("the calibration error of no words is not defined")
    return sum(part.n * abs(part.accuracy - part.confidence) for part in bins) / total
