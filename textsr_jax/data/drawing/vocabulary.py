"""What the words say: the kinds and forms of `synthetic.vocabulary`, chosen inside `jit`.

A word is an array of character codes; its label is an array of indices into an alphabet.
"""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from textsr_jax.data.drawing.atlas import is_upper
from textsr_jax.data.synthetic import vocabulary as forms
from textsr_jax.errors import UserError

MAX_CODES = 28  # characters of the longest word, punctuation included

MOST_MARKS = 2  # that are added to the letters and digits of a word
_NEVER = MAX_CODES  # a place that no character has


class Vocabulary(flax.struct.PyTreeNode):
    """The words to choose from. They are chosen by the alias method (Walker, 1977).

    Attributes:
      words: uint8 (words, MAX_CODES), lower-case ASCII, 0 after the last letter.
      thresholds: float32 (words,), the chance that a word that was hit is taken.
      aliases: int32 (words,), the word that is taken otherwise.
      kinds: float32 (2,), the chance of a dictionary word, and that of one or a number.
      min_length, max_length: bounds of the number of letters and digits, both included.
    """

    words: jax.Array
    thresholds: jax.Array
    aliases: jax.Array
    kinds: jax.Array
    min_length: int = flax.struct.field(pytree_node=False)
    max_length: int = flax.struct.field(pytree_node=False)


def make_vocabulary(words: str, min_length: int, max_length: int) -> Vocabulary:
    """The words of a kind of `synthetic.vocabulary.KINDS`, with bounds of their lengths.

    Raises:
      UserError: `max_length` is too long, or see `synthetic.vocabulary.load`.
    """
    if max_length > MAX_CODES - MOST_MARKS:
        raise UserError(
            f"max_length={max_length}: words drawn where they are trained have at most"
            f" {MAX_CODES - MOST_MARKS} letters and digits"
        )
    forms.load(words, min_length, max_length)
    chances = np.array([words == kind for kind in forms.MIX], float)
    if words == "mixed":
        chances = np.array([*forms.MIX.values()])
    table, sums = [""], np.ones(1)
    if chances[0]:
        table, sums = forms.english(min_length, max_length)
    letters = np.zeros((len(table), MAX_CODES), np.uint8)
    for row, word in enumerate(table):
        letters[row, : len(word)] = np.frombuffer(word.encode("ascii"), np.uint8)
    thresholds, aliases = _alias_table(np.diff(sums, prepend=0))
    return Vocabulary(
        words=jnp.asarray(letters),
        thresholds=jnp.asarray(thresholds),
        aliases=jnp.asarray(aliases),
        kinds=jnp.asarray(np.cumsum(chances)[:2], jnp.float32),
        min_length=min_length,
        max_length=max_length,
    )


def sample(key: jax.Array, vocabulary: Vocabulary) -> jax.Array:
    """One word, uint8 (MAX_CODES,): codes of printable ASCII or a pound sign, 0 after the last.

    Kinds, case, punctuation and lengths are distributed as in `synthetic.vocabulary.sample`.
    """
    numbers = jax.random.uniform(key, (4, MAX_CODES))
    kind = numbers[0, 0]
    words = (
        _dictionary(numbers[1], numbers[0, 1:], vocabulary),
        _number(numbers[2], numbers[0, 1:], vocabulary),
        _code(numbers[3], numbers[0, 1:], vocabulary),
    )
    chosen = (kind >= vocabulary.kinds).sum()
    return jnp.stack(words)[chosen].astype(jnp.uint8)


def character_table(alphabet: str) -> np.ndarray:
    """The character index of every character code: int32 (256,), 0 for what has none.

    A capital that is not in the alphabet has its small letter's index.

    Args:
      alphabet: the characters with the indices 1, 2, 3, ...
    """
    index = {character: place + 1 for place, character in enumerate(alphabet)}
    codes = [chr(code) for code in range(256)]
    return np.array([index.get(c, index.get(c.lower(), 0)) for c in codes], np.int32)


