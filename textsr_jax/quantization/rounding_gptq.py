"""GPTQ: weights are rounded one input after another, and the later ones make up for the errors."""

from collections.abc import Sequence

import numpy as np

from textsr_jax.quantization.collecting import Statistics
from textsr_jax.quantization.rounding import Kernel, rounded
from textsr_jax.quantization.rules import Rule
from textsr_jax.quantization.tree import Tree

# What is added to the diagonal of the second moments, as a share of their mean, and how many
# inputs are rounded before the rest is updated. Both are the paper's.
_DAMPING, _BLOCK = 0.01, 128


def gptq(tree: Tree, statistics: Statistics, rules: Sequence[Rule]) -> Tree:
    """Quantises a tree; kernels with statistics are rounded by GPTQ.

    Frantar et al., "GPTQ: Accurate post-training quantization for generative pre-trained
    transformers", 2022. Ranges are those of the rules, for any granularity. Convolutions are
    layers whose inputs are patches. The paper's order of inputs by size is not used.

    For each kernel W and the H of its statistics, trace((W - Q)^T H (W - Q)) is at most that of
    rounding to the nearest with the same ranges: an output keeps the nearest codes where they are
    better.

    Args:
      tree: as `quantize` takes it.
      statistics: of `collect`, for the same tree. Leaves without any are rounded to the nearest.
      rules: as `quantize` takes them.

    Returns:
      The tree as `quantize` gives it, with other codes.

    Raises:
      UserError: as `quantize`, or the statistics are those of another kernel.
    """
    return rounded(tree, statistics, rules, _codes)


def _codes(kernel: Kernel) -> np.ndarray:
    codes = kernel.nearest.copy()
    for block, moments in enumerate(kernel.moments):
        if np.trace(moments) > 0:
            codes[block] = _block_codes(kernel, block, moments)
    return codes


def _block_codes(kernel: Kernel, block: int, moments: np.ndarray) -> np.ndarray:
    """The codes of one block of a kernel, int (n, C)."""
    count = len(moments)
    damped = moments + _DAMPING * np.trace(moments) / count * np.eye(count)
    # Row i of the upper factor says how the inputs behind i make up for an error of i.
    factor = np.linalg.cholesky(np.linalg.inv(damped)).T
    weights, codes = kernel.weights[block].copy(), np.zeros_like(kernel.nearest[block])
    scale = kernel.scale[block].astype(np.float64)
    for start in range(0, count, _BLOCK):
        end = min(start + _BLOCK, count)
        errors = np.zeros((end - start, weights.shape[1]))
        for row in range(start, end):
            step = np.where(scale[row] > 0, scale[row], 1)
            nearest = np.rint((weights[row] - kernel.offset[block, row]) / step)
            code = np.clip(nearest, 0, kernel.levels[block, row])
            code[scale[row] == 0] = 0
            codes[row] = code
            error = weights[row] - (kernel.offset[block, row] + code * scale[row])
            errors[row - start] = error / factor[row, row]
            weights[row + 1 : end] -= np.outer(factor[row, row + 1 : end], errors[row - start])
        weights[end:] -= factor[start:end, end:].T @ errors
    return codes
