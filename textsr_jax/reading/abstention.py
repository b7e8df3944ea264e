"""Leaves out what may be wrong: thresholds on confidence that keep a risk, set on held-out words.

They are those of Angelopoulos, Bates, Fisch, Lei and Schuster, "Conformal Risk Control" (2024).
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Sequence

import numpy as np

from textsr_jax.config.settings import HeldOut
from textsr_jax.errors import UserError

# What stands in place of a letter that is left out.
UNSURE = "?"

# No log confidence is above it, so that nothing is returned.
NEVER = 0.0

# Sums of losses that are nearer to each other than this are equal.
_ROUNDING = 1e-9

_logger = logging.getLogger(__name__)


def threshold(risk: float, words: int, losses: Sequence[tuple[float, float]]) -> float:
    """The log confidence above which texts are returned, so that their errors keep a risk.

    A word's loss at a threshold is 0 if what is wrong in it is left out, and at most 1. It never
    rises with the threshold. Of n held-out words let R(t) be the mean loss at t. The result is the
    least t for which n / (n + 1) R(t) + 1 / (n + 1) is at most `risk`. For a further word that is
    exchangeable with the held-out ones, the expected loss is then at most `risk` (theorem 1 of the
    paper, with bound B = 1). The expectation is over held-out words and further word together.

    Only texts of a log confidence above t are returned, not those at t: the theorem needs losses
    that are continuous from the right.

    Args:
      risk: above 0 and below 1.
      words: n, how many words were held out; at least 1.
      losses: of what was wrong in them, log confidences, at most 0, and losses, above 0. The losses
        of a word sum to at most 1.

    Returns:
      -inf where everything may be returned. `NEVER` where nothing may: either because the risk is
      below 1 / (n + 1), or because the surest words are wrong.
    """
    left = risk * (words + 1) - 1 + _ROUNDING
    if left < 0:
        return NEVER
    ordered = sorted(losses, reverse=True)
    together = np.cumsum([loss for _, loss in ordered])
    (above,) = np.nonzero(together > left)
    return ordered[above[0]][0] if len(above) else -math.inf


@dataclasses.dataclass(frozen=True)
class Abstention:
    """What a reader leaves out: words or letters that are not sure enough.

    Attributes:
      letters: whether unsure letters are replaced by `UNSURE`; otherwise unsure words are left out.
      risk: the risk that was asked for.
      threshold: the log confidence, at temperature 1, above which words or letters are returned.
    """

    letters: bool
    risk: float
    threshold: float

    @classmethod
    def of(
        cls, held_out: HeldOut, abstain: float | None, abstain_letters: float | None, place: str
    ) -> Abstention | None:
        """Returns what keeps a risk; None where none is asked for.

        Args:
          held_out: the errors on held-out words.
          abstain: the risk of a wrong word, above 0 and below 1; None for no limit.
          abstain_letters: the risk of a wrong letter instead.
          place: the models, for messages.

        Raises:
          UserError: both risks are given, or one that is out of its bounds; or there were no
            held-out words.
        """
        if abstain is None and abstain_letters is None:
            return None
        if abstain is not None and abstain_letters is not None:
            raise UserError("abstain and abstain_letters: take one of them")
        letters = abstain is None
        name = "abstain_letters" if letters else "abstain"
        risk = abstain_letters if abstain is None else abstain
        if isinstance(risk, bool) or not isinstance(risk, int | float) or not 0 < risk < 1:
            raise UserError(f"{name}={risk}: must be a number above 0 and below 1, such as 0.05")
        if not held_out.words:
            raise UserError(
                f"{name}={risk:g}: {place} does not say which held-out words it misread; measure "
                "them with python -m textsr_jax.experiments.fit_temperature --model=FILE --out=FILE"
            )
        losses = held_out.wrong_letters if letters else held_out.wrong_words
        found = threshold(risk, held_out.words, losses)
        if risk * (held_out.words + 1) < 1:
            _logger.warning(
                "%s=%g: %d held-out words cannot show so low a risk, so that nothing is returned; "
                "ask for %.2g or more",
                name,
                risk,
                held_out.words,
                math.ceil(1e4 / (held_out.words + 1)) / 1e4,
            )
        return cls(letters, float(risk), found)

    def applied(
        self, text: str, log_confidence: float, letters: np.ndarray
    ) -> tuple[str, np.ndarray, bool]:
        """Returns a text without what is not sure enough.

        Args:
          text: what was read.
          log_confidence: in the whole text, at temperature 1.
          letters: the same of each letter, float (length of the text,).

        Returns:
          The text, the log confidences of its letters, and whether a word was left out. Then the
          text is empty.
        """
        if self.letters:
            shown = (
                letter if sure > self.threshold else UNSURE
                for letter, sure in zip(text, letters, strict=True)
            )
            return "".join(shown), letters, False
        if text and not log_confidence > self.threshold:
            return "", np.zeros(0), True
        return text, letters, False