def characters(codes: jax.Array, max_length: int, table: jax.Array | np.ndarray) -> jax.Array:
    """The label of a word: int32 (max_length,) character indices, 0 after the last.

    Characters outside the alphabet are left out, as `Alphabet.encode` does.

    Args:
      codes: uint8 (characters,), the word, 0 after its last character.
      max_length: the label's size; what goes beyond it is left out.
      table: int32 (256,), of `character_table`.
    """
    indices = jnp.asarray(table)[codes]
    kept = indices > 0
    places = jnp.where(kept, jnp.cumsum(kept) - 1, -1)
    return jnp.where(places == jnp.arange(max_length)[:, None], indices, 0).sum(axis=1)


def _dictionary(cases: jax.Array, rest: jax.Array, vocabulary: Vocabulary) -> jax.Array:
    """An English word. `cases` and `rest` are uniform random numbers, as in the functions below."""
    hit, threshold, case, wrap, mark, cut, chance = rest[:7]
    row = _below(len(vocabulary.words), hit)
    row = jnp.where(threshold < vocabulary.thresholds[row], row, vocabulary.aliases[row])
    word = vocabulary.words[row].astype(jnp.int32)
    length = (word > 0).sum()
    place = jnp.arange(MAX_CODES)
    capital = (case >= forms.CASES["lower"]) & (cases < 0.5)
    capital = jnp.where(case < forms.CASES["capitalized"], place == 0, capital)
    capital |= case < forms.CASES["upper"]
    word = jnp.where(capital & (word > 0), word - (ord("a") - ord("A")), word)

    stop = chance < forms.MARKS["stop"]
    wrapped = ~stop & (chance < forms.MARKS["wrapped"])
    joined = (chance < forms.MARKS["joined"]) & (length >= forms.FEWEST_JOINED)
    joined &= ~(stop | wrapped)
    owner = (chance < forms.MARKS["possessive"]) & (length < vocabulary.max_length)
    owner &= ~(stop | wrapped | joined)
    quotes = wrap < 0.5
    ending = jnp.where(is_upper(word) & (length > 1), ord("S"), ord("s"))
    before = wrapped * jnp.where(quotes, ord('"'), ord("("))
    after = wrapped * jnp.where(quotes, ord('"'), ord(")"))
    after += stop * _one_of(forms.STOPS, mark) + owner * ord("'")
    middle = joined * _one_of(forms.JOINTS, mark)
    place = 2 + _below(length - 3, cut)
    return _marked(word, length, before, middle, place, after, owner * ending)


