"""How words are searched: the recogniser's beams, and the choice among them by likely English.

A recogniser that is unsure looks four times more, and takes the commoner word; every text stays
possible, so this is no lexicon. Neither is the paper's, whose search takes the likeliest beam.
"""

import dataclasses
import functools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Self

import jax
import numpy as np
import wordfreq
from ml_collections import ConfigDict

from textsr_jax import decoding, text
from textsr_jax.decoding.search import Decoded
from textsr_jax.images import moved

_DIGITS = 10
# By how much `log_ratio` of two texts of up to 17 letters differs at most.
_SPREAD = 60.0
# A beam by so much less likely than the best one counts nothing beside it.
_NEGLIGIBLE = 10.0
# How images are moved to be looked at again, in pixels to the right and down: a backbone with
# strides sees something else then. Chosen on validation and drawn words (docs/reading.md).
_MOVES = ((2, -2), (-2, 2), (2, 2), (-2, -2))
# The logarithm of 1 in 150: a word that the recogniser thinks less likely is doubted. Chosen on
# validation and drawn words (docs/calibration.md).
_DOUBTED = -5.0
_SEVERAL_DIGITS = re.compile("[0-9]{2,}")


def log_probability(word: str) -> float:
    """The natural logarithm of the probability of a text of 0-9a-z; those of all sum to 1 at most.

    It is a mixture of English words by their frequency (of wordfreq's large list, some 300,000 of
    0-9a-z; womens, 25th and a52 are such), of numbers, and of any characters; of the latter two
    every character, and the end, is as likely as another.
    """
    anything = math.log(text.CODE_SHARE) + _at_random(word)
    if word.isdigit():
        number = math.log(text.NUMBER_SHARE) - (len(word) + 1) * math.log(_DIGITS + 1)
        return float(np.logaddexp(anything, number))
    # The list has 00th for 00th to 99th and the like.
    shape = _SEVERAL_DIGITS.sub(lambda digits: "0" * len(digits[0]), word)
    zeros = sum(map(len, _SEVERAL_DIGITS.findall(word)))
    if frequency := _frequencies().get(shape):
        likely = math.log(text.ENGLISH_SHARE * frequency) - zeros * math.log(_DIGITS)
        return float(np.logaddexp(anything, likely))
    return anything


def _at_random(word: str) -> float:
    """The natural logarithm of its probability where all characters, and the end, are as likely."""
    return -(len(word) + 1) * math.log(len(text.ALPHABET) + 1)


def log_ratio(word: str) -> float:
    """How much likelier a text is by `log_probability` than as characters at random: a logarithm.

    The recogniser has weighed how long a text is; a probability, which falls with each character,
    would count against long ones once more. Of speech recognisers the probability is divided by
    that of the language they have learnt themselves (McDermott et al., "A Density Ratio Approach to
    Language Model Fusion in End-to-End Automatic Speech Recognition", 2019); ours is taken to have
    learnt that all characters are as likely.
    """
    return log_probability(word) - _at_random(word)


class Words(NamedTuple):
    """What was read from a batch.

    Attributes:
      texts: the words.
      log_probability: float64 (batch,), of the words, their ends included, by the recogniser.
      log_confidence: float64 (batch,), at most 0: the same, or where a word was chosen among beams
        the logarithm of its share of all of them, and less for a word that is doubted.
    """

    texts: list[str]
    log_probability: np.ndarray
    log_confidence: np.ndarray


@functools.cache
def _frequencies() -> Mapping[str, float]:
    """Of texts of 0-9a-z that are no numbers; women's and the like without their marks.

    Every digit of several is a 0 in it.
    """
    listed = wordfreq.get_frequency_dict("en", wordlist="large")
    found: dict[str, float] = {}
    for word, value in listed.items():
        if not word.isascii():
            continue
        plain = word if word.isalnum() else text.normalize(word)
        if plain and not plain.isdigit():
            found[plain] = found.get(plain, 0.0) + value
    return found


