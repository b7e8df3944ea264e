"""Rounds kernels by what it does to their layers' outputs, instead of each weight to the nearest.

`gptq.py` and `adaround.py` are two ways to choose; this file applies them to trees.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from textsr_jax.errors import UserError
from textsr_jax.quantization import packing
from textsr_jax.quantization.collecting import Statistics
from textsr_jax.quantization.rules import Rule
from textsr_jax.quantization.tree import (
    QuantizedArray,
    Tree,
    dequantize,
    is_quantized,
    leaf_path,
    quantize,
    unpacked_codes,
)


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A kernel of shape (..., C), seen as (blocks, n, C), and the codes that it may have.

    A code stands for the value offset + code x scale.

    Attributes:
      weights: float64 (blocks, n, C).
      offset, scale: float32 (blocks, n, C), of each weight.
      levels: int (blocks, n, C), the largest code of each weight.
      nearest: int (blocks, n, C), the codes nearest to the weights.
      moments: float64 (blocks, n, n), of `collecting.collect`.
    """

    weights: np.ndarray
    offset: np.ndarray
    scale: np.ndarray
    levels: np.ndarray
    nearest: np.ndarray
    moments: np.ndarray

    def values(self, codes: np.ndarray) -> np.ndarray:
        """What codes stand for: float64 (blocks, n, C), numbers of float32."""
        return (self.offset + codes.astype(np.float32) * self.scale).astype(np.float64)

    def errors(self, codes: np.ndarray) -> np.ndarray:
        """The squared change of each output, summed over all samples: float64 (blocks, C)."""
        change = self.weights - self.values(codes)
        return np.einsum("bnc,bnc->bc", change, self.moments @ change)


def rounded(
    tree: Tree,
    statistics: Statistics,
    rules: Sequence[Rule],
    choose: Callable[[Kernel], np.ndarray],
) -> Tree:
    """Quantises a tree, and rounds the kernels that have statistics by `choose`.

    Each output keeps the nearest codes where `choose` gives it a larger error on the statistics.

    Args:
      tree, rules: as `quantize` takes them, which sets all ranges.
      statistics: of `collecting.collect`.
      choose: returns the codes of a kernel.

    Raises:
      UserError: as `quantize`, or the statistics are those of another kernel.
    """
    leaves = jax.tree.leaves(tree)
    quantized, structure = jax.tree_util.tree_flatten_with_path(
        quantize(tree, rules), is_leaf=is_quantized
    )
    changed = [
        _rounded(leaf, packed, statistics[leaf_path(keys)], choose, leaf_path(keys))
        if is_quantized(packed) and leaf_path(keys) in statistics
        else packed
        for leaf, (keys, packed) in zip(leaves, quantized, strict=True)
    ]
    return jax.tree.unflatten(structure, changed)


def _rounded(
    leaf: jax.Array,
    packed: QuantizedArray,
    moments: np.ndarray,
    choose: Callable[[Kernel], np.ndarray],
    path: str,
) -> QuantizedArray:
    kernel = _kernel(leaf, packed, np.asarray(moments, np.float64), path)
    chosen = choose(kernel)
    better = kernel.errors(chosen) < kernel.errors(kernel.nearest)
    codes = np.where(better[:, None], chosen, kernel.nearest)
    return _with_codes(packed, codes.reshape(packed.shape))


def _kernel(leaf: jax.Array, packed: QuantizedArray, moments: np.ndarray, path: str) -> Kernel:
    rows = packed.size // packed.shape[-1]
    if moments.ndim != 3 or moments.shape[0] * moments.shape[1] != rows:
        raise UserError(
            f"{path}: statistics of shape {moments.shape} are not of a kernel of {packed.shape}; "
            "collect them with this tree"
        )
    shape = *moments.shape[:2], packed.shape[-1]
    # Of codes that are all 0 the offsets remain, and of codes that are all 1 the steps beside them.
    plain = dataclasses.replace(packed, dtype=np.dtype(np.float32))
    zeros, ones = (np.full(packed.shape, code, np.uint8) for code in (0, 1))
    offset = dequantize(_with_codes(plain, zeros))
    steps = dataclasses.replace(plain, offset=jnp.zeros_like(jnp.asarray(plain.offset)))
    scale = dequantize(_with_codes(steps, ones))
    levels = 2 ** np.asarray(packed.bits) - 1
    if levels.ndim and packed.axis is not None:
        along = [1] * len(packed.shape)
        along[packed.axis] = -1
        levels = levels.reshape(along)
    codes = np.asarray(unpacked_codes(packed)).astype(np.int64)
    return Kernel(
        weights=np.asarray(leaf, np.float64).reshape(shape),
        offset=np.asarray(offset).reshape(shape),
        scale=np.asarray(scale).reshape(shape),
        levels=np.broadcast_to(levels, packed.shape).reshape(shape),
        nearest=codes.reshape(shape),
        moments=moments,
    )


def _with_codes(packed: QuantizedArray, codes: np.ndarray) -> QuantizedArray:
    codes = codes.astype(np.uint8)
    if isinstance(packed.bits, tuple):
        assert packed.axis is not None, "bits by channel have an axis"
        new: Any = packing.pack_channels(codes, packed.bits, packed.axis)
    else:
        new = packing.pack(codes, packed.bits)
    return dataclasses.replace(packed, codes=jnp.asarray(new))
