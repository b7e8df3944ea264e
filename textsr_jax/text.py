"""Characters: the alphabets of the recognisers, their token formats, and normalisation for scoring.

One label format serves every system: character indices, 1-36 for `0-9a-z`, then the alphabet's
other characters, and 0 for "no character".
"""

from __future__ import annotations

import dataclasses
import functools
import string
import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

# The processes that draw synthetic words import this file; they have no use for JAX.
if TYPE_CHECKING:
    import jax

# CDistNet's vocabulary: four special tokens, then the characters of the alphabet.
PAD, UNKNOWN, START, END = 0, 1, 2, 3
FIRST_CHARACTER = 4

# CTC's blank, in front of the characters; it is the index of "no character".
BLANK = 0


@dataclasses.dataclass(frozen=True)
class Alphabet:
    """The characters that a recogniser writes, and the numbers that stand for them.

    The index of a character is its place in `characters`, counted from 1.

    Attributes:
      name: its name in configs; a key of `ALPHABETS`.
      characters: each character once; `0-9a-z` are the first 36 of every alphabet.
    """

    name: str
    characters: str

    @property
    def num_tokens(self) -> int:
        """How many tokens CDistNet has: the special ones and the characters."""
        return FIRST_CHARACTER + len(self.characters)

    @property
    def num_ctc_classes(self) -> int:
        """How many classes CRNN has: CTC's blank and the characters, by their indices."""
        return 1 + len(self.characters)

    @property
    def word_space(self) -> str:
        """What stands between two words of a text: a space, or nothing where it has none."""
        return " " if " " in self._index else ""

    def normalize(self, label: str) -> str:
        """Keeps the characters that the alphabet has; the form in which labels are trained on.

        Capitals become small letters where the alphabet has no capitals. Where it has a space, no
        two spaces are neighbours, and none is at an end: no image shows those.
        """
        if "A" not in self._index:
            label = label.lower()
        kept = "".join(character for character in label if character in self._index)
        return " ".join(kept.split())

    def encode(self, labels: Sequence[str], length: int) -> np.ndarray:
        """Encodes labels as character indices, int32 (len(labels), length), 0 after the last one.

        Raises:
          ValueError: a normalised label is longer than `length`.
        """
        characters = np.zeros((len(labels), length), np.int32)
        for row, label in enumerate(labels):
            word = self.normalize(label)
            if len(word) > length:
                raise ValueError(
                    f"label {label!r} has {len(word)} characters; at most {length} fit"
                )
            characters[row, : len(word)] = [self._index[character] for character in word]
        return characters

    def decode_tokens(self, tokens: jax.Array | np.ndarray) -> list[str]:
        """Turns CDistNet's tokens, int (batch, steps), with or without the start token, into texts.

        A text stops at its first end or pad token. Unknown and start tokens are left out.
        """
        texts = []
        for row in np.asarray(tokens):
            found: list[str] = []
            for token in row:
                if token in (END, PAD):
                    break
                if token >= FIRST_CHARACTER:
                    found.append(self.characters[token - FIRST_CHARACTER])
            texts.append("".join(found))
        return texts

    @functools.cached_property
    def _index(self) -> Mapping[str, int]:
        return {character: index for index, character in enumerate(self.characters, 1)}


# The paper's, and that of all published checkpoints.
ALPHANUMERIC = Alphabet("alphanumeric", string.digits + string.ascii_lowercase)
# All of printable ASCII, the space last. It begins with the other alphabet, so a recogniser grows
# from one to the other by rows behind those that it has.
PRINTABLE = Alphabet(
    "printable", ALPHANUMERIC.characters + string.ascii_uppercase + string.punctuation + " "
)
# By the names that configs use.
ALPHABETS = {alphabet.name: alphabet for alphabet in (ALPHANUMERIC, PRINTABLE)}

