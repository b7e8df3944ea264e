"""What a recogniser declares beside its network: its alphabet, its loss, how its words are read.

Training, evaluation and reading ask nothing else of it. So a new recogniser is one file: a module
with what `Recognizer` has (tests/models/test_recognizer.py has a small one). A config can
choose it once it is in `models.OCR_NETWORKS` and in config/network_settings.py.
"""

from collections.abc import Callable
from typing import Any, Protocol

import jax
from flax import nnx

from textsr_jax.text import Alphabet

# A loss, and scalars for the log.
Loss = tuple[jax.Array, dict[str, jax.Array]]
# int32 tokens (batch, steps) of `textsr_jax.text` without the start token, int32 numbers of them
# (batch,) with the end token, and float32 log probabilities (batch,): `decoding.Decoded`.
Words = tuple[jax.Array, jax.Array, jax.Array]


class Losses(Protocol):
    """The losses that a recogniser chooses from: `losses.BatchLosses` or `losses.WordLosses`.

    They know the words, and over what their mean is taken.

    Attributes:
      characters: int32 (batch, length), the words as `text.Alphabet.encode` gives them.
    """

    @property
    def characters(self) -> jax.Array: ...

    def cross_entropy(
        self,
        logits: jax.Array,
        targets: Callable[[jax.Array], jax.Array],
        *,
        smoothing: float = 0.0,
    ) -> Loss:
        """Cross-entropy of each token.

        Args:
          logits: float (batch, steps, classes).
          targets: maps characters (n, length) to tokens, int32 (n, steps); pads do not count.
          smoothing: probability taken from the true class and spread over all others.
        """
        ...

    def ctc(self, logits: jax.Array) -> Loss:
        """CTC of logits (batch, frames, classes), whose class 0 is the blank."""
        ...


class Search(Protocol):
    """The searches that a recogniser chooses from: `decoding.Search`.

    Attributes:
      beam: beams for each word.
      steps: tokens for each word at most, the end token included.
    """

    @property
    def beam(self) -> int: ...

    @property
    def steps(self) -> int: ...

    def by_token(self, step: Callable[..., Any], cache: Any, words: int) -> Words:
        """Reads token by token: greedy, or with beams.

        Args:
          step: (tokens (rows,), position, cache) to the next tokens' logits and the new cache.
          cache: for position 0, with words x `beam` rows.
          words: how many words there are.
        """
        ...

    def by_frame(self, logits: jax.Array) -> Words:
        """Reads the best path of CTC's logits (batch, frames, classes)."""
        ...


class Recognizer(Protocol):
    """A network that reads words from images, float32 (batch, 32, 128, 3), RGB in [0, 1].

    Its constructor takes `alphabet`, beside the sizes of a config, `dtype` and `rngs`.

    Attributes:
      alphabet: the characters that it writes; they are its classes or tokens.
    """

    alphabet: Alphabet

    def loss(
        self,
        images: jax.Array,
        losses: Losses,
        *,
        train: bool = False,
        rngs: nnx.Rngs | None = None,
    ) -> Loss:
        """The loss that the network is trained with, on images of the words of `losses`.

        Args:
          images: (batch, 32, 128, 3).
          losses: the words, and the losses to choose from.
          train: normalise by the batch's statistics, update the running ones, and drop out.
          rngs: needed for dropout in training.
        """
        ...

    def read(self, images: jax.Array, search: Search) -> Words:
        """The words in images (batch, 32, 128, 3).

        With several beams it may return all of them, (batch, beams, ...) instead of (batch, ...),
        as `by_token` does where a choice among them follows.
        """
        ...
