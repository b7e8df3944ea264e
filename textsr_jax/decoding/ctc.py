"""Decoding of CTC: the best path through the frames of a recogniser such as CRNN."""

import jax
import jax.numpy as jnp

from textsr_jax.decoding.search import Decoded
from textsr_jax.text import BLANK, END, FIRST_CHARACTER, PAD


def greedy_ctc(logits: jax.Array) -> Decoded:
    """Reads the likeliest class of every frame, then drops repetitions and blanks.

    This is the best path decoding of "Connectionist temporal classification" (Graves et al., 2006).
    The probability is that of the best path alone, a lower bound of the word's.

    Args:
      logits: float (batch, frames, classes); class 0 is the blank, then follow the characters of
        an alphabet of `textsr_jax.text`.

    Returns:
      Words of at most `frames` characters, each with an end token: tokens (batch, frames + 1).
    """
    batch, frames, _ = logits.shape
    path = jnp.argmax(logits, axis=-1).astype(jnp.int32)
    before = jnp.pad(path[:, :-1], ((0, 0), (1, 0)), constant_values=BLANK)
    kept = (path != BLANK) & (path != before)
    count = kept.sum(axis=1, dtype=jnp.int32)
    # Frames that are not kept are written past the last column, where JAX drops them.
    column = jnp.where(kept, jnp.cumsum(kept, axis=1) - 1, frames + 1)
    row = jnp.arange(batch)[:, None]
    tokens = jnp.full((batch, frames + 1), PAD, jnp.int32)
    tokens = tokens.at[row, column].set(path + (FIRST_CHARACTER - 1), mode="drop")
    tokens = tokens.at[row, count[:, None]].set(END)
    best = jax.nn.log_softmax(logits.astype(jnp.float32)).max(axis=-1)
    return Decoded(tokens, count + 1, best.sum(axis=1))
