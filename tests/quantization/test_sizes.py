"""Checks the size accounts: trees of shapes, by rules, and what quantised trees hold."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.golden import vectors as golden_vectors
from textsr_jax import convert
from textsr_jax.quantization import Rule, held_bytes, quantize, rule_set, selection, size_mbit

TREE = {
    "params": {"kernel": jnp.arange(21.0).reshape(7, 3), "bias": jnp.ones(3)},
    "stats": {"mean": jnp.ones(3)},
}


@pytest.mark.parametrize(
    ("rule", "kernel_bits"),
    [
        (Rule("kernel", 5), 21 * 5),
        (Rule("kernel", 5, granularity="channel", correct=True), 21 * 5),
        (Rule("kernel", 3.0, granularity="channel-bits"), 21 * 3),
        (Rule("kernel", None), 21 * 32),
    ],
)
def test_sizes_by_hand(rule, kernel_bits):
    expected = (kernel_bits + 3 * 32) / 1e6
    assert size_mbit(TREE) == 24 * 32 / 1e6
    assert size_mbit(TREE, [rule]) == expected
    assert size_mbit(jax.eval_shape(lambda: TREE), [rule]) == expected
    assert size_mbit(quantize(TREE, [rule])) == expected


def test_bits_of_channels_count_each_by_its_own():
    rule = Rule("kernel", 3.4, granularity="channel-bits")
    quantized = quantize(TREE, [rule])
    bits = quantized["params"]["kernel"].bits
    assert sum(bits) == 10
    assert size_mbit(quantized) == (7 * 10 + 3 * 32) / 1e6
    # Of shapes alone only the budget is known.
    assert size_mbit(TREE, [rule]) == pytest.approx((21 * 3.4 + 3 * 32) / 1e6)


def test_ranges_of_groups_count_in_every_account():
    # 7 rows of 3 channels are one group of each; 70 rows are two of 64 and 6.
    for rows, groups in ((7, 3), (70, 6)):
        tree = {"params": {"kernel": jnp.ones((rows, 3))}}
        rule = Rule("kernel", 5, "minmax", "group")
        expected = (rows * 3 * 5 + groups * 48) / 1e6
        assert size_mbit(tree, [rule]) == size_mbit(quantize(tree, [rule])) == expected
        packed = -(-rows * 3 * 5 // 8)
        assert held_bytes(quantize(tree, [rule])) == packed + groups * 8


def test_held_bytes_by_hand():
    quantized = quantize(TREE, [Rule("kernel", 5, granularity="channel")])
    # 105 bits take 14 bytes; an offset and a scale for each of 3 channels; 3 biases, 3 means.
    assert held_bytes(quantized) == 14 + 2 * 3 * 4 + 3 * 4 + 3 * 4
    assert held_bytes(TREE) == held_bytes(jax.eval_shape(lambda: TREE)) == 27 * 4
    in_half = jax.tree.map(lambda leaf: np.asarray(leaf, jnp.bfloat16), TREE)
    assert held_bytes(in_half) == 27 * 2


@pytest.mark.parametrize(("bits", "figure"), [(None, 2851.45), (7, 1277.89), (6, 1214.94)])
def test_live_size_of_the_papers_pair(bits, figure):
    trees = {
        "edsr": convert.network("edsr", stn=True).template,
        "cdistnet": golden_vectors.network("cdistnet").template,
    }
    rules = {name: rule_set(selection(name), bits) if bits else () for name in trees}
    assert round(sum(size_mbit(trees[name], rules[name]) for name in trees), 2) == figure
