"""How likely a text is as English: a mixture of words by their frequency, numbers and anything.

The word search weighs a recogniser's beams with it. Every text stays possible: this is no lexicon.
"""

import functools
import math
import re
from collections.abc import Mapping

import numpy as np

from textsr_jax import text

_DIGITS = 10
_SEVERAL_DIGITS = re.compile("[0-9]{2,}")


def log_probability(word: str) -> float:
    """The natural logarithm of the probability of a text of 0-9a-z.

    The probabilities of all texts sum to 1 at most. They are a mixture of English words, numbers
    and codes, by the shares that `textsr_jax.text` names. English words have their frequencies in
    wordfreq's large list, some 300,000 texts of 0-9a-z; `womens`, `25th` and `a52` are among them.
    In a number or a code every character, and the end, is equally likely at each place.
    """
    anything = math.log(text.CODE_SHARE) + _at_random(word)
    if word.isdigit():
        number = math.log(text.NUMBER_SHARE) - (len(word) + 1) * math.log(_DIGITS + 1)
        return float(np.logaddexp(anything, number))
    # The list has `00th` for `00th` to `99th`, and so on.
    shape = _SEVERAL_DIGITS.sub(lambda digits: "0" * len(digits[0]), word)
    zeros = sum(map(len, _SEVERAL_DIGITS.findall(word)))
    if frequency := _frequencies().get(shape):
        likely = math.log(text.ENGLISH_SHARE * frequency) - zeros * math.log(_DIGITS)
        return float(np.logaddexp(anything, likely))
    return anything


def log_ratio(written: str) -> float:
    """The natural logarithm of how much likelier a text is than the same characters at random.

    Case and marks say nothing here: the words of the text count by their 0-9a-z
    (`text.normalize`), and the ratios of several words are added up.

    A probability falls with each character. The recogniser has weighed the length of a text
    already, so a probability would count against long texts twice. Speech recognisers divide by the
    probability in the language that they have learnt themselves (McDermott et al., "A Density Ratio
    Approach to Language Model Fusion in End-to-End Automatic Speech Recognition", 2019). Ours is
    taken to have learnt that all characters are equally likely.
    """
    words = [word for word in map(text.normalize, written.split()) if word] or [""]
    return sum(log_probability(word) - _at_random(word) for word in words)


def _at_random(word: str) -> float:
    """The log probability of a text where every character, and the end, is equally likely."""
    return -(len(word) + 1) * math.log(len(text.ALPHANUMERIC.characters) + 1)


@functools.cache
def _frequencies() -> Mapping[str, float]:
    """Frequencies of the texts of 0-9a-z that are not numbers.

    Words such as `women's` count without their marks. Each of several digits together is a 0.
    """
    # Late: it is slow to import, and training never asks.
    import wordfreq

    listed = wordfreq.get_frequency_dict("en", wordlist="large")
    found: dict[str, float] = {}
    for word, value in listed.items():
        if not word.isascii():
            continue
        plain = word if word.isalnum() else text.normalize(word)
        if plain and not plain.isdigit():
            found[plain] = found.get(plain, 0.0) + value
    return found
