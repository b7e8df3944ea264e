"""What packed weights take on the device: at rest, as inputs, and while a network runs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import paper, tiny
from textsr_jax.compilation import jit_sparingly
from textsr_jax.models import Network, build_ocr, build_sr
from textsr_jax.quantization import dequantize, held_bytes, quantize, rule_set

EVERYTHING = {
    bits: rule_set("all", bits, granularity=granularity)
    for bits, granularity in ((8, "channel"), (6, "channel"), (4, "tensor"))
}
# 8 bits of 32 are a quarter; ranges of channels and running statistics come on top.
MOST = {8: 0.30, 6: 0.23, 4: 0.17}


def networks(config) -> dict[str, Network]:
    return {"sr": build_sr(config.sr), "ocr": build_ocr(config.ocr)}


@functools.cache
def packed_paper(part: str, bits: int):
    network = networks(paper.get_config())[part]
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), network.template)
    return network, quantize(zeros, EVERYTHING[bits])


@pytest.mark.parametrize("bits", [8, pytest.param(6, marks=pytest.mark.slow)])
@pytest.mark.parametrize("part", ["sr", "ocr"])
def test_the_papers_pair_is_held_in_a_part_of_float32s_memory(part, bits):
    network, packed = packed_paper(part, bits)
    plain = held_bytes(network.template)
    assert held_bytes(packed) <= MOST[bits] * plain
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(packed)) == held_bytes(packed)


@pytest.mark.parametrize("bits", MOST)
def test_so_is_a_small_one_with_drawn_weights(bits):
    network = networks(tiny.get_config())["ocr"]
    drawn = network.init(jax.random.key(0))
    packed = quantize(drawn, EVERYTHING[bits])
    # Its narrow layers have more ranges for their weights.
    assert held_bytes(packed) <= (MOST[bits] + 0.02) * held_bytes(drawn)


def test_running_holds_neither_float32_kernels_nor_all_expanded_ones():
    network, packed = packed_paper("sr", 8)
    plain = held_bytes(network.template)
    images = jax.ShapeDtypeStruct((1, 16, 64, 3), jnp.float32)
    compiled = jit_sparingly(network.through(dequantize).__call__).lower(packed, images).compile()
    (weights, _), _ = compiled.in_avals
    assert jax.tree.structure(weights) == jax.tree.structure(packed)
    # Ranges and statistics have one axis at most.
    assert all(leaf.dtype == np.uint8 for leaf in jax.tree.leaves(weights) if leaf.size > 4096)
    planned = compiled.memory_analysis()
    if not planned.temp_size_in_bytes:
        pytest.skip("this backend does not tell what it plans")
    # A layer's kernel, as it is and as Winograd's algorithm takes it, and activations.
    assert planned.temp_size_in_bytes < 0.15 * plain
    assert planned.argument_size_in_bytes + planned.temp_size_in_bytes < 0.45 * plain


def test_a_sparing_order_gives_the_same_values():
    network = networks(tiny.get_config())["sr"]
    packed = quantize(network.init(jax.random.key(0)), EVERYTHING[8])
    lr = jax.random.uniform(jax.random.key(1), (2, 16, 64, 3))
    enlarge = network.through(dequantize).__call__
    np.testing.assert_array_equal(jit_sparingly(enlarge)(packed, lr), jax.jit(enlarge)(packed, lr))
