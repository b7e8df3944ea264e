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
        (lambda: aciq.spread(jnp.zeros(3), "cauchy"), "cauchy"),
        (lambda: aciq.quantize_array(jnp.zeros(3), 4, "cauchy"), "cauchy"),
        (lambda: aciq.quantize_array(jnp.zeros(3), 8.5), "8.5 bits; use 2 to 8"),
        (lambda: aciq.quantize_array(jnp.zeros(3), 4.5), "4.5 bits"),
        (lambda: aciq.quantize_array(jnp.zeros(3), 4, allocate=True), "name their axis"),
    ],
)
def test_bad_settings_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_minmax_range_by_hand():
    x = jnp.array([-1.0, 0.0, 0.4, 2.0])
    offset, scale = aciq.fit_range(x, 2, "minmax")
    codes = aciq.to_codes(x, offset, scale, 2)
    assert (float(offset), float(scale)) == (-1.0, 1.0)
    assert codes.tolist() == [0, 1, 1, 3]
    assert aciq.from_codes(codes, offset, scale).tolist() == [-1.0, 0.0, 0.0, 2.0]


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


@pytest.mark.slow
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
    codes = aciq.to_codes(x, offset, scale, 4, axis)
    assert offset.shape == scale.shape == (() if axis is None else x.shape[1:])
    assert not np.any(scale) and not np.any(codes)
    np.testing.assert_array_equal(aciq.from_codes(codes, offset, scale, axis), x)


@settings(max_examples=80)
@given(tensors, st.sampled_from(BITS), st.sampled_from(aciq.PRIORS))
def test_codes_are_in_range_nearest_and_survive_decoding(x, bits, prior):
    offset, scale = aciq.fit_range(x, bits, prior)
    codes = aciq.to_codes(x, offset, scale, bits)
    values = aciq.from_codes(codes, offset, scale)
    assert int(codes.max()) < 2**bits
    # What the range covers is off by half a step at most; the rest is clipped to its ends.
    last = float(offset) + float(scale) * (2**bits - 1)
    inside = np.clip(x.astype(np.float64), float(offset), last)
    assert np.abs(values - inside).max() <= 0.5 * float(scale) + 1e-5
    if float(scale) > 1e-5:  # below, float32 cannot tell the steps apart
        np.testing.assert_array_equal(aciq.to_codes(values, offset, scale, bits), codes)


@pytest.mark.parametrize("prior", aciq.PRIORS)
@pytest.mark.parametrize("axis", [None, 0])
def test_jit_gives_what_no_jit_gives(prior, axis):
    x = np.random.default_rng(2).standard_normal((4, 6)).astype(np.float32)
    offset, scale = aciq.fit_range(x, 4, prior, axis)
    codes = aciq.to_codes(x, offset, scale, 4, axis)
    values = aciq.from_codes(codes, offset, scale, axis)

    @jax.jit
    def whole(x):
        offset, scale = aciq.fit_range(x, 4, prior, axis)
        codes = aciq.to_codes(x, offset, scale, 4, axis)
        return offset, scale, codes, aciq.from_codes(codes, offset, scale, axis)

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


@settings(max_examples=80)
@given(tensors, st.sampled_from(BITS), st.sampled_from(aciq.PRIORS), st.sampled_from(BITS))
def test_traced_bits_give_what_static_bits_give(x, bits, prior, other):
    ranges = [aciq.fit_range(x, width, prior) for width in (bits, jnp.asarray(bits))]
    for static, traced in zip(*ranges, strict=True):
        np.testing.assert_allclose(static, traced, rtol=1e-6)
    # Bits for each channel, as an array, are the channels' own bits.
    both = jnp.asarray([bits, other] * 3)
    offset, scale = aciq.fit_range(x, both, prior, 1)
    codes = aciq.to_codes(x, offset, scale, both, 1)
    assert np.all(np.asarray(codes) < 2 ** np.asarray(both))
    for index, width in enumerate((bits, other)):
        alone = aciq.fit_range(x, width, prior, 1)
        np.testing.assert_allclose(offset[index::2], alone[0][index::2], rtol=1e-6)
        np.testing.assert_allclose(scale[index::2], alone[1][index::2], rtol=1e-6)


