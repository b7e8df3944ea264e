"""What the synthetic words say: English words by flattened frequency, numbers, prices and codes.

Case and punctuation follow those of signs and posters: mostly capitals, now and then a stop. The
length of a word counts its letters and digits only, as scoring does. The kind "text" has spaces.
"""

import functools
import re
import string

import numpy as np

from textsr_jax import text
from textsr_jax.errors import UserError

KINDS = ("mixed", "dictionary", "numbers", "codes", "text")

_DIGITS = string.digits
_LETTERS = string.ascii_uppercase
_MIX = {
    "dictionary": text.ENGLISH_SHARE,
    "numbers": text.NUMBER_SHARE,
    "codes": text.CODE_SHARE,
}

# The words taken from the frequency list. The rest of it is mostly misspelt or foreign.
_NUM_WORDS = 60_000
# Words left out, since the pictures end up in figures and reports.
_OBSCENE = re.compile(
    "fuck|shit|cunt(?!h)|nigg|bitch|whore|puss(y|ies)$|porn|fag(s|got|$)|wank|slut|jizz|blowjob"
    "|masturbat|dildo|penis|vagin|orgasm|motherf|rapist|raped?s?$|cum(s|ming|$)"
    "|dick(s|head|$)|anal$"
    "|milf(s|$)|twat|tits$|titt(y|ies)|horny|pedo(ph|s|$)|semen$|scrotum|boob|cocks?$"
    "|nudes?$|sex(y|$)|erotic"
)

# A word's chance is its frequency to this power, so that rare words are not too rare.
_FLATNESS = 0.7


def load(kind: str, min_length: int, max_length: int) -> None:
    """Reads the word list, once a process, where words of this `kind` need it; see `sample`.

    Raises:
      UserError: wordfreq is not installed, or no word has such a length.
    """
    if kind in ("mixed", "dictionary", "text") and not _words(min_length, max_length)[0]:
        raise UserError(
            f"min_length={min_length}, max_length={max_length}: no English word has such a"
            " length; lower min_length or choose other words"
        )


def sample(kind: str, min_length: int, max_length: int, rng: np.random.Generator) -> str:
    """One word as it will be drawn, printable ASCII or a pound sign; in "text" spaces, no pounds.

    Args:
      kind: "dictionary", "numbers" (with prices, dates and times), "codes" (random letters and
        digits), "mixed": all three, by the shares of `textsr_jax.text`; or "text": one to three of
        these with single spaces between them, and now and then any mark of ASCII.
      min_length, max_length: bounds of the number of its letters and digits, both included.
      rng: where the randomness comes from.

    Raises:
      UserError: see `load`.
      ValueError: `kind` is unknown.
    """
    if kind not in KINDS:
        raise ValueError(f"kind {kind!r}; expected one of {', '.join(KINDS)}")
    if kind == "mixed":
        kind = str(rng.choice(list(_MIX), p=list(_MIX.values())))
    draw = {"dictionary": _dictionary, "numbers": _number, "codes": _code, "text": _text}[kind]
    return draw(min_length, max_length, rng)


@functools.cache
def _frequencies() -> dict[str, float]:
    try:
        import wordfreq
    except ImportError as error:
        raise UserError(
            "words: the package wordfreq is not installed; pip install wordfreq"
        ) from error
    words = wordfreq.top_n_list("en", _NUM_WORDS, wordlist="large")
    # Most single letters in the list are initials and list marks; two are words.
    return {
        word: wordfreq.word_frequency(word, "en", wordlist="large")
        for word in words
        if word.isascii()
        and word.isalpha()
        and (len(word) > 1 or word in "ai")
        and not _OBSCENE.search(word)
    }


@functools.cache
def _words(min_length: int, max_length: int) -> tuple[list[str], np.ndarray]:
    """The words of fitting length, and the running sums of their chances."""
    frequencies = {
        word: frequency
        for word, frequency in _frequencies().items()
        if min_length <= len(word) <= max_length
    }
    chances = np.array(list(frequencies.values())) ** _FLATNESS
    return list(frequencies), np.cumsum(chances) / max(chances.sum(), 1e-12)


