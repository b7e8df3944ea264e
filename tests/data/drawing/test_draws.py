"""Random numbers in one draw: their distributions, each number once, and no more than drawn."""

import jax
import numpy as np
import pytest

from textsr_jax.data.drawing.draws import Draws


def test_numbers_follow_their_distributions():
    draws = Draws(jax.random.key(0), 30_000)
    even = draws.uniform(-2, 6, (10_000,))
    bell = draws.normal(3, (100, 100))
    whole = np.asarray(draws.integers(2, 5, (10_000,)))
    assert even.min() >= -2
    assert even.max() <= 6
    # Four standard errors.
    assert abs(even.mean() - 2) < 4 * 8 / 12**0.5 / 100
    assert abs(bell.mean()) < 4 * 3 / 100
    assert bell.std() == pytest.approx(3, rel=4 * 0.5**0.5 / 100)
    for tail, share in ((1, 0.3173), (2, 0.0455), (3, 0.0027)):
        outside = (np.abs(bell) > 3 * tail).mean()
        assert abs(outside - share) < 4 * (share / 10_000) ** 0.5
    counts = np.bincount(whole)
    assert counts[:2].sum() == 0
    assert len(counts) == 5
    assert (np.abs(counts[2:] / 10_000 - 1 / 3) < 4 * (2 / 9 / 10_000) ** 0.5).all()


def test_no_number_comes_twice():
    draws, again = (Draws(jax.random.key(1), 300) for _ in range(2))
    first, second = draws.uniform(shape=(200,)), draws.uniform(shape=(100,))
    np.testing.assert_array_equal(again.uniform(shape=(300,)), np.concatenate([first, second]))
    assert len(np.unique(np.concatenate([first, second]))) == 300


def test_more_numbers_than_drawn_are_an_error():
    draws = Draws(jax.random.key(0), 3)
    draws.uniform(shape=(2,))
    with pytest.raises(ValueError, match="4 numbers are used, but count is 3"):
        draws.normal(1, (2,))
