"""Quantises parameter trees with ACIQ: `quantize(tree, rules)`, and `dequantize(tree)` back."""

from textsr_jax.quantization.rules import Rule, cdistnet_ocr, edsr_sr, kernels, selection, tbsrn_sr
from textsr_jax.quantization.sizes import paper_size_mbit, size_mbit, stored_bits
from textsr_jax.quantization.tree import QuantizedArray, dequantize, quantize

__all__ = [
    "QuantizedArray",
    "Rule",
    "cdistnet_ocr",
    "dequantize",
    "edsr_sr",
    "kernels",
    "paper_size_mbit",
    "quantize",
    "selection",
    "size_mbit",
    "stored_bits",
    "tbsrn_sr",
]
