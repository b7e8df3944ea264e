"""Checks the tree transform: what rules touch, what comes back, and what is refused."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from textsr_jax.errors import UserError
from textsr_jax.quantization import (
    QuantizedArray,
    Rule,
    aciq,
    dequantize,
    is_quantized,
    packing,
    quantize,
    simulate,
)

BITS = range(aciq.MIN_BITS, aciq.MAX_BITS + 1)
# Of the tests that compile for each number of bits.
FEW_BITS = (2, 5, 8)
REACH = st.floats(-8, 8, width=32, allow_subnormal=False)


def example_tree():
    rng = np.random.default_rng(0)

    def draw(*shape):
        return jnp.asarray(rng.standard_normal(shape), jnp.float32)

    return {
        "params": {
            "head": {"kernel": draw(3, 3, 4, 10), "bias": draw(10)},
            "body": {"0": {"kernel": draw(10, 6)}, "1": {"kernel": draw(6, 5)}},
            "norm": {"scale": jnp.ones(6)},
        },
        "stats": {"norm": {"mean": draw(6), "var": jnp.ones(6)}},
    }


def test_only_what_the_rules_select_changes():
    tree = example_tree()
    quantized = quantize(tree, [Rule("body/1/.*", None), Rule(".*/kernel", 3)])
    kernel = quantized["params"]["head"]["kernel"]
    assert isinstance(kernel, QuantizedArray) and is_quantized(kernel)
    assert (kernel.bits, kernel.prior, kernel.axis) == (3, "laplace", None)
    assert kernel.shape == (3, 3, 4, 10)
    assert kernel.codes.shape == (360 * 3 // 8,)
    assert isinstance(quantized["params"]["body"]["0"]["kernel"], QuantizedArray)
    # Not copies: the very leaves.
    assert quantized["params"]["body"]["1"]["kernel"] is tree["params"]["body"]["1"]["kernel"]
    assert quantized["params"]["head"]["bias"] is tree["params"]["head"]["bias"]
    assert quantized["stats"]["norm"]["mean"] is tree["stats"]["norm"]["mean"]
    assert dequantize(quantized)["params"]["norm"]["scale"] is tree["params"]["norm"]["scale"]


def test_paths_start_below_params_and_stats_and_work_without_them():
    rules = [Rule("norm/(scale|mean)", 8)]
    quantized = quantize(example_tree(), rules)
    assert isinstance(quantized["params"]["norm"]["scale"], QuantizedArray)
    assert isinstance(quantized["stats"]["norm"]["mean"], QuantizedArray)
    alone = quantize({"norm": {"scale": jnp.ones(3)}}, rules)
    assert isinstance(alone["norm"]["scale"], QuantizedArray)


def bfloat16_above(values):
    """The least bfloat16 numbers that are not below positive float32 `values`, as float32."""
    exact = np.asarray(values)
    short = exact.astype(jnp.bfloat16)
    above = (short.view(np.uint16) + 1).view(jnp.bfloat16)
    return np.where(short.astype(np.float32) < exact, above, short).astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bits", "prior", "granularity", "dtype"),
    [
        (3, "laplace", "tensor", jnp.float32),
        (5, "gaussian", "channel", jnp.bfloat16),
        (7, "gaussian", "tensor", jnp.bfloat16),
        (8, "minmax", "channel", jnp.float32),
    ],
)
def test_a_leaf_holds_the_codes_and_gives_their_values(bits, prior, granularity, dtype):
    x = jnp.asarray(np.random.default_rng(4).standard_normal((3, 5, 7)), dtype)
    tree = quantize({"kernel": x}, [Rule("kernel", bits, prior, granularity)])
    leaf, value = tree["kernel"], dequantize(tree)["kernel"]
    axis = 2 if granularity == "channel" else None
    assert (leaf.bits, leaf.prior, leaf.axis, leaf.dtype) == (bits, prior, axis, dtype)
    assert (leaf.size, leaf.code_bits) == (105, 105 * bits)
    assert leaf.codes.shape == (leaf.packed_size,)
    offset, scale = aciq.fit_range(x, bits, prior, axis)
    if axis is not None:
        scale = bfloat16_above(scale)
    codes = packing.unpack(leaf.codes, bits, x.size).reshape(x.shape)
    steps = np.asarray((x.astype(jnp.float32) - offset) / scale)
    # Not compared with `encode`: outside jit a value half way between two codes may round away.
    np.testing.assert_allclose(codes, np.clip(steps, 0, 2**bits - 1), atol=0.501)
    np.testing.assert_allclose(leaf.offset, offset, rtol=1e-6)
    np.testing.assert_allclose(leaf.scale, scale, rtol=1e-6)
    assert (value.shape, value.dtype) == (x.shape, dtype)
    np.testing.assert_allclose(
        value.astype(jnp.float32),
        aciq.from_codes(codes, offset, scale, axis),
        rtol=1e-5 if dtype == jnp.float32 else 2**-8,
        atol=1e-6,
    )


@pytest.mark.slow
def test_channels_with_bits_of_their_own_hold_codes_of_these():
    x = jnp.asarray(np.random.default_rng(5).laplace(size=(40, 6)) * 2.0 ** np.arange(6))
    leaf = quantize({"x": x}, [Rule("x", 4.5, granularity="channel-bits")])["x"]
    assert (leaf.axis, sum(leaf.bits), len(leaf.bits)) == (1, 27, 6)
    assert list(leaf.bits) == sorted(leaf.bits)
    assert leaf.code_bits == 40 * 27
    assert leaf.codes.shape == (leaf.packed_size,)
    codes = packing.unpack_channels(leaf.codes, leaf.bits, leaf.shape, leaf.axis)
    assert np.all(codes.max(0) < 2 ** np.array(leaf.bits))
    offset, scale = aciq.fit_range(x, jnp.array(leaf.bits), "laplace", 1)
    np.testing.assert_allclose(leaf.offset, offset, rtol=1e-6)
    np.testing.assert_allclose(leaf.scale, bfloat16_above(scale), rtol=1e-6)
    # Off by half a step at most, but for what is clipped.
    values = dequantize({"x": leaf})["x"]
    inside = np.clip(x, offset, offset + scale * (2 ** np.array(leaf.bits) - 1))
    assert np.all(np.abs(values - inside) <= 0.5001 * scale)


def test_corrected_leaves_have_the_means_and_deviations_of_their_channels():
    rng = np.random.default_rng(6)
    x = (rng.laplace(size=(50, 4)) + np.arange(4)).astype(np.float32)
    for granularity in ("tensor", "channel"):
        tree = quantize({"x": x}, [Rule("x", 2, granularity=granularity, correct=True)])
        assert tree["x"].axis == 1
        values = np.asarray(dequantize(tree)["x"], np.float64)
        np.testing.assert_allclose(values.mean(0), x.mean(0), atol=1e-5)
        np.testing.assert_allclose(values.std(0), x.std(0), rtol=1e-5)
    # A vector as a whole.
    tree = quantize({"x": x[:, 0]}, [Rule("x", 2, correct=True)])
    assert tree["x"].axis is None
    values = np.asarray(dequantize(tree)["x"], np.float64)
    np.testing.assert_allclose(
        (values.mean(), values.std()), (x[:, 0].mean(), x[:, 0].std()), rtol=1e-5
    )


def test_vectors_have_one_range_and_whole_bits():
    tree = {"kernel": jnp.ones((4, 3)), "bias": jnp.arange(3.0)}
    quantized = quantize(tree, [Rule(".*", 4, granularity="channel")])
    assert (quantized["kernel"].axis, quantized["bias"].axis) == (1, None)
    quantized = quantize(tree, [Rule(".*", 3.9, granularity="channel-bits")])
    assert len(quantized["kernel"].bits) == 3
    assert (quantized["bias"].axis, quantized["bias"].bits) == (None, 3)


def test_dequantize_works_inside_jit_and_twice_is_once():
    rules = [
        Rule("body/0/.*", 5, granularity="channel"),
        Rule("body/1/.*", 3.5, "minmax", "channel-bits"),
    ]
    quantized = quantize(example_tree(), rules)
    once = dequantize(quantized)
    assert jax.tree.structure(once) == jax.tree.structure(example_tree())
    jax.tree.map(np.testing.assert_array_equal, dequantize(once), once)
    inside = jax.jit(lambda tree: jax.tree.map(lambda leaf: leaf * 1, dequantize(tree)))(quantized)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6), inside, once)


RULES = [
    Rule("x", 4, "laplace"),
    Rule("x", 4, "auto", "channel"),
    Rule("x", 4, "gaussian", "tensor", correct=True),
    Rule("x", 4, "auto", "channel-bits", correct=True),
]


def units(values, dtype):
    """The last place of sums and products that make values as large as these."""
    values = np.abs(np.asarray(values, np.float32))
    return np.spacing(values + values.max()) * (1 if dtype == "float32" else 2**16)


@pytest.mark.parametrize(
    ("rule", "dtype"), list(zip(RULES, ["float32", "bfloat16"] * 2, strict=True))
)
def test_simulated_values_are_those_of_the_packed_tree(rule, dtype):
    # Unpacking is compiled for each number of bits, and for each choice of them for channels.
    @settings(max_examples=5 if rule.granularity == "channel-bits" else 20)
    @given(hnp.arrays(np.float32, (4, 6), elements=REACH), st.sampled_from(FEW_BITS))
    def check(x, bits):
        tree, rules = {"x": jnp.asarray(x, dtype)}, [dataclasses.replace(rule, bits=bits)]
        packed, simulated = dequantize(quantize(tree, rules))["x"], simulate(tree, rules)["x"]
        assert simulated.dtype == packed.dtype == dtype
        difference = np.asarray(simulated, np.float32) - np.asarray(packed, np.float32)
        assert np.all(np.abs(difference) <= units(packed, dtype))

    check()


@pytest.mark.parametrize("rule", RULES[1:3], ids=lambda rule: f"{rule.granularity}-{rule.prior}")
def test_simulation_works_inside_jit(rule):
    tree = {"x": jnp.asarray(np.random.default_rng(8).laplace(size=(4, 6)), jnp.float32)}
    outside = simulate(tree, [rule])["x"]
    inside = jax.jit(lambda tree: simulate(tree, [rule]))(tree)["x"]
    # The range is fitted by another program there, which rounds its sums in its own way.
    assert np.all(np.abs(np.asarray(inside - outside)) <= 4 * units(outside, "float32"))


def test_only_what_the_rules_select_is_simulated():
    tree = example_tree()
    changed = simulate(tree, [Rule("body/1/.*", None), Rule(".*/kernel", 3)])
    assert changed["params"]["body"]["1"]["kernel"] is tree["params"]["body"]["1"]["kernel"]
    assert changed["stats"]["norm"]["mean"] is tree["stats"]["norm"]["mean"]
    assert len(np.unique(changed["params"]["head"]["kernel"])) <= 8
    with pytest.raises(UserError, match="match none of the 7 leaves"):
        simulate(tree, [Rule("tail/.*", 4)])


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.granularity}-{rule.prior}")
def test_gradients_pass_straight_through_a_simulation(rule):
    rng = np.random.default_rng(7)
    x, weights = (jnp.asarray(rng.standard_normal((4, 6)), jnp.float32) for _ in range(2))

    def loss(x):
        return (weights * simulate({"x": x}, [rule])["x"]).sum()

    np.testing.assert_array_equal(jax.jit(jax.grad(loss))(x), weights)


def test_simulating_and_quantising_compile_once_for_all_bits_and_once_for_both(monkeypatch):
    counted = []
    plain = aciq.quantize_array
    monkeypatch.setattr(aciq, "quantize_array", lambda *a, **k: counted.append(a) or plain(*a, **k))
    tree = {"x": jnp.ones((11, 13))}
    for bits in (2, 5, 8):
        simulate(tree, [Rule("x", bits)])
        quantize(tree, [Rule("x", bits)])
    assert len(counted) == 1


@settings(max_examples=30)
@given(hnp.arrays(np.float32, (4, 6), elements=REACH), st.sampled_from(FEW_BITS))
def test_minmax_of_quantised_values_changes_nothing(x, bits):
    rules = [Rule("x", bits, "minmax")]
    once = dequantize(quantize({"x": x}, rules))
    np.testing.assert_allclose(dequantize(quantize(once, rules))["x"], once["x"], atol=1e-5)


@settings(max_examples=30)
@given(hnp.arrays(np.float32, (4, 6), elements=REACH), st.sampled_from(FEW_BITS))
def test_auto_is_never_worse_than_any_prior(x, bits):
    def error(prior):
        quantized = quantize({"x": x}, [Rule("x", bits, prior)])
        assert quantized["x"].prior in aciq.PRIORS
        return np.square(np.asarray(dequantize(quantized)["x"], np.float64) - x).mean()

    assert error("auto") <= min(error(prior) for prior in aciq.PRIORS) * (1 + 1e-4) + 1e-10


def test_auto_takes_the_prior_that_fits():
    rng = np.random.default_rng(5)
    tree = {
        "laplace": jnp.asarray(rng.laplace(size=(100, 100)), jnp.float32),
        "gaussian": jnp.asarray(rng.standard_normal((100, 100)), jnp.float32),
        "minmax": jnp.asarray(rng.random((100, 100)), jnp.float32),
    }
    quantized = quantize(tree, [Rule(".*", 4, "auto")])
    assert {name: leaf.prior for name, leaf in quantized.items()} == {name: name for name in tree}


@pytest.mark.slow
def test_constant_empty_and_single_leaves_come_back_exactly():
    tree = {
        "constant": jnp.full((3, 5), 0.1),
        "empty": jnp.zeros((0, 4)),
        "scalar": jnp.asarray(-2.7),
        "single": jnp.asarray([0.3], jnp.bfloat16),
    }
    for rule in (Rule(".*", 2, "auto"), Rule(".*", 2, "gaussian", "channel", correct=True)):
        jax.tree.map(np.testing.assert_array_equal, dequantize(quantize(tree, [rule])), tree)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_by_name(bad):
    tree = example_tree()
    tree["params"]["body"]["0"]["kernel"] = jnp.ones((10, 6)).at[3, 2].set(bad)
    with pytest.raises(UserError, match=r"^body/0/kernel: not all values are finite"):
        quantize(tree, [Rule(".*", 4)])
    assert quantize(tree, [Rule("head/.*", 4)])


@pytest.mark.parametrize(
    ("leaf", "message"),
    [
        (jnp.arange(3), r"^body/x: int32 cannot be quantised"),
        (np.zeros(3), r"^body/x: float64 cannot be quantised"),
        (np.array([-3e38, 3e38], np.float32), r"^body/x: values too large for a minmax range"),
    ],
)
def test_other_leaves_that_cannot_be_quantised_are_refused_by_name(leaf, message):
    with pytest.raises(UserError, match=message):
        quantize({"params": {"body": {"x": leaf}}}, [Rule("body/.*", 4, "minmax")])


def test_quantising_twice_and_rules_that_match_nothing_are_refused():
    rules = [Rule("head/.*", 4)]
    with pytest.raises(UserError, match=r"^head/bias: is quantised already"):
        quantize(quantize(example_tree(), rules), rules)
    with pytest.raises(UserError, match=r"'tail/\.\*' match none of the 7 leaves, such as 'body/0"):
        quantize(example_tree(), [Rule("tail/.*", 4)])