def _number(digits: jax.Array, rest: jax.Array, vocabulary: Vocabulary) -> jax.Array:
    size, style, first, mark, unit = rest[:5]
    wish = 1 + jnp.floor(jnp.log1p(-size) / np.log1p(-forms.SHORT_NUMBERS))
    length = _length(wish.astype(jnp.int32), vocabulary)
    number = _filled(_one_of(forms.DIGITS, digits), length)
    style_of = {"digits": style < forms.NUMBERS["digits"]}
    fits = {
        "price": length >= 3,
        "sign": True,
        "percent": True,
        "time": (length == 3) | (length == 4),
        "parts": length >= 4,
        "thousands": length >= 4,
    }
    # A number that is too short for its style has the next style that fits it.
    earlier = style_of["digits"]
    for name, possible in fits.items():
        style_of[name] = ~earlier & (style < forms.NUMBERS[name]) & possible
        earlier |= style_of[name]
    measured = ~earlier & (length < vocabulary.max_length)

    currencies = jnp.array([ord(mark) if mark else 0 for mark in forms.CURRENCIES])
    currency = currencies[_below(len(forms.CURRENCIES), first)]
    before = style_of["price"] * currency + style_of["sign"] * _one_of(forms.SIGNS, first)
    middle = (
        style_of["price"] * ord(".")
        + style_of["time"] * ord(":")
        + style_of["parts"] * _one_of(forms.PART_MARKS, mark)
        + style_of["thousands"] * ord(",")
    )
    place = jnp.where(style_of["parts"], length // 2, length - 2 - style_of["thousands"])
    after = style_of["percent"] * ord("%") + measured * _one_of(forms.UNITS, unit)
    return _marked(number, length, before, middle, place, after, 0)


def _code(fill: jax.Array, rest: jax.Array, vocabulary: Vocabulary) -> jax.Array:
    size, style, split, turned, lowered, parted, cut = rest[:7]
    fewest, most = forms.CODE_LENGTHS
    length = _length(fewest + _below(most + 1 - fewest, size), vocabulary)
    letters, digits = _one_of(forms.LETTERS, fill), _one_of(forms.DIGITS, fill)
    # Letters and then digits, or the other way round.
    place = jnp.arange(MAX_CODES)
    change = _below(length + 1, split)
    turned = turned < forms.REVERSED_PLATES
    is_letter = jnp.where(turned, place >= length - change, place < change)
    plate = jnp.where(is_letter, letters, digits)
    mixed = _one_of(forms.LETTERS + forms.DIGITS, fill)
    in_letters, in_plates = style < forms.CODES["letters"], style < forms.CODES["plate"]
    word = jnp.where(in_letters, letters, jnp.where(in_plates, plate, mixed))
    lowered = (lowered < forms.LOWER_CODES) & (word >= ord("A"))
    word = _filled(jnp.where(lowered, word + (ord("a") - ord("A")), word), length)
    parted = (length >= forms.FEWEST_CUT) & (parted < forms.CUT_CODES)
    return _marked(word, length, 0, parted * ord("-"), 1 + _below(length - 1, cut), 0, 0)


def _below(count: jax.Array | int, number: jax.Array) -> jax.Array:
    """The whole number 0, 1, ..., count - 1 that a random number in [0, 1) stands for."""
    return jnp.minimum((number * count).astype(jnp.int32), count - 1)


def _one_of(choices: str, numbers: jax.Array) -> jax.Array:
    return jnp.array([ord(choice) for choice in choices])[_below(len(choices), numbers)]


def _length(wish: jax.Array, vocabulary: Vocabulary) -> jax.Array:
    return jnp.clip(wish, max(1, vocabulary.min_length), vocabulary.max_length)


def _filled(word: jax.Array, length: jax.Array) -> jax.Array:
    return jnp.where(jnp.arange(MAX_CODES) < length, word, 0)


def _marked(
    word: jax.Array,
    length: jax.Array,
    before: jax.Array | int,
    middle: jax.Array | int,
    place: jax.Array,
    after: jax.Array | int,
    last: jax.Array | int,
) -> jax.Array:
    """The word, int32 (MAX_CODES,), with marks: one before it, one at `place` in it, two after it.

    A mark is a character's code, or 0 for none.
    """
    for mark, at in ((last, length), (after, length), (middle, place), (before, 0)):
        mark = jnp.asarray(mark, jnp.int32)
        word = _inserted(word, jnp.where(mark > 0, at, _NEVER), mark)
    return word


def _inserted(word: jax.Array, at: jax.Array, mark: jax.Array) -> jax.Array:
    places = jnp.arange(MAX_CODES)
    moved = jnp.roll(word, 1)
    return jnp.where(places < at, word, jnp.where(places == at, mark, moved))


def _alias_table(chances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vose's table: a threshold, float32, and another word, int32, for every word."""
    parts = chances / chances.sum() * len(chances)
    aliases = np.arange(len(parts), dtype=np.int32)
    small = [i for i, part in enumerate(parts) if part < 1]
    large = [i for i, part in enumerate(parts) if part >= 1]
    while small and large:
        low, high = small.pop(), large[-1]
        aliases[low] = high
        parts[high] -= 1 - parts[low]
        if parts[high] < 1:
            small.append(large.pop())
    # What rounding leaves over has a chance of 1.
    parts[small + large] = 1
    return parts.astype(np.float32), aliases
