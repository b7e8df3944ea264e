"""Quantises parameter trees with ACIQ: `quantize(tree, rules)`, and `dequantize(tree)` back."""

from textsr_jax.quantization.adaround import adaround
from textsr_jax.quantization.collecting import Statistics, collect
from textsr_jax.quantization.gptq import gptq
from textsr_jax.quantization.rules import RULE_SETS, Rule, layer_types, rule_set, selection
from textsr_jax.quantization.sizes import held_bytes, size_mbit
from textsr_jax.quantization.tree import (
    QuantizedArray,
    dequantize,
    is_quantized,
    quantize,
    simulate,
    summary,
)

__all__ = [
    "RULE_SETS",
    "QuantizedArray",
    "Rule",
    "Statistics",
    "adaround",
    "collect",
    "dequantize",
    "gptq",
    "held_bytes",
    "is_quantized",
    "layer_types",
    "quantize",
    "rule_set",
    "selection",
    "simulate",
    "size_mbit",
    "summary",
]
