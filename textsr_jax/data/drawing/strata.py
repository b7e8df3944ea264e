"""Strata: gives the words of a batch their kinds by exact shares, in a random order.

A rare kind is then computed for its share of the batch alone; the shapes stay static.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Strata(NamedTuple):
    """A random order of the words of a batch, cut into shares by `members`.

    Attributes:
      words: int32 (batch,), each word once, in the order.
      quantiles: float32 (batch,), ascending: how far down the order each one lies, in [0, 1). The
        distances are equal and the start is random, so a share holds its part of all words, rounded
        down or up at random: on average it is exact, also where the batch is one word.
    """

    words: jax.Array
    quantiles: jax.Array


def shuffle(key: jax.Array, count: int) -> Strata:
    """A random order of `count` words."""
    drawn = jax.random.uniform(key, (count + 1,))
    words = jnp.argsort(drawn[1:]).astype(jnp.int32)
    return Strata(words, (jnp.arange(count) + drawn[0]) / count)


def members(strata: Strata, low: float, high: float) -> jax.Array:
    """The words whose quantile is at least `low` and below `high`.

    Args:
      strata: of `shuffle`.
      low, high: Python numbers, 0 to 1.

    Returns:
      int32 (capacity,): the share of all words, rounded up. Places that stay free hold the number
      of words: beyond the end, where updates with mode "drop" do nothing.
    """
    count = len(strata.words)
    capacity = math.ceil(count * (high - low) - 1e-6)
    places = jnp.sum(strata.quantiles < low) + jnp.arange(capacity)
    quantiles = strata.quantiles.at[places].get(mode="fill", fill_value=1.0)
    words = strata.words.at[places].get(mode="fill", fill_value=count)
    return jnp.where(quantiles < high, words, count)


def rows(values: jax.Array, words: jax.Array) -> jax.Array:
    """The values (batch, ...) of `words`; where a place is free, those of the last word."""
    return values[jnp.minimum(words, len(values) - 1)]
