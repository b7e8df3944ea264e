"""ACIQ on one tensor: what must hold for any values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from textsr_jax.quantization import aciq

BITS = range(aciq.MIN_BITS, aciq.MAX_BITS + 1)
tensors = hnp.arrays(np.float32, (4, 6), elements=st.floats(-8, 8, width=32, allow_subnormal=False))


@pytest.mark.parametrize("prior", ["laplace", "gaussian"])
def test_alpha_minimises_the_error_of_samples(prior):
    rng = np.random.default_rng(0)
    x = rng.laplace(size=200_000) if prior == "laplace" else rng.standard_normal(200_000)

    def error(clip):
        step = 2 * clip / (2**4 - 1)
        return np.square(np.clip(np.round((x + clip) / step), 0, 15) * step - clip - x).mean()

    best = error(aciq.alpha(prior, 4))
    # The analysis is an approximation, so the measured minimum lies close by, not at it.
    assert best < 1.02 * min(error(clip) for clip in np.linspace(1, 8, 71))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: aciq.alpha("minmax", 4), "no clip"),
        (lambda: aciq.alpha("laplace", 1), "2 to 8"),
        (lambda: aciq.fit_range(jnp.zeros(3), 9, "minmax"), "2 to 8"),
        (lambda: aciq.fit_range(jnp.zeros(3), 4, "cauchy"), "cauchy"),
    ],
)
def test_bad_settings_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_minmax_range_by_hand():
    x = jnp.array([-1.0, 0.0, 0.4, 2.0])
    offset, scale = aciq.fit_range(x, 2, "minmax")
    codes = aciq.encode(x, offset, scale, 2)
    assert (float(offset), float(scale)) == (-1.0, 1.0)
    assert codes.tolist() == [0, 1, 1, 3]
    assert aciq.decode(codes, offset, scale).tolist() == [-1.0, 0.0, 0.0, 2.0]


def test_range_starts_at_the_minimum_and_keeps_its_width_if_the_clip_is_wider():
    x = jnp.array([0.0, 1.0, 1.0, 2.0])  # mean 1, mean deviation 0.5
    offset, scale = aciq.fit_range(x, 4, "laplace")
    assert float(offset) == 0
    assert float(scale) == pytest.approx(2 * 0.5 * aciq.alpha("laplace", 4) / 15)


@pytest.mark.parametrize(("prior", "axis"), [("laplace", 0), ("gaussian", 1), ("minmax", -1)])
def test_axis_gives_each_channel_its_own_range(prior, axis):
    x = np.random.default_rng(1).standard_normal((4, 6)).astype(np.float32)
    offset, scale = aciq.fit_range(x, 5, prior, axis)
    for index, channel in enumerate(np.moveaxis(x, axis, 0).astype(np.float64)):
        clip = {
            "laplace": lambda c: aciq.alpha("laplace", 5) * np.abs(c - c.mean()).mean(),
            "gaussian": lambda c: aciq.alpha("gaussian", 5) * c.std(ddof=1),
            "minmax": lambda c: (c.max() - c.min()) / 2,
        }[prior](channel)
        low = channel.min() if prior == "minmax" else max(channel.min(), channel.mean() - clip)
        np.testing.assert_allclose((offset[index], scale[index]), (low, 2 * clip / 31), rtol=1e-5)


@pytest.mark.parametrize("axis", [None, 1])
@pytest.mark.parametrize("prior", aciq.PRIORS)
@pytest.mark.parametrize(
    "x",
    [
        np.full((4, 6), 0.1, np.float32),
        np.full((1, 1), -3.7, np.float32),
        np.full((4, 6), 1e-30, np.float32),
        np.full((4, 6), 3e38, np.float32),
        np.zeros((0, 4), np.float32),
        np.zeros((4, 0), np.float32),
    ],
    ids=["constant", "one", "tiny", "huge", "no rows", "no columns"],
)
def test_equal_values_and_no_values_come_back_exactly(x, prior, axis):
    offset, scale = aciq.fit_range(x, 4, prior, axis)
    codes = aciq.encode(x, offset, scale, 4, axis)
    assert offset.shape == scale.shape == (() if axis is None else x.shape[1:])
    assert not np.any(scale) and not np.any(codes)
    np.testing.assert_array_equal(aciq.decode(codes, offset, scale, axis), x)


@settings(max_examples=80, deadline=None)
@given(tensors, st.sampled_from(BITS), st.sampled_from(aciq.PRIORS))
def test_codes_are_in_range_nearest_and_survive_decoding(x, bits, prior):
    offset, scale = aciq.fit_range(x, bits, prior)
    codes = aciq.encode(x, offset, scale, bits)
    values = aciq.decode(codes, offset, scale)
    assert int(codes.max()) < 2**bits
    # What the range covers is off by half a step at most; the rest is clipped to its ends.
    last = float(offset) + float(scale) * (2**bits - 1)
    inside = np.clip(x.astype(np.float64), float(offset), last)
    assert np.abs(values - inside).max() <= 0.5 * float(scale) + 1e-5
    if float(scale) > 1e-5:  # below, float32 cannot tell the steps apart
        np.testing.assert_array_equal(aciq.encode(values, offset, scale, bits), codes)


@pytest.mark.parametrize("prior", aciq.PRIORS)
@pytest.mark.parametrize("axis", [None, 0])
def test_jit_gives_what_no_jit_gives(prior, axis):
    x = np.random.default_rng(2).standard_normal((4, 6)).astype(np.float32)
    offset, scale = aciq.fit_range(x, 4, prior, axis)
    codes = aciq.encode(x, offset, scale, 4, axis)
    values = aciq.decode(codes, offset, scale, axis)

    @jax.jit
    def whole(x):
        offset, scale = aciq.fit_range(x, 4, prior, axis)
        codes = aciq.encode(x, offset, scale, 4, axis)
        return offset, scale, codes, aciq.decode(codes, offset, scale, axis)

    for inside, outside in zip(whole(x), (offset, scale, codes, values), strict=True):
        assert inside.dtype == outside.dtype
        np.testing.assert_allclose(inside, outside, rtol=1e-5, atol=1e-6)


def test_bfloat16_is_fitted_in_float32():
    x = jnp.asarray(np.random.default_rng(3).standard_normal((64, 64)), jnp.bfloat16)
    offset, scale = aciq.fit_range(x, 4, "gaussian")
    assert offset.dtype == scale.dtype == jnp.float32
    np.testing.assert_allclose(
        (offset, scale), aciq.fit_range(x.astype(jnp.float32), 4, "gaussian"), rtol=1e-6
    )
