"""The losses of recognisers: cross-entropy of tokens, and CTC.

A recogniser's method `loss` (`models.Recognizer`) is handed one of the two classes here. They know
the words, and over what their mean is taken.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from textsr_jax import text
from textsr_jax.images import Array
from textsr_jax.losses.means import share_of_count, true_log_probability


def cross_entropy(
    logits: jax.Array,
    targets: jax.Array,
    smoothing: float = 0.0,
    *,
    whole: jax.Array | None = None,
) -> jax.Array:
    """CDistNet's loss: cross-entropy, a mean over the targets that are not pads; a float32 scalar.

    Args:
      logits: float (batch, steps, classes).
      targets: int32 (batch, steps), the tokens after the start token.
      smoothing: probability taken from the true class, and spread evenly over all others, the pad
        among them; 0.1 in the published training.
      whole: the targets of the whole batch; None where `targets` is whole.
    """
    true = true_log_probability(logits, targets)
    others = jax.nn.log_softmax(logits).sum(axis=-1) - true
    losses = -(1 - smoothing) * true - smoothing / (logits.shape[-1] - 1) * others
    mask = targets != text.PAD
    whole = None if whole is None else whole != text.PAD
    return (losses * mask).sum() / share_of_count(mask, whole)


def ctc_loss(
    logits: jax.Array,
    characters: Array,
    *,
    whole: Array | None = None,
) -> jax.Array:
    """CRNN's loss: -log p(word), summed over all alignments, a mean over the words.

    It follows "Connectionist temporal classification" (Graves et al., 2006). A word needs a frame
    for each character, and one for a blank between two equal characters. A word that needs more
    frames than there are has no alignment, and its loss would be infinite. Such a word is left out
    of the mean, and no gradient comes from it.

    Args:
      logits: float (batch, frames, classes); class 0 is the blank.
      characters: int32 (batch, length), from `text.Alphabet.encode`: 0 after the last character.
      whole: the characters of the whole batch; None where `characters` is whole.

    Returns:
      A float32 scalar; 0 where no word of the batch has an alignment.
    """

    def fitting(characters: Array) -> jax.Array:
        repeated = (characters[:, 1:] == characters[:, :-1]) & (characters[:, 1:] != text.BLANK)
        needed = (characters != text.BLANK).sum(axis=1) + repeated.sum(axis=1)
        return needed <= logits.shape[1]

    padding = (characters == text.BLANK).astype(jnp.float32)
    # optax takes -100000 for log 0. So a word without alignment has a finite loss, which can be
    # masked afterwards without NaN in the gradient.
    losses = optax.ctc_loss(
        logits.astype(jnp.float32),
        jnp.zeros(logits.shape[:2]),
        characters,
        padding,
        blank_id=text.BLANK,
    )
    fits = fitting(characters)
    whole_fits = None if whole is None else fitting(whole)
    return jnp.where(fits, losses, 0).sum() / share_of_count(fits, whole_fits)


@dataclasses.dataclass(frozen=True)
class BatchLosses:
    """The losses of recognition as a mean over a batch, for training.

    Attributes:
      characters: int32 (batch, length), the words as `text.Alphabet.encode` gives them.
      whole: those of the whole batch; None where `characters` is whole.
    """

    characters: Array
    whole: Array | None = None

    def cross_entropy(
        self,
        logits: jax.Array,
        targets: Callable[[Array], jax.Array],
        *,
        smoothing: float = 0.0,
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """`cross_entropy`, and {"characters_right": the share of tokens that are likeliest}.

        Args:
          logits: float (batch, steps, classes).
          targets: maps characters (n, length) to tokens, int32 (n, steps); pads do not count.
          smoothing: as `cross_entropy` takes it.
        """
        own = targets(self.characters)
        whole = None if self.whole is None else targets(self.whole)
        value = cross_entropy(logits, own, smoothing=smoothing, whole=whole)
        present = own != text.PAD
        all_present = None if whole is None else whole != text.PAD
        right = ((jnp.argmax(logits, -1) == own) & present).sum()
        right = right / share_of_count(present, all_present)
        return value, {"characters_right": right}

    def ctc(self, logits: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        """`ctc_loss` of logits (batch, frames, classes), and nothing more for the log."""
        value = ctc_loss(logits, self.characters, whole=self.whole)
        return value, {}


@dataclasses.dataclass(frozen=True)
class WordLosses:
    """The losses of recognition of each word alone, without smoothing, for measuring.

    Attributes:
      characters: int32 (batch, length), the words as `text.Alphabet.encode` gives them.
    """

    characters: Array

    def cross_entropy(
        self,
        logits: jax.Array,
        targets: Callable[[Array], jax.Array],
        *,
        smoothing: float = 0.0,
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Each word's `cross_entropy`, float32 (batch,); arguments as of `BatchLosses`."""
        del smoothing
        each = jax.vmap(lambda logit, target: cross_entropy(logit[None], target[None]))
        return each(logits, targets(self.characters)), {}

    def ctc(self, logits: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Each word's `ctc_loss`, float32 (batch,), of logits (batch, frames, classes)."""
        each = jax.vmap(lambda logit, word: ctc_loss(logit[None], word[None]))
        return each(logits, self.characters), {}
