"""Checks the least-squares range: never worse than its starts, and exact where it can be."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from textsr_jax.quantization import Rule, aciq, dequantize, quantize, simulate

tensors = hnp.arrays(np.float32, (6, 4), elements=st.floats(-8, 8, width=32, allow_subnormal=False))


def squared_error(x, **rule):
    """The squared error that a rule leaves, in double precision."""
    values = np.asarray(simulate({"x": x}, [Rule("x", **rule)])["x"], np.float64)
    return np.square(values - x).sum()


@pytest.mark.slow
@pytest.mark.parametrize("granularity", ["tensor", "group"])
@settings(max_examples=25)
@given(tensors, st.sampled_from([2, 3, 8]))
def test_it_is_never_worse_than_what_it_starts_from(granularity, x, bits):
    least = squared_error(x, bits=bits, prior="least_squares", granularity=granularity)
    for prior in aciq.PRIORS:
        start = squared_error(x, bits=bits, prior=prior, granularity=granularity)
        # Squares of float32 values as large as these.
        assert least <= start * (1 + 1e-4) + 1e-9


@pytest.mark.slow
def test_values_that_lie_on_a_line_of_codes_come_back():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 8, (50, 3))
    codes[:2] = [[0] * 3, [7] * 3]
    # Steps that bfloat16 holds, one for each channel.
    x = (np.array([-3, 0.1, 5]) + codes * np.array([0.5, 0.03125, 3])).astype(np.float32)
    for granularity in ("channel", "group"):
        packed = quantize({"x": x}, [Rule("x", 3, "least_squares", granularity)])
        assert packed["x"].prior == "least_squares"
        np.testing.assert_allclose(dequantize(packed)["x"], x, atol=1e-5)


def test_it_stands_still_where_the_best_range_is_known():
    """Four equally frequent pairs: a quarter of them apart, so each code takes one pair's mean."""
    pairs = np.repeat(np.arange(4.0), 2) + np.tile([-0.1, 0.1], 4)
    x = np.tile(pairs, 5).reshape(-1, 1).astype(np.float32)
    found = aciq.quantize_array(x, 2, "least_squares")
    np.testing.assert_allclose((found.offset, found.scale), (0, 1), atol=1e-6)
    # Laplace's and Gauss' ranges, and that of all values, leave more.
    assert all(aciq.squared_error(x, 2, prior) > 0.0101 for prior in aciq.PRIORS)
    values = aciq.from_codes(found.codes, found.offset, found.scale)
    assert np.square(values - x).mean() == pytest.approx(0.01, rel=1e-4)


def test_it_gains_decibels_on_heavy_tails():
    x = np.random.default_rng(1).standard_t(3, (400, 8)).astype(np.float32)
    errors = {
        prior: squared_error(x, bits=3, prior=prior, granularity="channel")
        for prior in ("auto", "least_squares")
    }
    assert 10 * np.log10(errors["auto"] / errors["least_squares"]) > 0.3


@pytest.mark.parametrize("magnitude", [1e-30, 1e30])
def test_any_magnitude(magnitude):
    x = np.random.default_rng(2).laplace(size=(40, 2)).astype(np.float32)
    small = dequantize(quantize({"x": x}, [Rule("x", 3, "least_squares", "channel")]))["x"]
    large = x * np.float32(magnitude)
    found = dequantize(quantize({"x": large}, [Rule("x", 3, "least_squares", "channel")]))["x"]
    np.testing.assert_allclose(found / np.float32(magnitude), small, atol=0.05)


@pytest.mark.slow
def test_equal_values_come_back_exactly():
    x = jnp.full((5, 3), 0.1)
    for granularity in ("channel", "group"):
        packed = quantize({"x": x}, [Rule("x", 3, "least_squares", granularity)])
        np.testing.assert_array_equal(dequantize(packed)["x"], x)