scales = hnp.arrays(
    np.float32,
    st.sampled_from([1, 2, 7, 33]),
    elements=st.one_of(
        st.sampled_from([0.0, 1.0, 1e-30, 1e30]),
        st.floats(0, 8, width=32, allow_subnormal=False),
    ),
)
# In eighths, so that the budget of a tensor is exact in float32.
budgets = st.integers(8 * aciq.MIN_BITS, 8 * aciq.MAX_BITS).map(lambda eighths: eighths / 8)
allocate = jax.jit(aciq.allocate_bits)


@pytest.mark.slow
@settings(max_examples=300)
@given(scales, budgets)
def test_bits_are_allocated_within_the_budget_and_use_it_up(scales, mean_bits):
    bits = np.asarray(allocate(scales, mean_bits))
    assert bits.dtype == np.int32 and bits.shape == scales.shape
    assert bits.min() >= aciq.MIN_BITS and bits.max() <= aciq.MAX_BITS
    assert bits.sum() <= scales.size * mean_bits
    np.testing.assert_array_equal(bits[scales == 0], aciq.MIN_BITS)
    # Sorted by scale they rise, and equal scales differ by the one bit that was left at most.
    assert np.all(np.diff(bits[np.lexsort((bits, scales))]) >= 0)
    for scale in np.unique(scales):
        assert np.ptp(bits[scales == scale]) <= 1
    # A bit is left only where every channel that may have one more has all that there are.
    if np.any(bits[scales > 0] < aciq.MAX_BITS):
        assert bits.sum() == int(scales.size * mean_bits)


@pytest.mark.parametrize("mean_bits", BITS)
@pytest.mark.parametrize("channels", [1, 5, 1024])
def test_equal_scales_get_equal_bits(channels, mean_bits):
    bits = allocate(np.full(channels, 0.3, np.float32), mean_bits)
    np.testing.assert_array_equal(bits, mean_bits)


def test_levels_are_in_proportion_to_the_scale_to_two_thirds():
    # Scales 8 times as large have 4 times the levels: two bits more.
    assert allocate(np.array([1, 8, 64], np.float32), 5).tolist() == [3, 5, 7]
    # Cut to 2 and 8, with what the ends leave given to the others; half a bit is lost to rounding.
    assert allocate(np.array([0, 1e-20, 1, 8, 1e20], np.float32), 5).tolist() == [2, 2, 5, 8, 8]
    assert allocate(np.zeros(0, np.float32), 5).shape == (0,)


moments_of = jax.jit(aciq.restore_moments, static_argnums=(4, 5))


@settings(max_examples=100)
@given(tensors, st.sampled_from(BITS), st.sampled_from(aciq.PRIORS), st.sampled_from([None, 1]))
def test_means_and_deviations_of_channels_are_restored(x, bits, prior, axis):
    first_offset, first_scale = aciq.fit_range(x, bits, prior, axis)
    codes = aciq.to_codes(x, first_offset, first_scale, bits, axis)
    offset, scale = moments_of(x, codes, first_offset, first_scale, axis, 1)
    assert offset.shape == scale.shape == (6,)
    values = np.asarray(aciq.from_codes(codes, offset, scale, 1), np.float64)
    exact = x.astype(np.float64)
    reach = np.abs(exact).max() + np.abs(values).max()
    moved = np.broadcast_to(first_scale, 6) > 0
    np.testing.assert_allclose(
        values.mean(0)[moved], exact.mean(0)[moved], rtol=0, atol=1e-6 * reach
    )
    several = np.ptp(np.asarray(codes), axis=0) > 0
    # Alike codes cannot spread; neither can what float32 squares to nothing.
    told = moved & several & (exact.std(0) > 1e-15)
    np.testing.assert_allclose(
        values.std(0)[told], exact.std(0)[told], rtol=1e-5, atol=1e-6 * reach
    )
    # With step 0 nothing changes, and nothing has to: equal values, or nothing when squared.
    np.testing.assert_allclose(values[:, ~moved], exact[:, ~moved], rtol=0, atol=1e-15)


