"""Risk and coverage: how often a reader returns a text, and what is wrong in it then.

It counts the errors on held-out words too, from which `reading.abstention` makes thresholds.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from textsr_jax import metrics, text
from textsr_jax.decoding.letters import matched
from textsr_jax.reading import Reading
from textsr_jax.reading.abstention import threshold

# The risks that reports ask for.
RISKS = (0.01, 0.02, 0.05, 0.10)

# Log confidences are kept with so many digits after the point, rounded up. Whether one is above a
# kept one does not change by that.
_DIGITS = 6

# Log confidences and losses of what was wrong.
Losses = list[tuple[float, float]]


@dataclasses.dataclass(frozen=True)
class Words:
    """Words that were read without leaving out any, and what is wrong in them.

    Attributes:
      sure: float64 (n,), the log confidence in each text, at most 0.
      returned: bool (n,), whether there is a text at all.
      wrong: bool (n,), whether there is a text and it is not the label's.
      letters: for each word, the log confidences of its letters and which of them are wrong.
    """

    sure: np.ndarray
    returned: np.ndarray
    wrong: np.ndarray
    letters: list[tuple[np.ndarray, np.ndarray]]

    @classmethod
    def of(cls, readings: Sequence[Reading], labels: Sequence[str]) -> Words:
        """Compares readings, of a reader of temperature 1, with the true words."""
        texts = [reading.text for reading in readings]
        returned = np.array([bool(word) for word in texts], bool)
        wrong = returned & ~metrics.correct_words(texts, labels)
        letters = [
            (log([*reading.letters]), wrong_letters(reading.text, label))
            for reading, label in zip(readings, labels, strict=True)
        ]
        return cls(log([reading.confidence for reading in readings]), returned, wrong, letters)

    def __len__(self) -> int:
        return len(self.sure)

    def wrong_words(self) -> Losses:
        """Log confidence and loss, 1, of each wrong word; the surest first."""
        return sorted(((_rounded_up(sure), 1.0) for sure in self.sure[self.wrong]), reverse=True)

    def wrong_letters(self) -> Losses:
        """Log confidence and loss of each wrong letter; the surest first.

        The loss of a letter is one divided by the number of letters that were read in its word.
        """
        found = [
            (_rounded_up(sure), 1 / len(wrong))
            for letters, wrong in self.letters
            for sure in letters[wrong]
        ]
        return sorted(found, reverse=True)

    def word_losses(self, bound: float) -> np.ndarray:
        """The loss of each word where texts of a log confidence above `bound` are returned.

        Returns:
          float64 (n,): 1 where a text is returned and wrong, else 0. A word without any text loses
          nothing.
        """
        return (self.wrong & (self.sure > bound)).astype(float)

    def letter_losses(self, bound: float) -> np.ndarray:
        """The loss of each word where letters of a log confidence above `bound` are shown.

        Returns:
          float64 (n,): the part of the letters that were read that are shown and wrong. A letter
          that is missing from the text is not shown, so it loses nothing.
        """
        return np.array(
            [
                float((wrong & (sure > bound)).sum()) / max(1, len(wrong))
                for sure, wrong in self.letters
            ]
        )


def wrong_letters(found: str, label: str) -> np.ndarray:
    """Which letters of a text are wrong, bool (len(found),).

    A letter is right that an alignment of least edits (`decoding.letters.matched`) pairs with an
    equal letter of the label, case apart. Of both texts only 0-9a-z count, as in `metrics`.
    """
    places = [place for place, letter in enumerate(found) if text.normalize(letter)]
    kept = "".join(text.normalize(found[place]) for place in places)
    wrong = np.zeros(len(found), bool)
    wrong[places] = ~matched(kept, text.normalize(label))
    return wrong


def log(confidence: Sequence[float]) -> np.ndarray:
    """The natural logarithm, float64; of 0 that of the least positive number."""
    return np.log(np.maximum(np.asarray(confidence, np.float64), np.finfo(float).tiny))


def held_out(words: Words) -> dict[str, Any]:
    """The part `held_out` of a config: the errors on held-out words."""
    return {
        "words": len(words),
        "wrong_words": words.wrong_words(),
        "wrong_letters": words.wrong_letters(),
    }


@dataclasses.dataclass(frozen=True)
class Point:
    """What a risk that is asked for leads to on other words.

    Attributes:
      asked: the risk.
      threshold: the log confidence above which texts or letters are returned.
      coverage: the part of the words (of the letters) that is returned (shown).
      risk: the mean loss, which conformal risk control holds below `asked`.
      selective_risk: the part of what is returned that is wrong, which it does not hold; None where
        nothing is returned.
    """

    asked: float
    threshold: float
    coverage: float
    risk: float
    selective_risk: float | None

    def as_json(self) -> dict[str, float | None]:
        """The fields; -inf, which JSON lacks, is None."""
        bound = self.threshold if math.isfinite(self.threshold) else None
        return dataclasses.asdict(self) | {"threshold": bound}


def word_points(fitted: Words, others: Words, risks: Sequence[float] = RISKS) -> list[Point]:
    """What thresholds on words, set on `fitted`, do on `others`.

    Args:
      fitted: the held-out words.
      others: the words that coverage and risks are of.
      risks: those that are asked for.
    """
    points = []
    for asked in risks:
        bound = threshold(asked, len(fitted), fitted.wrong_words())
        shown = others.returned & (others.sure > bound)
        losses = others.word_losses(bound)
        selective = float(losses.sum() / shown.sum()) if shown.any() else None
        points.append(Point(asked, bound, float(shown.mean()), float(losses.mean()), selective))
    return points


def letter_points(fitted: Words, others: Words, risks: Sequence[float] = RISKS) -> list[Point]:
    """The same of thresholds on letters; see `word_points`."""
    sure = np.concatenate([np.zeros(0), *(letters for letters, _ in others.letters)])
    wrong = np.concatenate([np.zeros(0, bool), *(some for _, some in others.letters)])
    points = []
    for asked in risks:
        bound = threshold(asked, len(fitted), fitted.wrong_letters())
        shown = sure > bound
        selective = float(wrong[shown].mean()) if shown.any() else None
        coverage = float(shown.mean()) if len(shown) else 0.0
        risk = float(others.letter_losses(bound).mean())
        points.append(Point(asked, bound, coverage, risk, selective))
    return points


def curve(words: Words) -> tuple[np.ndarray, np.ndarray]:
    """The risk-coverage curve: the surest words first (Geifman and El-Yaniv, 2017).

    Words of the same confidence are returned together.

    Returns:
      coverage, in (0, 1] and rising, and the selective risk there: the part of what is returned
      that is wrong; float64 (points,) both. Both are empty where no word has a text.
    """
    order = np.argsort(-words.sure[words.returned], kind="stable")
    sure, wrong = words.sure[words.returned][order], words.wrong[words.returned][order]
    last = np.flatnonzero(np.append(np.diff(sure) != 0, True)[: len(sure)])
    count = last + 1
    return count / max(1, len(words)), np.cumsum(wrong)[last] / count


def area(coverage: np.ndarray, risk: np.ndarray) -> float:
    """The area under a risk-coverage curve (AURC), from coverage 0 on; lower is better."""
    if not len(coverage):
        return 0.0
    steps = np.diff(np.concatenate([[0.0], coverage]))
    return float((steps * risk).sum())


def _rounded_up(log_confidence: float) -> float:
    scale = 10**_DIGITS
    return min(0.0, math.ceil(log_confidence * scale) / scale)
