"""How words are searched: a recogniser's beams, and the choice among them by likely English.

Where the recogniser is unsure, it looks four times more, and the commoner word is taken. The
paper's search has neither: it takes the likeliest beam.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, Self

import jax
import numpy as np

from textsr_jax import text
from textsr_jax.decoding.english import log_ratio
from textsr_jax.decoding.letters import log_shares
from textsr_jax.decoding.recognition import recognizer
from textsr_jax.decoding.search import Decoded
from textsr_jax.images import moved

# The most by which `log_ratio` of two texts of up to 17 letters differs.
_SPREAD = 60.0
# A beam counts nothing beside the best one where its log probability is this much lower.
_NEGLIGIBLE = 10.0
# How images are moved for a second look, in pixels to the right and down: a backbone with strides
# sees something else then. Chosen on validation and drawn words (docs/results/reading_rules.md).
_MOVES = ((2, -2), (-2, 2), (2, 2), (-2, -2))
# The logarithm of 1 in 150: a word that the recogniser thinks less likely is doubted. Chosen on
# validation and drawn words (docs/history.md).
_DOUBTED = -5.0


class SearchSettings(Protocol):
    """The part `decoding` of a config: fields of `WordSearch`."""

    @property
    def beam(self) -> int: ...
    @property
    def steps(self) -> int: ...
    @property
    def language_weight(self) -> float: ...
    @property
    def second_look(self) -> float: ...


class Words(NamedTuple):
    """What was read from a batch.

    Attributes:
      texts: the words.
      log_probability: float64 (batch,), of the words with their ends, by the recogniser.
      log_confidence: float64 (batch,), at most 0. It is `log_probability` where there was no
        choice. Otherwise it is the logarithm of the word's share among all beams, and less for a
        word that is doubted.
      letters: for each word float64 (its length,), the log confidence of each letter, at least that
        of the word. It is the share of the beams that have the letter at its place
        (`decoding.letters`), reduced by the same doubt. Where there was no choice it is that of the
        word.
    """

    texts: list[str]
    log_probability: np.ndarray
    log_confidence: np.ndarray
    letters: list[np.ndarray]


@dataclasses.dataclass(frozen=True)
class WordSearch:
    """How a recogniser's words are searched: `config.decoding`.

    Attributes:
      beam: beams for each word; 1 is greedy decoding.
      steps: tokens for each word at most, the end token included.
      language_weight: the weight of `log_ratio` beside the recogniser's log probability. With 0, as
        published, the recogniser's best beam is taken.
      second_look: a confidence in [0, 1]. A less sure word is looked at four times more, with its
        image moved by two pixels to each corner, where there are several beams. 0, as published,
        never does so.
      alphabet: what the recogniser writes.
    """

    beam: int
    steps: int
    language_weight: float = 0.0
    second_look: float = 0.0
    alphabet: text.Alphabet = text.ALPHANUMERIC

    @classmethod
    def of(cls, settings: SearchSettings, alphabet: text.Alphabet = text.ALPHANUMERIC) -> Self:
        """Returns the search that the part `decoding` of a config describes."""
        numbers = settings.beam, settings.steps, settings.language_weight, settings.second_look
        return cls(*numbers, alphabet)

    def settings(self) -> dict[str, Any]:
        """The fields that the part `decoding` of a config has, for JSON."""
        return {
            "beam": self.beam,
            "steps": self.steps,
            "language_weight": self.language_weight,
            "second_look": self.second_look,
        }

    @property
    def beyond_paper(self) -> str:
        """For titles, what is used beyond the published search: ", language weight 0.3", or ""."""
        ours = {"language weight": self.language_weight, "second look": self.second_look}
        if self.margin is None:
            return ""
        return "".join(f", {name} {value:g}" for name, value in ours.items() if value)

    @property
    def margin(self) -> float | None:
        """How far a beam may lie behind the best one, in log probability, and still be a choice.

        None where there is no choice: with one beam, or with neither a weight nor a second look.
        """
        if self.beam == 1 or not (self.language_weight or self.second_look):
            return None
        return max(self.language_weight * _SPREAD, _NEGLIGIBLE)

    def recognizer(self, ocr: Callable[..., Any]) -> Callable[[Any, jax.Array], Decoded]:
        """`decoding.recognizer` of a `models.Network`, with the beams that `words` needs."""
        return recognizer(ocr, beam=self.beam, steps=self.steps, margin=self.margin)

    def read(
        self,
        beams: Callable[[np.ndarray], Decoded],
        images: np.ndarray,
        cut: Sequence[bool] | None = None,
        again: bool = True,
    ) -> Words:
        """The words in images, with a second look at those that are unsure.

        An unsure word gets the mean of its probabilities in the image and in the moved images. A
        network does not read again what it has read by chance.

        Args:
          beams: maps any number of images, uint8 (n, 32, 128, 3), to what `recognizer` finds.
          images: uint8 (n, 32, 128, 3).
          cut: as `words` takes it.
          again: whether to take a second look.
        """
        found = Decoded(*(np.asarray(part) for part in beams(images)))
        words = self.words(found, cut)
        if not again or not self.second_look or self.margin is None:
            return words
        unsure = np.flatnonzero(words.log_confidence < math.log(self.second_look))
        if not len(unsure):
            return words
        moved_found = beams(np.concatenate([moved(images[unsure], *by) for by in _MOVES]))
        looks = Decoded(
            *(
                np.concatenate([first[unsure], *np.split(np.asarray(others), len(_MOVES))], axis=1)
                for first, others in zip(found, moved_found, strict=True)
            )
        )
        looks = looks._replace(log_probability=looks.log_probability - math.log(1 + len(_MOVES)))
        better = self.words(looks, None if cut is None else [cut[int(row)] for row in unsure])
        for row, text_of_row, letters in zip(unsure, better.texts, better.letters, strict=True):
            words.texts[row], words.letters[row] = text_of_row, letters
        words.log_probability[unsure] = better.log_probability
        words.log_confidence[unsure] = better.log_confidence
        return words

    def words(self, found: Decoded, cut: Sequence[bool] | None = None) -> Words:
        """The words of a batch.

        Beams of the same text count as one. The beam is taken whose log probability +
        `language_weight` x `log_ratio` is highest. How far it is ahead of the other beams in that
        sum says how sure it is. An image without any text would still give some long English word.
        So a word is doubted that the recogniser itself thinks less likely than 1 in 150: its log
        confidence falls by the difference.

        Args:
          found: arrays of JAX or numpy: the best beam of each word, or all of its beams, as
            `every_beam` returns them.
          cut: for each image, whether its edges cut through words. Such words are not English, so
            their language weight is 0. None stands for no image.
        """
        found = Decoded(*(np.asarray(part) for part in found))
        by_recognizer = np.asarray(found.log_probability, np.float64)
        if found.tokens.ndim == 2:
            texts = self.alphabet.decode_tokens(found.tokens)
            sure = zip(texts, by_recognizer, strict=True)
            letters = [np.full(len(word), log_confidence) for word, log_confidence in sure]
            return Words(texts, by_recognizer, by_recognizer, letters)
        batch, beams, _ = found.tokens.shape
        texts = self.alphabet.decode_tokens(found.tokens.reshape(batch * beams, -1))
        for row in range(batch):
            firsts: dict[str, int] = {}
            for beam in range(beams):
                first = firsts.setdefault(texts[row * beams + beam], beam)
                if first != beam:
                    both = by_recognizer[row, [first, beam]]
                    by_recognizer[row, [first, beam]] = np.logaddexp(*both), -np.inf
        by_text = np.array([log_ratio(word) for word in texts]).reshape(batch, beams)
        weights = np.where(np.zeros(batch, bool) if cut is None else cut, 0.0, self.language_weight)
        together = by_recognizer + weights[:, None] * by_text
        best, rows = np.argmax(together, axis=1), np.arange(batch)
        alone = by_recognizer[rows, best]
        shares = together - np.logaddexp.reduce(together, axis=1)[:, None]
        # Rounding may bring it above 0.
        share = np.minimum(shares[rows, best], 0.0)
        doubt = np.where(weights > 0, np.minimum(alone - _DOUBTED, 0.0), 0.0)
        chosen = [texts[row * beams + best[row]] for row in rows]
        letters = [
            log_shares(word, texts[row * beams : (row + 1) * beams], shares[row]) + doubt[row]
            for row, word in enumerate(chosen)
        ]
        return Words(chosen, alone, share + doubt, letters)
