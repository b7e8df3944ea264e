"""Strata: gives the words of a batch their kinds by exact shares, in a random order.

A rare kind is then computed for its share of the batch alone; the shapes stay static.
"""

import math
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from textsr_jax.data.drawing.resampling import Scalar, settled

Values = TypeVar("Values")


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


def quantiles(strata: Strata) -> jax.Array:
    """How far down the order each word lies, float32 (batch,), word after word."""
    return jnp.zeros(len(strata.words)).at[strata.words].set(strata.quantiles)


def members(strata: Strata, low: Scalar, high: Scalar) -> jax.Array:
    """The words whose quantile is at least `low` and below `high`.

    Args:
      strata: of `shuffle`.
      low, high: 0 to 1.

    Returns:
      int32 (capacity,): the share of all words, rounded up; all words where the share is known
      only while the program runs. Places that stay free hold the number of words: beyond the end,
      where updates with mode "drop" do nothing.
    """
    count = capacity = len(strata.words)
    if isinstance(low, int | float) and isinstance(high, int | float):
        capacity = math.ceil(count * (high - low) - 1e-6)
    places = jnp.sum(strata.quantiles < low) + jnp.arange(capacity)
    quantiles = strata.quantiles.at[places].get(mode="fill", fill_value=1.0)
    words = strata.words.at[places].get(mode="fill", fill_value=count)
    return jnp.where(quantiles < high, words, count)


def change(
    function: Callable[..., Values], words: jax.Array, values: Values, *others: jax.Array
) -> Values:
    """The values of a batch, of which those of some words are changed, and computed for them alone.

    Args:
      function: takes the values of one word, and of `others` that word's; gives its new values.
      words: of `members`.
      values: a tree of arrays (batch, ...).
      others: arrays (batch, ...).
    """
    if not len(words):
        return values
    taken = jax.tree.map(lambda array: rows(array, words), (values, *others))
    changed = settled(jax.vmap(function)(*settled(taken)))
    return jax.tree.map(lambda old, new: old.at[words].set(new, mode="drop"), values, changed)


def rows(values: jax.Array, words: jax.Array) -> jax.Array:
    """The values (batch, ...) of `words`; where a place is free, those of the last word."""
    return values[jnp.minimum(words, len(values) - 1)]
