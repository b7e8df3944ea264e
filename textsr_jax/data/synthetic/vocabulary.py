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

DIGITS = string.digits
LETTERS = string.ascii_uppercase
MIX = {
    "dictionary": text.ENGLISH_SHARE,
    "numbers": text.NUMBER_SHARE,
    "codes": text.CODE_SHARE,
}

# The chances of each form of a word as running sums, which `drawing.vocabulary` shares.
CASES = {"upper": 0.52, "capitalized": 0.78, "lower": 0.99}  # else any letter in any case
MARKS = {"stop": 0.05, "wrapped": 0.06, "joined": 0.07, "possessive": 0.08}
STOPS, JOINTS = ".,:!?.", "--&/"
FEWEST_JOINED = 6  # letters of a word that has a joint
SHORT_NUMBERS = 0.35  # the parameter of a geometric distribution of the number of digits
NUMBERS = {
    "digits": 0.65,
    "price": 0.75,
    "sign": 0.80,
    "percent": 0.85,
    "time": 0.90,
    "parts": 0.94,
    "thousands": 0.97,
}
CURRENCIES, SIGNS, PART_MARKS, UNITS = ("$", "£", ""), "$£#", "-/.", "ABMkmp"
CODE_LENGTHS = 2, 8
CODES = {"letters": 0.35, "plate": 0.70}  # else letters and digits in any order
REVERSED_PLATES, LOWER_CODES, CUT_CODES = 0.3, 0.2, 0.2
FEWEST_CUT = 4  # letters and digits of a code that is cut in two

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
    if kind in ("mixed", "dictionary", "text") and not english(min_length, max_length)[0]:
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
        kind = str(rng.choice(list(MIX), p=list(MIX.values())))
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
def english(min_length: int, max_length: int) -> tuple[list[str], np.ndarray]:
    """The English words of fitting length, lower case, and the running sums of their chances.

    Raises:
      UserError: wordfreq is not installed.
    """
    frequencies = {
        word: frequency
        for word, frequency in _frequencies().items()
        if min_length <= len(word) <= max_length
    }
    chances = np.array(list(frequencies.values())) ** _FLATNESS
    return list(frequencies), np.cumsum(chances) / max(chances.sum(), 1e-12)


def _dictionary(min_length: int, max_length: int, rng: np.random.Generator) -> str:
    load("dictionary", min_length, max_length)
    words, chances = english(min_length, max_length)
    # The last sum may be slightly below 1.
    word = words[min(int(np.searchsorted(chances, rng.random())), len(words) - 1)]
    case = rng.random()
    if case < CASES["upper"]:
        word = word.upper()
    elif case < CASES["capitalized"]:
        word = word.capitalize()
    elif case > CASES["lower"]:
        word = "".join(c.upper() if rng.random() < 0.5 else c for c in word)
    return _punctuated(word, max_length, rng)


def _punctuated(word: str, max_length: int, rng: np.random.Generator) -> str:
    chance = rng.random()
    if chance < MARKS["stop"]:
        return word + rng.choice(list(STOPS))
    if chance < MARKS["wrapped"]:
        return f'"{word}"' if rng.random() < 0.5 else f"({word})"
    if chance < MARKS["joined"] and len(word) >= FEWEST_JOINED:
        cut = int(rng.integers(2, len(word) - 1))
        return f"{word[:cut]}{rng.choice(list(JOINTS))}{word[cut:]}"
    if chance < MARKS["possessive"] and len(word) < max_length:
        return word + ("'S" if word.isupper() and len(word) > 1 else "'s")
    return word


def _number(min_length: int, max_length: int, rng: np.random.Generator) -> str:
    # Most numbers are short: buses, house numbers, prices, years.
    digits = _length(int(rng.geometric(SHORT_NUMBERS)), min_length, max_length)
    number = "".join(rng.choice(list(DIGITS), digits))
    style = rng.random()
    if style < NUMBERS["digits"]:
        return number
    if style < NUMBERS["price"] and digits >= 3:
        return f"{rng.choice(CURRENCIES)}{number[:-2]}.{number[-2:]}"
    if style < NUMBERS["sign"]:
        return rng.choice(list(SIGNS)) + number
    if style < NUMBERS["percent"]:
        return number + "%"
    if style < NUMBERS["time"] and digits in (3, 4):
        return f"{number[:-2]}:{number[-2:]}"
    if style < NUMBERS["parts"] and digits >= 4:
        cut = digits // 2
        return f"{number[:cut]}{rng.choice(list(PART_MARKS))}{number[cut:]}"
    if style < NUMBERS["thousands"] and digits >= 4:
        return f"{number[:-3]},{number[-3:]}"
    if digits < max_length:
        return number + rng.choice(list(UNITS))
    return number


def _code(min_length: int, max_length: int, rng: np.random.Generator) -> str:
    """A number plate, a serial number or an abbreviation, which no dictionary holds."""
    fewest, most = CODE_LENGTHS
    size = _length(int(rng.integers(fewest, most + 1)), min_length, max_length)
    style = rng.random()
    if style < CODES["letters"]:
        characters = [*rng.choice(list(LETTERS), size)]
    elif style < CODES["plate"]:
        # Letters and then digits, or the other way round.
        cut = int(rng.integers(0, size + 1))
        characters = [*rng.choice(list(LETTERS), cut), *rng.choice(list(DIGITS), size - cut)]
        characters = characters[::-1] if rng.random() < REVERSED_PLATES else characters
    else:
        characters = [*rng.choice(list(LETTERS + DIGITS), size)]
    code = "".join(characters)
    if rng.random() < LOWER_CODES:
        code = code.lower()
    if size >= FEWEST_CUT and rng.random() < CUT_CODES:
        cut = int(rng.integers(1, size))
        code = f"{code[:cut]}-{code[cut:]}"
    return code


def _text(min_length: int, max_length: int, rng: np.random.Generator) -> str:
    """One to three words with single spaces between them, in one case, and perhaps a mark."""
    count = 1 + int(rng.choice(3, p=(0.55, 0.30, 0.15)))
    least, most = -(-min_length // count), max_length // count
    if not 1 <= least <= most or not english(least, most)[0]:
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
