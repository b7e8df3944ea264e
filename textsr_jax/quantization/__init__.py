"""Quantises parameter trees of any model: ACIQ, least-squares ranges, groups, in packed codes.

Pure functions of pytrees. JAX and numpy are all that they need.

    import textsr_jax.quantization as quant

    rules = [quant.Rule(".*kernel", bits=4, prior="least_squares", granularity="group")]
    packed = quant.quantize(tree, rules)
    print(quant.error(tree, packed))    # SQNR in dB of each leaf, and of all
    quant.save("tree.safetensors", packed)
    values = quant.dequantize(quant.load("tree.safetensors"))
"""

from textsr_jax.quantization.collecting import Statistics, collect
from textsr_jax.quantization.fidelity import LeafError, TreeError, error
from textsr_jax.quantization.flax_modules import nnx
from textsr_jax.quantization.gguf_files import from_gguf, quantize_gguf, to_gguf
from textsr_jax.quantization.qwix_arrays import from_qwix, to_qwix
from textsr_jax.quantization.rounding_adaround import adaround
from textsr_jax.quantization.rounding_gptq import gptq
from textsr_jax.quantization.rules import RULE_SETS, Rule, layer_types, rule_set, selection
from textsr_jax.quantization.sizes import Size, held_bytes, size, size_mbit
from textsr_jax.quantization.training import straight_through
from textsr_jax.quantization.tree import (
    QuantizedArray,
    dequantize,
    is_quantized,
    quantize,
    simulate,
    summary,
)
from textsr_jax.quantization.tree_files import load, save

__all__ = [
    "RULE_SETS",
    "LeafError",
    "QuantizedArray",
    "Rule",
    "Size",
    "Statistics",
    "TreeError",
    "adaround",
    "collect",
    "dequantize",
    "error",
    "from_gguf",
    "from_qwix",
    "gptq",
    "held_bytes",
    "is_quantized",
    "layer_types",
    "load",
    "nnx",
    "quantize",
    "quantize_gguf",
    "rule_set",
    "save",
    "selection",
    "simulate",
    "size",
    "size_mbit",
    "straight_through",
    "summary",
    "to_gguf",
    "to_qwix",
]