def test_moments_of_channels_by_hand():
    x = np.array([[0, 2, 5], [1, 2, 5], [5, 2, 5]], np.float32)
    codes = np.array([[0, 1, 3], [0, 1, 3], [3, 1, 3]], np.uint8)
    offset, scale = aciq.restore_moments(x, codes, jnp.float32(0), jnp.float32(5 / 3), None, 1)
    deviation = np.sqrt(14 / 3) / np.sqrt(2)
    np.testing.assert_allclose(scale, [deviation, 5 / 3, 5 / 3], rtol=1e-6)
    np.testing.assert_allclose(offset, [2 - deviation, 2 - 5 / 3, 0], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(
        aciq.from_codes(codes, offset, scale, 1)[0], [2 - deviation, 2, 5], rtol=1e-6
    )
    # As a whole: the mean and deviation of all nine values.
    offset, scale = aciq.restore_moments(x, codes, jnp.float32(0), jnp.float32(5 / 3), None, None)
    values = aciq.from_codes(codes, offset, scale)
    np.testing.assert_allclose((values.mean(), values.std()), (x.mean(), x.std()), rtol=1e-6)


def quantizer(**settings):
    """`quantize_array` with settings, jitted over values and bits, and its values."""

    @jax.jit
    def run(x, bits):
        found = aciq.quantize_array(x, bits, **settings)
        correct = settings.get("correct", False)
        along = settings.get("axis") if correct is False else correct
        return found, aciq.from_codes(found.codes, found.offset, found.scale, along)

    return run


GRANULARITIES = {
    "tensor": {"axis": None},
    "channel": {"axis": 1},
    "channel-bits": {"axis": 1, "allocate": True},
    "corrected": {"axis": None, "correct": 1},
    "corrected whole": {"axis": None, "correct": None},
    "channel-bits corrected": {"axis": 1, "allocate": True, "correct": 1},
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("granularity", "dtype"),
    [
        ("tensor", "float32"),
        ("channel", "bfloat16"),
        ("channel-bits", "float32"),
        ("corrected", "float32"),
        ("corrected whole", "bfloat16"),
        ("channel-bits corrected", "float32"),
    ],
)
def test_auto_errs_no_more_than_any_prior_and_codes_are_in_range(granularity, dtype):
    settings_ = GRANULARITIES[granularity]
    auto = quantizer(prior="auto", **settings_)
    single = {prior: quantizer(prior=prior, **settings_) for prior in aciq.PRIORS}

    @settings(max_examples=30)
    @given(tensors, st.sampled_from(BITS))
    def check(x, bits):
        x = jnp.asarray(x, dtype)
        exact = np.asarray(x.astype(jnp.float32), np.float64)
        width = jnp.asarray(float(bits) if "allocate" in settings_ else bits)

        def error(values):
            return np.sqrt(np.square(np.asarray(values, np.float64) - exact).mean())

        found, values = auto(x, width)
        assert found.codes.dtype == jnp.uint8 and values.dtype == jnp.float32
        assert np.all(np.asarray(found.codes) < 2 ** np.asarray(found.bits))
        assert np.asarray(found.bits).mean() <= bits
        # Of values as large as these in float32; errors as roots of mean squares add up to it.
        rounding = 1e-6 * (1 + np.abs(exact).max())
        for run in single.values():
            assert error(values) <= error(run(x, width)[1]) + rounding
        # It is that prior, bit for bit.
        chosen, same = single[aciq.PRIORS[int(found.prior)]](x, width)
        np.testing.assert_array_equal(found.bits, chosen.bits)
        np.testing.assert_allclose(values, same, rtol=1e-5, atol=1e-5)

    check()


@pytest.mark.slow
@settings(max_examples=60)
@given(tensors, st.sampled_from(BITS), st.sampled_from(aciq.PRIORS))
def test_steps_fitted_to_channels_are_bfloat16_and_hold_the_range(x, bits, prior):
    width = jnp.asarray(bits)
    found, _ = quantizer(prior=prior, **GRANULARITIES["channel"])(x, width)
    step = np.asarray(found.scale)
    np.testing.assert_array_equal(step.view(np.uint32) & 0xFFFF, 0)
    offset, exact = aciq.fit_range(x, width, prior, 1)
    np.testing.assert_array_equal(found.offset, offset)
    assert np.all(step >= exact * (1 - 1e-6))
    assert np.all(step <= exact * (1.0079 + 1e-6))


def test_channels_with_bits_of_their_own_err_less_at_the_same_mean():
    rng = np.random.default_rng(6)
    x = (rng.laplace(size=(400, 16)) * np.geomspace(0.01, 1, 16)).astype(np.float32)
    errors = []
    for allocate_ in (False, True):
        found, values = quantizer(prior="laplace", axis=1, allocate=allocate_)(x, jnp.asarray(4))
        errors.append(np.square(values - x).mean())
    assert int(found.bits.sum()) == 64
    assert errors[1] < 0.7 * errors[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "x",
    [np.full((4, 6), 0.1), np.zeros((0, 4)), np.zeros((4, 0)), np.full((1, 1), -3.7)],
    ids=["constant", "no rows", "no columns", "one"],
)
@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_auto_gives_equal_values_and_no_values_back_exactly(x, granularity):
    x = x.astype(np.float32)
    found, values = quantizer(prior="auto", **GRANULARITIES[granularity])(x, jnp.asarray(3))
    assert not np.any(found.scale)
    np.testing.assert_array_equal(values, x)


def test_values_that_are_not_finite_leave_their_mark_on_the_range():
    for bad in (np.nan, np.inf, -np.inf):
        x = np.ones((4, 6), np.float32)
        x[2, 3] = bad
        for prior in aciq.PRIORS:
            offset, scale = aciq.fit_range(x, 4, prior)
            assert not (np.isfinite(offset) and np.isfinite(scale))
            assert int(aciq.to_codes(x, offset, scale, 4).max()) < 16
            # By channel, only that of the value suffers.
            offset, scale = aciq.fit_range(x, 4, prior, 1)
            fine = np.isfinite(offset) & np.isfinite(scale)
            assert fine.tolist() == [index != 3 for index in range(6)]


@pytest.mark.parametrize("prior", aciq.PRIORS)
def test_squared_error_is_that_of_the_decoded_values(prior):
    x = np.random.default_rng(7).laplace(size=(5, 8)).astype(np.float32)
    offset, scale = aciq.fit_range(x, 3, prior, 1)
    values = aciq.from_codes(aciq.to_codes(x, offset, scale, 3, 1), offset, scale, 1)
    expected = np.square(values - x).mean()
    assert float(aciq.squared_error(x, 3, prior, 1)) == pytest.approx(float(expected), rel=1e-6)
    assert float(aciq.squared_error(np.zeros((0, 3), np.float32), 3, prior, 1)) == 0


magnitudes = st.integers(-30, 30).map(lambda power: 10.0**power)
shapes = hnp.arrays(np.float32, (4, 6), elements=st.floats(-1, 1, width=32, allow_subnormal=False))
at_any_magnitude = {
    axis: {prior: quantizer(prior=prior, axis=axis) for prior in ("auto", *aciq.PRIORS)}
    for axis in (None, 1)
}


def relative_error(values, x):
    """Root of the mean squared error in float64, as a part of the largest value."""
    exact = np.asarray(x, np.float64)
    return np.sqrt(np.square(np.asarray(values, np.float64) - exact).mean()) / np.abs(exact).max()


@pytest.mark.parametrize("axis", [None, 1])
@settings(max_examples=60)
@given(shapes, magnitudes, st.sampled_from(BITS))
def test_auto_errs_least_at_any_magnitude(axis, x, magnitude, bits):
    x = (x * np.float32(magnitude)).astype(np.float32)
    if not np.abs(x).max() > 1e-31:
        return
    runs, width = at_any_magnitude[axis], jnp.asarray(bits)
    _, values = runs["auto"](x, width)
    least = min(relative_error(runs[prior](x, width)[1], x) for prior in aciq.PRIORS)
    assert relative_error(values, x) <= least + 1e-6


@settings(max_examples=60)
@given(shapes, st.integers(-99, 99), st.sampled_from(BITS), st.sampled_from(["auto", *aciq.PRIORS]))
def test_a_power_of_two_changes_no_code(x, power, bits, prior):
    # So that no value of the smaller tensor becomes denormal.
    x = np.where(np.abs(x) < 1e-4, 0, x).astype(np.float32)
    run, width, factor = at_any_magnitude[None][prior], jnp.asarray(bits), np.float32(2.0**power)
    (plain, values), (moved, moved_values) = run(x, width), run(x * factor, width)
    np.testing.assert_array_equal(plain.codes, moved.codes)
    assert int(plain.prior) == int(moved.prior)
    np.testing.assert_array_equal(plain.offset * factor, moved.offset)
    np.testing.assert_array_equal(plain.scale * factor, moved.scale)
    np.testing.assert_array_equal(values * factor, moved_values)


@pytest.mark.parametrize("magnitude", [1e-30, 1e-19, 1e-5, 1.0, 1e19, 1e20, 1e30])
@pytest.mark.parametrize(
    ("draw", "prior"),
    [("standard_normal", "gaussian"), ("laplace", "laplace"), ("random", "minmax")],
)
def test_each_distribution_gets_its_prior_at_any_magnitude(draw, prior, magnitude):
    values = getattr(np.random.default_rng(0), draw)(size=(4096,)).astype(np.float32)
    found, decoded = at_any_magnitude[None]["auto"](values * np.float32(magnitude), jnp.asarray(4))
    assert aciq.PRIORS[int(found.prior)] == prior
    assert len(np.unique(found.codes)) == 16
    assert relative_error(decoded, values * np.float32(magnitude)) < 0.1
    assert float(aciq.spread(values * np.float32(magnitude), "gaussian")) == pytest.approx(
        magnitude * values.std(ddof=1), rel=1e-4
    )


def test_channels_of_very_different_magnitudes_keep_their_own():
    rng = np.random.default_rng(1)
    powers = 10.0 ** np.array([-30, -20, -10, 0, 10, 20])
    x = (rng.standard_normal((64, 6)) * powers).astype(np.float32)
    for prior in ("auto", *aciq.PRIORS):
        found, values = at_any_magnitude[1][prior](x, jnp.asarray(8))
        assert np.isfinite(found.scale).all() and (np.asarray(found.scale) > 0).all()
        for channel, magnitude in enumerate(powers):
            error = np.abs(np.asarray(values, np.float64) - x)[:, channel].mean()
            assert error < 0.05 * magnitude, (prior, magnitude)
    # A channel without error does not hide the others' from the choice.
    x[:, 5] = 1e20
    _, values = at_any_magnitude[1]["auto"](x[:, (0, 5)], jnp.asarray(4))
    errors = [
        relative_error(at_any_magnitude[1][prior](x[:, (0, 5)], jnp.asarray(4))[1][:, 0], x[:, 0])
        for prior in aciq.PRIORS
    ]
    assert relative_error(values[:, 0], x[:, 0]) <= min(errors) + 1e-6


@pytest.mark.parametrize("magnitude", [1e-40, 1e-37, 1e37])
@pytest.mark.parametrize("axis", [None, 1])
def test_at_the_ends_of_float32_values_stay_finite_and_near(magnitude, axis):
    x = (np.random.default_rng(2).uniform(-1, 1, (4, 6)) * magnitude).astype(np.float32)
    for prior in ("auto", *aciq.PRIORS):
        found, values = at_any_magnitude[axis][prior](x, jnp.asarray(8))
        assert np.isfinite(found.offset).all() and np.isfinite(found.scale).all()
        assert np.abs(np.asarray(values, np.float64) - x).max() <= 2 * magnitude
    equal = np.full((4, 6), magnitude, np.float32)
    _, values = at_any_magnitude[axis]["auto"](equal, jnp.asarray(3))
    # Processors may take a denormal number for 0.
    np.testing.assert_allclose(values, equal, rtol=0, atol=1e-38)


@pytest.mark.parametrize("magnitude", [1e-25, 1e25])
def test_moments_are_restored_at_any_magnitude(magnitude):
    x = (np.random.default_rng(3).laplace(size=(200, 6)) * magnitude).astype(np.float32)
    offset, scale = aciq.fit_range(x, 3, "laplace")
    codes = aciq.to_codes(x, offset, scale, 3)
    offset, scale = moments_of(x, codes, offset, scale, None, 1)
    values = np.asarray(aciq.from_codes(codes, offset, scale, 1), np.float64) / magnitude
    exact = x.astype(np.float64) / magnitude
    np.testing.assert_allclose(values.mean(0), exact.mean(0), rtol=0, atol=1e-5)
    np.testing.assert_allclose(values.std(0), exact.std(0), rtol=1e-5)
