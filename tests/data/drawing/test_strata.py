"""Strata: every share of a batch is exact, and every word has one kind."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from textsr_jax.data.drawing import strata

SHARES = (0.22, 0.07, 0.05, 0.66)


def parts(key, count):
    """The words of each of `SHARES`."""
    order, edges = strata.shuffle(key, count), np.cumsum((0, *SHARES))
    drawn = [
        np.asarray(strata.members(order, float(low), float(high)))
        for low, high in itertools.pairwise(edges)
    ]
    return [words[words < count] for words in drawn]


@pytest.mark.parametrize("count", [1, 7, 100])
def test_every_word_has_one_kind_and_shares_are_exact(count):
    for seed in range(3):
        words = parts(jax.random.key(seed), count)
        np.testing.assert_array_equal(np.sort(np.concatenate(words)), np.arange(count))
        for part, share in zip(words, SHARES, strict=True):
            assert abs(len(part) - count * share) < 1


def test_shares_of_small_batches_are_exact_on_average():
    def size(key):
        return (strata.members(strata.shuffle(key, 3), 0.22, 0.29) < 3).sum()

    sizes = np.asarray(jax.vmap(size)(jax.random.split(jax.random.key(0), 4000)))
    assert set(sizes) == {0, 1}
    # Four standard errors of a share of 0.21 among 4,000.
    assert abs(sizes.mean() - 0.21) < 0.026


def test_the_order_is_random():
    orders = {tuple(strata.shuffle(jax.random.key(seed), 20).words.tolist()) for seed in range(5)}
    assert len(orders) == 5


def test_rows_of_free_places_are_those_of_the_last_word():
    values = strata.rows(np.array([10, 20, 30]), np.array([1, 3, 0]))
    np.testing.assert_array_equal(values, [20, 30, 10])


def test_a_change_is_that_of_the_members_alone():
    order = strata.shuffle(jax.random.key(3), 10)
    values, others = jnp.arange(10.0), jnp.full(10, 100.0)
    numbers = np.asarray(strata.quantiles(order))
    sizes = []

    def add(value, other):
        sizes.append(value)
        return value + other

    for low, high in ((0.2, 0.55), (0.0, 0.0), (np.float32(0.2), np.float32(0.55))):
        words = strata.members(order, low, high)
        found = np.asarray(strata.change(add, words, values, others))
        member = (numbers >= np.float32(low)) & (numbers < np.float32(high))
        np.testing.assert_array_equal(found, np.where(member, values + 100, values))
    # Nothing is computed for an empty share; a share that is known late takes all words.
    assert len(sizes) == 2 and len(words) == 10
