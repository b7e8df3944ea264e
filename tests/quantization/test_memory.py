"""What packed weights take on the device: at rest, as inputs, and while a network runs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import paper, tiny
from textsr_jax.models import Network, Variables, build_ocr, build_sr
from textsr_jax.quantization import QuantizedArray, dequantize, held_bytes, quantize, rule_set
from textsr_jax.quantization.packing import packed_size
from textsr_jax.runtime.compilation import jit_sparingly

pytestmark = pytest.mark.slow

# 8 bits of 32 are a quarter; ranges of channels and running statistics come on top.
MOST = {8: 0.30, 6: 0.23, 4: 0.17}


def every_parameter(bits: int):
    return rule_set("all", bits, granularity="channel")


def packed_zeros(network: Network, bits: int) -> Variables:
    """What `quantize(variables, every_parameter(bits))` gives, without its many compilations."""

    def pack(leaf: jax.ShapeDtypeStruct) -> QuantizedArray:
        axis = len(leaf.shape) - 1 if len(leaf.shape) > 1 else None
        ends = jnp.zeros(() if axis is None else leaf.shape[-1:])
        codes = jnp.zeros(packed_size(leaf.size, bits), jnp.uint8)
        dtype = np.dtype(np.float32)
        return QuantizedArray(codes, ends, ends, leaf.shape, dtype, bits, "laplace", axis)

    stats = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), network.template["stats"])
    return {"params": jax.tree.map(pack, network.template["params"]), "stats": stats}


def small() -> Network:
    config = tiny.get_config()
    config.sr.edsr.blocks = 1
    return build_sr(config.sr)


@pytest.mark.parametrize("bits", MOST)
@pytest.mark.parametrize("build", [build_sr, build_ocr])
def test_the_papers_pair_is_held_in_a_part_of_float32s_memory(build, bits):
    config = paper.get_config()
    network = build(config.sr if build is build_sr else config.ocr)
    packed = packed_zeros(network, bits)
    assert held_bytes(packed) <= MOST[bits] * held_bytes(network.template)
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(packed)) == held_bytes(packed)


def test_so_is_a_small_one_that_was_quantised():
    network = small()
    packed = quantize(network.init(jax.random.key(0)), every_parameter(8))
    assert held_bytes(packed) <= 0.30 * held_bytes(network.template)
    assert held_bytes(packed) == held_bytes(packed_zeros(network, 8))
    assert jax.tree.structure(packed) == jax.tree.structure(packed_zeros(network, 8))


def test_running_holds_neither_float32_kernels_nor_all_expanded_ones():
    network = build_sr(paper.get_config().sr)
    packed, plain = packed_zeros(network, 8), held_bytes(network.template)
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
    network = small()
    packed = quantize(network.init(jax.random.key(0)), every_parameter(8))
    lr = jax.random.uniform(jax.random.key(1), (2, 16, 64, 3))
    enlarge = network.through(dequantize).__call__
    np.testing.assert_array_equal(jit_sparingly(enlarge)(packed, lr), jax.jit(enlarge)(packed, lr))
