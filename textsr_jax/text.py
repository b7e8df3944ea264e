"""Characters: the alphabet of the recognisers, their token formats, and normalisation for scoring.

One label format serves every system: character indices, 1-36 for `0-9a-z` and 0 for "no character".
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

# The processes that draw synthetic words import this file; they have no use for JAX.
if TYPE_CHECKING:
    import jax

ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"

# CDistNet's vocabulary: four special tokens, then the alphabet.
PAD, UNKNOWN, START, END = 0, 1, 2, 3
FIRST_CHARACTER = 4
NUM_TOKENS = FIRST_CHARACTER + len(ALPHABET)

# The text-focus recogniser's classes: `-`, which ends a word, then the alphabet.
NUM_FOCUS_CLASSES = 1 + len(ALPHABET)

# CRNN's classes: CTC's blank, then the alphabet. They are the character indices of `encode`.
BLANK = 0
NUM_CTC_CLASSES = 1 + len(ALPHABET)

# The shares of English words, of numbers and of codes among the words on signs. The generator draws
# words by them, and the word search weighs texts by them.
ENGLISH_SHARE, NUMBER_SHARE, CODE_SHARE = 0.80, 0.12, 0.08

# The values of `data.labels` in a config: how labels with letters other than 0-9a-z are read.
LABELS = ("strip", "fold")

_INDEX = {character: index + 1 for index, character in enumerate(ALPHABET)}


def normalize(label: str) -> str:
    """Lower-cases `label` and keeps 0-9a-z: the form in which TextZoom scores words."""
    return "".join(character for character in label.lower() if character in _INDEX)


def fold(label: str) -> str:
    """Turns letters and digits into their plain forms: Unicode's NFKD without combining marks.

    `café` becomes `cafe`, a ligature `ﬁ` becomes `fi`, full-width `ＯＰＥＮ` becomes `OPEN`, and
    `x²` becomes `x2`. Characters without such a form stay: `ß`, `ø`, letters of other alphabets.
    PARSeq folds labels in the same way, and then drops all characters that are not ASCII.
    """
    decomposed = unicodedata.normalize("NFKD", label)
    return "".join(character for character in decomposed if not unicodedata.combining(character))


def encode(labels: Sequence[str], length: int) -> np.ndarray:
    """Encodes labels as character indices, int32 (len(labels), length), 0 after the last character.

    Raises:
      ValueError: a normalised label is longer than `length`.
    """
    characters = np.zeros((len(labels), length), np.int32)
    for row, label in enumerate(labels):
        word = normalize(label)
        if len(word) > length:
            raise ValueError(f"label {label!r} has {len(word)} characters; at most {length} fit")
        characters[row, : len(word)] = [_INDEX[character] for character in word]
    return characters


def decode_tokens(tokens: jax.Array | np.ndarray) -> list[str]:
    """Turns CDistNet's tokens, int (batch, steps), with or without the start token, into words.

    A word stops at its first end or pad token. Unknown and start tokens are left out.
    """
    words = []
    for row in np.asarray(tokens):
        word: list[str] = []
        for token in row:
            if token in (END, PAD):
                break
            if token >= FIRST_CHARACTER:
                word.append(ALPHABET[token - FIRST_CHARACTER])
        words.append("".join(word))
    return words


def cdistnet_tokens(characters: jax.Array | np.ndarray) -> jax.Array:
    """CDistNet's tokens: start, the characters, end, pads; int32 (batch, length + 2).

    `characters` is the int32 (batch, length) of `encode`. Works inside jit.
    """
    import jax.numpy as jnp

    characters = jnp.asarray(characters)
    batch, length = characters.shape
    edge = jnp.full((batch, 1), PAD, characters.dtype)
    body = jnp.where(characters > 0, characters + (FIRST_CHARACTER - 1), PAD)
    tokens = jnp.concatenate([edge + (START - PAD), body, edge], axis=1)
    lengths = (characters > 0).sum(axis=1, keepdims=True)
    return jnp.where(jnp.arange(length + 2) == lengths + 1, END, tokens)


def focus_tokens(characters: jax.Array | np.ndarray) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The text-focus recogniser's decoder input, targets and mask, each (batch, length + 1).

    Targets are the characters with class 0, the end, behind the last; the input is the targets
    shifted right behind a 0. The float32 mask is 1 up to the end, included, and 0 after it.

    Args:
      characters: int32 (batch, length), as `encode` gives them.
    """
    import jax.numpy as jnp

    characters = jnp.asarray(characters)
    end = jnp.zeros((characters.shape[0], 1), characters.dtype)
    targets = jnp.concatenate([characters, end], axis=1)
    inputs = jnp.concatenate([end, characters], axis=1)
    lengths = (characters > 0).sum(axis=1, keepdims=True)
    mask = (jnp.arange(targets.shape[1]) <= lengths).astype(jnp.float32)
    return inputs, targets, mask