def _dictionary(min_length: int, max_length: int, rng: np.random.Generator) -> str:
    load("dictionary", min_length, max_length)
    words, chances = _words(min_length, max_length)
    # The last sum may be slightly below 1.
    word = words[min(int(np.searchsorted(chances, rng.random())), len(words) - 1)]
    case = rng.random()
    if case < 0.52:
        word = word.upper()
    elif case < 0.78:
        word = word.capitalize()
    elif case > 0.99:
        word = "".join(c.upper() if rng.random() < 0.5 else c for c in word)
    return _punctuated(word, max_length, rng)


def _punctuated(word: str, max_length: int, rng: np.random.Generator) -> str:
    chance = rng.random()
    if chance < 0.05:
        return word + rng.choice(list(".,:!?."))
    if chance < 0.06:
        return f'"{word}"' if rng.random() < 0.5 else f"({word})"
    if chance < 0.07 and len(word) >= 6:
        cut = int(rng.integers(2, len(word) - 1))
        return f"{word[:cut]}{rng.choice(['-', '-', '&', '/'])}{word[cut:]}"
    if chance < 0.08 and len(word) < max_length:
        return word + ("'S" if word.isupper() and len(word) > 1 else "'s")
    return word


def _number(min_length: int, max_length: int, rng: np.random.Generator) -> str:
    # Most numbers are short: buses, house numbers, prices, years.
    digits = _length(int(rng.geometric(0.35)), min_length, max_length)
    number = "".join(rng.choice(list(_DIGITS), digits))
    style = rng.random()
    if style < 0.65:
        return number
    if style < 0.75 and digits >= 3:
        return f"{rng.choice(['$', '£', ''])}{number[:-2]}.{number[-2:]}"
    if style < 0.80:
        return rng.choice(["$", "£", "#"]) + number
    if style < 0.85:
        return number + "%"
    if style < 0.90 and digits in (3, 4):
        return f"{number[:-2]}:{number[-2:]}"
    if style < 0.94 and digits >= 4:
        cut = digits // 2
        return f"{number[:cut]}{rng.choice(['-', '/', '.'])}{number[cut:]}"
    if style < 0.97 and digits >= 4:
        return f"{number[:-3]},{number[-3:]}"
    if digits < max_length:
        return number + rng.choice(["A", "B", "M", "k", "m", "p"])
    return number


def _code(min_length: int, max_length: int, rng: np.random.Generator) -> str:
    """A number plate, a serial number or an abbreviation, which no dictionary holds."""
    size = _length(int(rng.integers(2, 9)), min_length, max_length)
    style = rng.random()
    if style < 0.35:
        characters = [*rng.choice(list(_LETTERS), size)]
    elif style < 0.70:
        # Letters and then digits, or the other way round.
        cut = int(rng.integers(0, size + 1))
        characters = [*rng.choice(list(_LETTERS), cut), *rng.choice(list(_DIGITS), size - cut)]
        characters = characters[::-1] if rng.random() < 0.3 else characters
    else:
        characters = [*rng.choice(list(_LETTERS + _DIGITS), size)]
    code = "".join(characters)
    if rng.random() < 0.2:
        code = code.lower()
    if size >= 4 and rng.random() < 0.2:
        cut = int(rng.integers(1, size))
        code = f"{code[:cut]}-{code[cut:]}"
    return code


def _text(min_length: int, max_length: int, rng: np.random.Generator) -> str:
    """One to three words with single spaces between them, in one case, and perhaps a mark."""
    count = 1 + int(rng.choice(3, p=(0.55, 0.30, 0.15)))
    least, most = -(-min_length // count), max_length // count
    if not 1 <= least <= most or not _words(least, most)[0]:
        count, least, most = 1, min_length, max_length
    words = [sample("mixed", least, most, rng) for _ in range(count)]
    case = rng.random()
    if count > 1 and case < 0.45:
        words = [word.upper() for word in words]
    elif count > 1 and case < 0.75:
        words = [word.capitalize() for word in words]
    written = " ".join(words).replace("£", "$")  # ASCII has no pound sign
    if rng.random() < 0.2:
        place = int(rng.integers(len(written) + 1))
        written = written[:place] + str(rng.choice(list(string.punctuation))) + written[place:]
    return written


def _length(wish: int, min_length: int, max_length: int) -> int:
    return int(min(max(wish, 1, min_length), max_length))
