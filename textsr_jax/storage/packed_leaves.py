"""The arrays of a packed file: how the leaves of its trees become arrays, and come back."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from textsr_jax.models.network import Variables
from textsr_jax.quantization import QuantizedArray, is_quantized, leaf_arrays
from textsr_jax.quantization.sealed_files import Damaged

PARTS = ("sr", "ocr")

_MAX_DEPTH = 32


def arrays_of(trees: Mapping[str, Variables]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Returns the arrays of a packed file, and the records of its quantised leaves, by name.

    Args:
      trees: the variables of "sr" and "ocr"; leaves are `QuantizedArray` or float32 arrays.

    Raises:
      ValueError: a leaf is neither float32 nor quantised.
    """
    plain: dict[str, np.ndarray] = {}
    quantized: dict[str, QuantizedArray] = {}
    for part in PARTS:
        for name, leaf in _named_leaves(trees[part], part):
            if is_quantized(leaf):
                quantized[name] = leaf
            elif leaf.dtype == np.float32:
                plain[name] = np.asarray(leaf)
            else:
                raise ValueError(f"leaf {name!r} is {leaf.dtype}; those not quantised are float32")
    arrays, records = leaf_arrays.to_arrays(quantized.values())
    return plain | arrays, dict(zip(quantized, records, strict=True))


def trees_of(
    leaves: Mapping[str, Mapping[str, Any]], arrays: dict[str, np.ndarray]
) -> dict[str, Variables]:
    """Returns the variables of "sr" and "ocr", as numpy arrays and `QuantizedArray` of them.

    Args:
      leaves: the records of the quantised leaves, by name.
      arrays: the arrays of the file; those that several leaves share are taken out.

    Raises:
      Damaged: leaves and arrays do not go together, or a value is impossible.
    """
    trees: dict[str, Variables] = {part: {"params": {}, "stats": {}} for part in PARTS}
    for name in (*leaves, *arrays):
        # Trees are walked by recursion, and messages are one line.
        if not name.isprintable() or name.count("/") > _MAX_DEPTH:
            raise Damaged(f"there is no place for {name[:80]!r}")
    reader = leaf_arrays.LeafReader(arrays)
    for name, about in leaves.items():
        _insert(trees, name, reader.next(name, about))
    reader.check_used()
    for name, array in arrays.items():
        if array.dtype != np.float32 or not np.isfinite(array).all():
            raise Damaged(f"{name}: not an array of finite float32")
        _insert(trees, name, array)
    return trees


def _named_leaves(tree: Variables, part: str) -> list[tuple[str, Any]]:
    """Returns names, such as `sr/params/edsr/head/kernel`, and leaves of a part."""
    leaves = jax.tree_util.tree_leaves_with_path(tree, is_leaf=is_quantized)
    return [
        (f"{part}/{jax.tree_util.keystr(keys, simple=True, separator='/')}", leaf)
        for keys, leaf in leaves
    ]


def _insert(trees: dict[str, Variables], name: str, leaf: np.ndarray | QuantizedArray) -> None:
    part, kind, *folders, last = name.split("/") if name.count("/") >= 2 else ("", "", "")
    if part not in trees or kind not in trees[part] or not all((*folders, last)):
        raise Damaged(f"there is no place for {name!r}")
    node = trees[part][kind]
    for folder in folders:
        node = node.setdefault(folder, {})
        if not isinstance(node, dict):
            raise Damaged(f"{name}: lies below another leaf")
    if last in node:
        raise Damaged(f"{name}: is there twice")
    node[last] = leaf