# For each index of `PRINTABLE` the index of the same character, or of the small letter, in
# `ALPHANUMERIC`; 0 where it has none.
_ALPHANUMERIC_INDEX = np.array(
    [0, *(ALPHANUMERIC.characters.find(c.lower()) + 1 for c in PRINTABLE.characters)], np.int32
)

# The text-focus recogniser's classes, as published: `-`, which ends a word, then `0-9a-z`.
NUM_FOCUS_CLASSES = 1 + len(ALPHANUMERIC.characters)

# The shares of English words, of numbers and of codes among the words on signs. The generator draws
# words by them, and the word search weighs texts by them.
ENGLISH_SHARE, NUMBER_SHARE, CODE_SHARE = 0.80, 0.12, 0.08

# The values of `data.labels` in a config: how labels with letters other than 0-9a-z are read.
LABELS = ("strip", "fold")


def normalize(label: str) -> str:
    """Lower-cases `label` and keeps 0-9a-z: the form in which TextZoom scores words."""
    return ALPHANUMERIC.normalize(label)


def fold(label: str) -> str:
    """Turns letters and digits into their plain forms: Unicode's NFKD without combining marks.

    `café` becomes `cafe`, a ligature `ﬁ` becomes `fi`, full-width `ＯＰＥＮ` becomes `OPEN`, and
    `x²` becomes `x2`. Characters without such a form stay: `ß`, `ø`, letters of other alphabets.
    PARSeq folds labels in the same way, and then drops all characters that are not ASCII.
    """
    decomposed = unicodedata.normalize("NFKD", label)
    return "".join(character for character in decomposed if not unicodedata.combining(character))


def cdistnet_tokens(characters: jax.Array | np.ndarray) -> jax.Array:
    """CDistNet's tokens: start, the characters, end, pads; int32 (batch, length + 2).

    `characters` is the int32 (batch, length) of `Alphabet.encode`. Works inside jit.
    """
    import jax.numpy as jnp

    characters = jnp.asarray(characters)
    batch, length = characters.shape
    edge = jnp.full((batch, 1), PAD, characters.dtype)
    body = jnp.where(characters > 0, characters + (FIRST_CHARACTER - 1), PAD)
    tokens = jnp.concatenate([edge + (START - PAD), body, edge], axis=1)
    lengths = (characters > 0).sum(axis=1, keepdims=True)
    return jnp.where(jnp.arange(length + 2) == lengths + 1, END, tokens)


def to_alphanumeric(characters: jax.Array | np.ndarray) -> jax.Array:
    """The characters of any of `ALPHABETS` as those of `ALPHANUMERIC`: int32 (batch, length).

    As `normalize` does for strings: capitals become small letters, marks and spaces are left out,
    and what is behind them moves up. Works inside jit.

    Args:
      characters: int32 (batch, length), as `Alphabet.encode` gives them.
    """
    import jax.numpy as jnp

    found = jnp.asarray(_ALPHANUMERIC_INDEX)[jnp.asarray(characters)]
    # The sort is stable, so that characters keep their order.
    order = jnp.argsort(found == 0, axis=1, stable=True)
    return jnp.take_along_axis(found, order, axis=1)


def focus_tokens(characters: jax.Array | np.ndarray) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The text-focus recogniser's decoder input, targets and mask, each (batch, length + 1).

    It reads 0-9a-z whatever the alphabet (`to_alphanumeric`). Targets are the characters with class
    0, the end, behind the last; the input is the targets shifted right behind a 0. The float32 mask
    is 1 up to the end, included, and 0 after it.

    Args:
      characters: int32 (batch, length), as `Alphabet.encode` gives them.
    """
    import jax.numpy as jnp

    characters = to_alphanumeric(characters)
    end = jnp.zeros((characters.shape[0], 1), characters.dtype)
    targets = jnp.concatenate([characters, end], axis=1)
    inputs = jnp.concatenate([end, characters], axis=1)
    lengths = (characters > 0).sum(axis=1, keepdims=True)
    mask = (jnp.arange(targets.shape[1]) <= lengths).astype(jnp.float32)
    return inputs, targets, mask
