"""Activation ranges: ACIQ's choice by measured error, and ONNX Runtime's calibrators."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textsr_jax.errors import UserError
from textsr_jax.export import RANGE_METHODS, activation_ranges
from textsr_jax.export.activation_ranges import Range, fit, squared_error

pytestmark = pytest.mark.slow


def ends(values):
    return Range(float(values.min()), float(values.max()))


@given(st.integers(0, 2**32 - 1), st.floats(1e-3, 1e3), st.floats(-3, 3))
def test_never_worse_than_min_max_and_within_it(seed, scale, shift):
    rng = np.random.default_rng(seed)
    values = (scale * (rng.laplace(size=500) + shift)).astype(np.float32)
    span = fit(values, ends(values))
    full = Range(min(0.0, float(values.min())), max(0.0, float(values.max())))
    assert full.low <= span.low <= 0 <= span.high <= full.high
    assert squared_error(values, span) <= squared_error(values, full)


def test_outliers_are_clipped():
    rng = np.random.default_rng(0)
    values = np.append(rng.laplace(size=1_000_000), [40.0]).astype(np.float32)
    span = fit(values, ends(values))
    assert span.high < 20
    assert squared_error(values, span) < squared_error(values, ends(values))


def test_behind_a_relu_the_range_starts_at_zero():
    values = np.maximum(np.random.default_rng(0).normal(size=100_000), 0).astype(np.float32)
    span = fit(values, ends(values))
    assert span.low == 0
    # Whatever the share of zeros.
    assert 3.5 < span.high < 5
    few = np.where(np.arange(len(values)) % 10 == 0, values, 0)
    assert 3.3 < fit(few, ends(few)).high < 5


@pytest.mark.parametrize("value", [0.0, 2.0, -2.0])
def test_one_value(value):
    values = np.full(10, value, np.float32)
    span = fit(values, ends(values))
    assert span == Range(min(0.0, value), max(0.0, value))
    assert squared_error(values, span) < 1e-12


@pytest.mark.parametrize("method", RANGE_METHODS)
def test_methods(traced, lr, method):
    """Every method sees every image: the ranges of all cover most of what the tensor holds."""
    model = traced["sr"]
    feeds = [{"lr": lr[:6].astype(np.float32) / 255}, {"lr": lr[6:].astype(np.float32) / 255}]
    spans = activation_ranges.ranges(model, iter(feeds), ["sr"], method)
    made = activation_ranges.ranges(model, iter(feeds), ["sr"], "minmax")["sr"]
    assert spans.keys() == {"sr"}
    width = spans["sr"].high - spans["sr"].low
    assert 0.3 * (made.high - made.low) < width < 1.01 * (made.high - made.low)


def test_an_unknown_method(traced):
    with pytest.raises(UserError, match="kl: no such method; take one of aciq, minmax"):
        activation_ranges.ranges(traced["sr"], [], [], "kl")
