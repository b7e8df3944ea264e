"""The size of a tree: as the paper counts it, and in memory.

The paper's "Model Size(MB)" is in 10^6 bits and counts parameters, but no running statistics. An
array that several places of a tree share counts once. Leaves that are no arrays count nothing.
"""

import dataclasses
import math
from collections.abc import Sequence

import jax

from textsr_jax.quantization.rules import Rule, first_match
from textsr_jax.quantization.tree import (
    Tree,
    distinct_leaves,
    is_quantized,
    leaf_kind,
    leaf_path,
    range_bits,
    ranges_of,
)


@dataclasses.dataclass(frozen=True)
class Size:
    """What a tree takes, of `size`; `str` gives it as a line.

    Attributes:
      values: the elements of all arrays.
      quantized: the elements of quantised arrays.
      bits: bits for each quantised element, ranges of groups included; 0 if nothing is quantised.
      mbit: the size that papers print, `size_mbit`, in 10^6 bits.
      held_bytes: the bytes of all leaves in memory.
    """

    values: int
    quantized: int
    bits: float
    mbit: float
    held_bytes: int

    def __str__(self) -> str:
        return (
            f"{self.values:,} values, {self.quantized:,} of them at {self.bits:.3g} bits: "
            f"{self.mbit:.3f} Mbit, {self.held_bytes:,} bytes in memory"
        )


def size(tree: Tree) -> Size:
    """What a tree takes, quantised or not.

    Args:
      tree: any pytree of arrays, `jax.ShapeDtypeStruct` and `QuantizedArray`.
    """
    leaves = [leaf for _, leaf in distinct_leaves(tree)]
    packed = [leaf for leaf in leaves if is_quantized(leaf)]
    quantized = sum(leaf.size for leaf in packed)
    bits = sum(leaf.code_bits + leaf.range_bits for leaf in packed)
    return Size(
        values=sum(math.prod(getattr(leaf, "shape", (0,))) for leaf in leaves),
        quantized=quantized,
        bits=bits / max(1, quantized),
        mbit=size_mbit(tree),
        held_bytes=held_bytes(tree),
    )


def size_mbit(tree: Tree, rules: Sequence[Rule] = ()) -> float:
    """The size of a tree's parameters under `rules`, in 10^6 bits, as the paper counts.

    A parameter that the rules select counts with its bits per element, any other with 32. Ranges of
    tensors and channels do not count, and neither do the leaves below a top-level `stats`. Ranges
    of groups are many and count: see `QuantizedArray.range_bits`.

    Args:
      tree: any pytree of arrays or `jax.ShapeDtypeStruct`. A `QuantizedArray` in it counts with
        its own bits.
      rules: the rules that `quantize` would get.
    """
    bits = 0.0
    for places, leaf in distinct_leaves(tree):
        if leaf_kind(places[0]) == "stats" or not hasattr(leaf, "shape"):
            continue
        if is_quantized(leaf):
            bits += leaf.code_bits + leaf.range_bits
        else:
            rule = first_match(rules, *map(leaf_path, places))
            bits += ((rule and rule.bits) or 32) * math.prod(leaf.shape)
            if rule is not None and (rows := ranges_of(leaf.shape, rule)[1]) is not None:
                bits += range_bits(leaf.shape, rows)
    return bits / 1e6


def held_bytes(tree: Tree) -> int:
    """The bytes of all leaves in memory, with statistics, packed codes and ranges.

    Args:
      tree: any pytree of arrays or `jax.ShapeDtypeStruct`, quantised or not.
    """
    arrays = (part for _, leaf in distinct_leaves(tree) for part in jax.tree.leaves(leaf))
    return sum(
        math.prod(array.shape) * array.dtype.itemsize for array in arrays if hasattr(array, "shape")
    )
