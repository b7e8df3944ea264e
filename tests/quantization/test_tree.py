"""Checks the tree transform: packing, what rules touch, what comes back, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from textsr_jax.errors import UserError
from textsr_jax.quantization import QuantizedArray, Rule, aciq, dequantize, quantize
from textsr_jax.quantization.tree import pack, unpack

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


packer = jax.jit(pack, static_argnums=1)
unpacker = jax.jit(unpack, static_argnums=(1, 2))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_pack_and_unpack_round_trip(data):
    bits = data.draw(st.sampled_from(BITS))
    count = data.draw(st.sampled_from([0, 1, 13]))
    codes = data.draw(hnp.arrays(np.uint8, count, elements=st.integers(0, 2**bits - 1)))
    buffer = packer(codes, bits)
    assert buffer.dtype == jnp.uint8
    assert buffer.shape == (-(-count * bits // 8),)
    np.testing.assert_array_equal(unpacker(buffer, bits, count), codes)


@pytest.mark.parametrize("bits", BITS)
def test_packed_codes_are_one_stream_of_bits_lowest_first(bits):
    codes = np.random.default_rng(bits).integers(0, 2**bits, 77, np.uint8)
    stream = np.unpackbits(codes[:, None], axis=1, bitorder="little")[:, :bits]
    expected = np.packbits(stream.reshape(-1), bitorder="little")
    np.testing.assert_array_equal(packer(codes, bits), expected)


def test_unpack_refuses_a_buffer_of_the_wrong_size():
    with pytest.raises(ValueError, match=r"10 codes of 3 bits take \(4,\) bytes, not \(5,\)"):
        unpack(jnp.zeros(5, jnp.uint8), 3, 10)


def test_only_what_the_rules_select_changes():
    tree = example_tree()
    quantized = quantize(tree, [Rule("body/1/.*", None), Rule(".*/kernel", 3)])
    kernel = quantized["params"]["head"]["kernel"]
    assert isinstance(kernel, QuantizedArray)
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


@pytest.mark.parametrize(
    ("bits", "prior", "per_channel", "dtype"),
    [
        (3, "laplace", False, jnp.float32),
        (5, "gaussian", True, jnp.bfloat16),
        (7, "gaussian", False, jnp.bfloat16),
        (8, "minmax", True, jnp.float32),
    ],
)
def test_a_leaf_holds_the_codes_and_gives_their_values(bits, prior, per_channel, dtype):
    x = jnp.asarray(np.random.default_rng(4).standard_normal((3, 5, 7)), dtype)
    tree = quantize({"kernel": x}, [Rule("kernel", bits, prior, per_channel)])
    leaf, value = tree["kernel"], dequantize(tree)["kernel"]
    axis = 2 if per_channel else None
    offset, scale = aciq.fit_range(x, bits, prior, axis)
    codes = unpack(leaf.codes, bits, x.size).reshape(x.shape)
    steps = np.asarray((x.astype(jnp.float32) - offset) / scale)
    # Not compared with `encode`: outside jit a value half way between two codes may round away.
    np.testing.assert_allclose(codes, np.clip(steps, 0, 2**bits - 1), atol=0.501)
    np.testing.assert_allclose(leaf.offset, offset, rtol=1e-6)
    np.testing.assert_allclose(leaf.scale, scale, rtol=1e-6)
    assert (value.shape, value.dtype) == (x.shape, dtype)
    np.testing.assert_allclose(
        value.astype(jnp.float32),
        aciq.decode(codes, offset, scale, axis),
        rtol=1e-5 if dtype == jnp.float32 else 2**-8,
        atol=1e-6,
    )


def test_per_channel_leaves_vectors_one_range():
    tree = {"kernel": jnp.ones((4, 3)), "bias": jnp.arange(3.0)}
    quantized = quantize(tree, [Rule(".*", 4, per_channel=True)])
    assert quantized["kernel"].axis == 1
    assert quantized["bias"].axis is None


def test_dequantize_works_inside_jit_and_twice_is_once():
    quantized = quantize(example_tree(), [Rule(".*/kernel", 5, per_channel=True)])
    once = dequantize(quantized)
    assert jax.tree.structure(once) == jax.tree.structure(example_tree())
    jax.tree.map(np.testing.assert_array_equal, dequantize(once), once)
    inside = jax.jit(lambda tree: jax.tree.map(lambda leaf: leaf * 1, dequantize(tree)))(quantized)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6), inside, once)


@settings(max_examples=30, deadline=None)
@given(hnp.arrays(np.float32, (4, 6), elements=REACH), st.sampled_from(FEW_BITS))
def test_minmax_of_quantised_values_changes_nothing(x, bits):
    rules = [Rule("x", bits, "minmax")]
    once = dequantize(quantize({"x": x}, rules))
    np.testing.assert_allclose(dequantize(quantize(once, rules))["x"], once["x"], atol=1e-5)


@settings(max_examples=30, deadline=None)
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


def test_constant_empty_and_single_leaves_come_back_exactly():
    tree = {
        "constant": jnp.full((3, 5), 0.1),
        "empty": jnp.zeros((0, 4)),
        "scalar": jnp.asarray(-2.7),
        "single": jnp.asarray([0.3], jnp.bfloat16),
    }
    back = dequantize(quantize(tree, [Rule(".*", 2, "auto")]))
    jax.tree.map(np.testing.assert_array_equal, back, tree)


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
    with pytest.raises(UserError, match=r"^head/bias: quantised to 4 bits already"):
        quantize(quantize(example_tree(), rules), rules)
    with pytest.raises(UserError, match=r"'tail/\.\*' match none of the 7 leaves, such as 'body/0"):
        quantize(example_tree(), [Rule("tail/.*", 4)])