@dataclasses.dataclass(frozen=True)
class WordSearch:
    """How a recogniser's words are searched: `config.decoding`.

    Attributes:
      beam: beams per word; 1 is greedy decoding.
      steps: tokens per word at most, the end token included.
      language_weight: what `log_ratio` counts beside the recogniser's log probability; 0, as
        published, takes the recogniser's best beam.
      second_look: a word that is less sure than this, in [0, 1], is looked at four times more, its
        image moved by two pixels to each corner, where there are beams to choose from; 0, as
        published: never.
    """

    beam: int
    steps: int
    language_weight: float = 0.0
    second_look: float = 0.0

    @classmethod
    def of(cls, config: ConfigDict) -> Self:
        """That of an experiment."""
        settings = config.decoding
        return cls(settings.beam, settings.steps, settings.language_weight, settings.second_look)

    @property
    def beyond_paper(self) -> str:
        """What the published search has not, for titles: ", language weight 0.3" or nothing."""
        ours = {"language weight": self.language_weight, "second look": self.second_look}
        if self.margin is None:
            return ""
        return "".join(f", {name} {value:g}" for name, value in ours.items() if value)

    @property
    def margin(self) -> float | None:
        """How far behind the best beam one may lie that is still worth a choice.

        None where there is no choice: with one beam, or with neither a weight nor a second look.
        """
        if self.beam == 1 or not (self.language_weight or self.second_look):
            return None
        return max(self.language_weight * _SPREAD, _NEGLIGIBLE)

    def recognizer(self, ocr: Any) -> Callable[[Any, jax.Array], Decoded]:
        """`decoding.recognizer` with the beams that `words` takes."""
        return decoding.recognizer(ocr, beam=self.beam, steps=self.steps, margin=self.margin)

    def read(
        self,
        beams: Callable[[np.ndarray], Decoded],
        images: np.ndarray,
        cut: Sequence[bool] | None = None,
        again: bool = True,
    ) -> Words:
        """The words in images, with a second look at those that are unsure.

        Of these the mean of the probabilities is taken that a text has as the image is and as it is
        moved: what a network reads by chance it does not read again.

        Args:
          beams: what `recognizer` finds in images, uint8 (any number, 32, 128, 3).
          images: uint8 (n, 32, 128, 3).
          cut: as `words` takes it.
          again: whether there is a second look.
        """
        found = Decoded(*(np.asarray(part) for part in beams(images)))
        words = self.words(found, cut)
        if not again or not self.second_look or self.margin is None:
            return words
        unsure = np.flatnonzero(words.log_confidence < math.log(self.second_look))
        if not len(unsure):
            return words
        again = beams(np.concatenate([moved(images[unsure], *by) for by in _MOVES]))
        looks = Decoded(
            *(
                np.concatenate([first[unsure], *np.split(np.asarray(others), len(_MOVES))], axis=1)
                for first, others in zip(found, again, strict=True)
            )
        )
        looks = looks._replace(log_probability=looks.log_probability - math.log(1 + len(_MOVES)))
        better = self.words(looks, None if cut is None else [cut[row] for row in unsure])
        for row, text_of_row in zip(unsure, better.texts, strict=True):
            words.texts[row] = text_of_row
        words.log_probability[unsure] = better.log_probability
        words.log_confidence[unsure] = better.log_confidence
        return words

    def words(self, found: Decoded, cut: Sequence[bool] | None = None) -> Words:
        """The words of a batch.

        Args:
          found: as arrays of JAX or numpy the best beam of each word, or all of its beams
            (`decoding.every_beam`), of which those of the same text count as one. That one is taken
            whose log probability + `language_weight` x `log_ratio` is highest; how far it is ahead
            of the other beams in that sum says how sure it is. Where nothing can be read, that
            would still be some long English word: so one that the recogniser itself thinks less
            likely than 1 in 150 is as much less sure.
          cut: of each image whether its edges cut words, which are none then: its language weight
            is 0. None: of no image.
        """
        found = Decoded(*(np.asarray(part) for part in found))
        by_recognizer = found.log_probability.astype(np.float64)
        if found.tokens.ndim == 2:
            return Words(text.decode_tokens(found.tokens), by_recognizer, by_recognizer)
        batch, beams, _ = found.tokens.shape
        texts = text.decode_tokens(found.tokens.reshape(batch * beams, -1))
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
        # Rounding may take it above 0.
        share = np.minimum(together[rows, best] - np.logaddexp.reduce(together, axis=1), 0.0)
        doubt = np.where(weights > 0, np.minimum(alone - _DOUBTED, 0.0), 0.0)
        return Words([texts[row * beams + best[row]] for row in rows], alone, share + doubt)
