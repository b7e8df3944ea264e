"""The size of a tree: as the paper counts it, and in memory.

The paper's "Model Size(MB)" is in 10^6 bits and counts parameters, but no running statistics.
"""

import math
from collections.abc import Sequence

import jax
import numpy as np

from textsr_jax.quantization.rules import Rule, first_match
from textsr_jax.quantization.tree import (
    Tree,
    is_quantized,
    leaf_kind,
    leaf_path,
    range_bits,
    ranges_of,
)


def size_mbit(tree: Tree, rules: Sequence[Rule] = ()) -> float:
    """The size of a tree's parameters under `rules`, in 10^6 bits, as the paper counts.

    A parameter that the rules select counts with its bits per element, any other with 32. Ranges of
    tensors and channels do not count, and neither do the leaves below a top-level `stats`. Ranges
    of groups are many and count: see `QuantizedArray.range_bits`.

    Args:
      tree: a nested dict of arrays or `jax.ShapeDtypeStruct`. A `QuantizedArray` in it counts with
        its own bits.
      rules: the rules that `quantize` would get.
    """
    bits = 0.0
    for keys, leaf in jax.tree_util.tree_leaves_with_path(tree, is_leaf=is_quantized):
        if leaf_kind(keys) == "stats":
            continue
        if is_quantized(leaf):
            bits += leaf.code_bits + leaf.range_bits
        else:
            rule = first_match(rules, leaf_path(keys))
            bits += ((rule and rule.bits) or 32) * math.prod(leaf.shape)
            if rule is not None and (size := ranges_of(leaf.shape, rule)[1]) is not None:
                bits += range_bits(leaf.shape, size)
    return bits / 1e6


def held_bytes(tree: Tree) -> int:
    """The bytes of all leaves in memory, with statistics, packed codes and ranges.

    Args:
      tree: a nested dict of arrays or `jax.ShapeDtypeStruct`, quantised or not.
    """
    return sum(
        math.prod(leaf.shape) * np.dtype(leaf.dtype).itemsize for leaf in jax.tree.leaves(tree)
    )
