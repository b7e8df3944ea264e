"""How large a tree is, in bits: as the paper counts, and as the packed tree lies in memory.

The paper's "Model Size(MB)" is in 10^6 bits and counts parameters only, no running statistics.
"""

import math
from collections.abc import Sequence

import jax
import numpy as np

from textsr_jax.quantization.rules import Rule, first_match
from textsr_jax.quantization.tree import Tree, is_quantized, leaf_kind, leaf_path


def size_mbit(tree: Tree, rules: Sequence[Rule] = ()) -> float:
    """The size of a tree's parameters under `rules`, in 10^6 bits, as the paper counts.

    A parameter that the rules select counts its bits per element, any other 32; ranges and the
    leaves below a top-level `stats` do not count.

    Args:
      tree: a nested dict of arrays or `jax.ShapeDtypeStruct`; a `QuantizedArray` in it counts its
        own bits.
      rules: the rules that `quantize` would get.
    """
    bits = 0
    for keys, leaf in jax.tree_util.tree_leaves_with_path(tree, is_leaf=is_quantized):
        if leaf_kind(keys) == "stats":
            continue
        if is_quantized(leaf):
            bits += leaf.code_bits
        else:
            rule = first_match(rules, leaf_path(keys))
            bits += (32 if rule is None else rule.bits) * math.prod(leaf.shape)
    return bits / 1e6


def held_bytes(tree: Tree) -> int:
    """The bytes that all leaves take in memory: statistics, packed codes and ranges included.

    Args:
      tree: a nested dict of arrays or `jax.ShapeDtypeStruct`, quantised or not.
    """
    return sum(
        math.prod(leaf.shape) * np.dtype(leaf.dtype).itemsize for leaf in jax.tree.leaves(tree)
    )
