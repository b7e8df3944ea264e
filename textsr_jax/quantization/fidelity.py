"""How much of a tree's values is left after quantisation: SQNR of each leaf and of all."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from textsr_jax.errors import UserError
from textsr_jax.quantization.tree import (
    Leaf,
    Tree,
    dequantize,
    distinct_leaves,
    is_quantized,
    leaf_path,
)


@dataclasses.dataclass(frozen=True)
class LeafError:
    """The error of one leaf.

    Attributes:
      path: as rules see it.
      shape: of the leaf.
      how: how it is quantised, such as "least_squares, groups of 64"; "values" if it is an array.
      bits: bits for each element, ranges of groups included; None if it is an array.
      sqnr_db: 10 log10(sum x^2 / sum (x - q)^2), in dB, for values x and quantised values q.
        Infinite where all are equal, and NaN where a value is not finite.
    """

    path: str
    shape: tuple[int, ...]
    how: str
    bits: float | None
    sqnr_db: float


@dataclasses.dataclass(frozen=True)
class TreeError:
    """The errors of a tree, of `error`; `str` gives them as a table.

    Attributes:
      leaves: the leaves that are quantised or have other values.
      sqnr_db: that of all of these leaves together, in dB.
    """

    leaves: tuple[LeafError, ...]
    sqnr_db: float

    def as_json(self) -> dict[str, Any]:
        """The errors as JSON can hold them; an SQNR that is not finite is null."""
        leaves = [
            dataclasses.asdict(leaf) | {"sqnr_db": _finite(leaf.sqnr_db)} for leaf in self.leaves
        ]
        return {"sqnr_db": _finite(self.sqnr_db), "leaves": leaves}

    def __str__(self) -> str:
        rows = [("leaf", "shape", "ranges", "bits", "SQNR, dB")]
        for leaf in self.leaves:
            bits = "-" if leaf.bits is None else f"{leaf.bits:.3g}"
            shape = " x ".join(map(str, leaf.shape)) or "-"
            rows.append((leaf.path, shape, leaf.how, bits, f"{leaf.sqnr_db:.2f}"))
        rows.append(("all", "", "", "", f"{self.sqnr_db:.2f}"))
        wide = [max(len(row[column]) for row in rows) for column in range(5)]
        return "\n".join(
            "  ".join(
                text.rjust(width) if column > 2 else text.ljust(width)
                for column, (text, width) in enumerate(zip(row, wide, strict=True))
            )
            for row in rows
        )


def error(tree: Tree, quantized: Tree) -> TreeError:
    """The error of quantised values against the values they came from.

    Args:
      tree: the values before, a pytree of arrays.
      quantized: the same tree after `quantize`, or after `simulate` or `dequantize`.

    Raises:
      UserError: the trees have other leaves or shapes.
    """
    before, after = (
        dict(jax.tree_util.tree_leaves_with_path(one, is_leaf=is_quantized))
        for one in (tree, quantized)
    )
    if before.keys() != after.keys():
        path = leaf_path(min(before.keys() ^ after.keys(), key=str))
        raise UserError(f"{path}: only one of the two trees has it; compare trees of one model")
    found: list[LeafError] = []
    sums = np.zeros(2)
    for (keys, *_), after_leaf in distinct_leaves(quantized):
        path, leaf = leaf_path(keys), before[keys]
        if not hasattr(leaf, "shape") or not hasattr(after_leaf, "shape"):
            continue
        if leaf.shape != after_leaf.shape:
            raise UserError(
                f"{path}: its shape is {leaf.shape} in one tree and {after_leaf.shape} in the "
                "other; compare trees of one model"
            )
        values, kept = _values(leaf), _values(after_leaf)
        if values is None or kept is None:
            continue
        signal, noise = np.square(values).sum(), np.square(values - kept).sum()
        if not is_quantized(after_leaf) and noise == 0:
            continue
        sums += signal, noise
        bits = after_leaf.mean_bits if is_quantized(after_leaf) else None
        found.append(
            LeafError(path, tuple(leaf.shape), _how(after_leaf), bits, _sqnr(signal, noise))
        )
    return TreeError(tuple(found), _sqnr(*sums))


def _values(leaf: Leaf) -> np.ndarray | None:
    """The values of a leaf of real numbers as float64; None for other leaves."""
    if not jnp.issubdtype(leaf.dtype, jnp.floating):
        return None
    return np.asarray(dequantize(leaf), np.float64)


def _how(leaf: Leaf) -> str:
    if not is_quantized(leaf):
        return "values"
    if leaf.group_size is not None:
        return f"{leaf.prior}, groups of {leaf.group_size}"
    ranges = "one range" if leaf.axis is None else f"a range for each of axis {leaf.axis}"
    return f"{leaf.prior}, {ranges}"


def _sqnr(signal: float, noise: float) -> float:
    if noise == 0:
        return math.inf
    with np.errstate(divide="ignore"):
        return float(10 * np.log10(signal / noise))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
