"""AdaRound: learns for each weight whether to round it up or down, by its layer's outputs."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from textsr_jax.quantization.collecting import Statistics
from textsr_jax.quantization.rounding import Kernel, rounded
from textsr_jax.quantization.rules import Rule
from textsr_jax.quantization.tree import Tree

# The rectified sigmoid runs from _LOW to _HIGH and is cut to 0 .. 1. The exponent of the
# regulariser falls from _SOFT to _HARD after a share of the steps without it. All are the paper's.
_LOW, _HIGH = -0.1, 1.1
_SOFT, _HARD, _WARM_UP = 20.0, 2.0, 0.2
# Adam's usual moments.
_B1, _B2, _EPSILON = 0.9, 0.999, 1e-8


def adaround(
    tree: Tree,
    statistics: Statistics,
    rules: Sequence[Rule],
    *,
    steps: int = 500,
    learning_rate: float = 0.1,
    weight: float = 3.0,
) -> Tree:
    """Quantises a tree; kernels with statistics are rounded by AdaRound.

    Nagel et al., "Up or down? Adaptive rounding for post-training quantization", 2020. Ranges are
    those of the rules, for any granularity. The objective is the squared change of the layer's
    outputs by the statistics, in place of the paper's forward passes: relative to that of rounding
    to the nearest, and for each weight. Everything is deterministic.

    For each kernel W and the H of its statistics, trace((W - Q)^T H (W - Q)) is at most that of
    rounding to the nearest with the same ranges: an output keeps the nearest codes where they are
    better.

    Args:
      tree: as `quantize` takes it.
      statistics: of `collect`, for the same tree. Leaves without any are rounded to the nearest.
      rules: as `quantize` takes them.
      steps: of Adam, on all of a kernel at once; at least 1.
      learning_rate: Adam's.
      weight: of the regulariser that drives weights up or down, beside the objective.

    Returns:
      The tree as `quantize` gives it, with other codes.

    Raises:
      UserError: as `quantize`, or the statistics are those of another kernel.
    """

    def codes(kernel: Kernel) -> np.ndarray:
        return _codes(kernel, steps, learning_rate, weight)

    return rounded(tree, statistics, rules, codes)


def _codes(kernel: Kernel, steps: int, learning_rate: float, weight: float) -> np.ndarray:
    scale = kernel.scale.astype(np.float64)
    exact = (kernel.weights - kernel.offset) / np.where(scale > 0, scale, 1)
    exact = np.where(scale > 0, np.clip(exact, 0, kernel.levels), 0)
    low = np.floor(exact)
    error = float(kernel.errors(kernel.nearest).sum())
    if not error > 0:
        return kernel.nearest
    up = _learned(
        jnp.asarray(kernel.weights - kernel.values(low), jnp.float32),
        # A code cannot exceed the largest one.
        jnp.asarray(np.where(low < kernel.levels, scale, 0), jnp.float32),
        jnp.asarray(exact - low, jnp.float32),
        jnp.asarray(kernel.moments * (low.size / error), jnp.float32),
        jnp.float32(learning_rate),
        jnp.float32(weight),
        steps,
    )
    return np.minimum(low + np.asarray(up), kernel.levels).astype(np.int64)


@functools.partial(jax.jit, static_argnums=6)
def _learned(
    above: jax.Array,
    step: jax.Array,
    share: jax.Array,
    moments: jax.Array,
    learning_rate: jax.Array,
    weight: jax.Array,
    steps: int,
) -> jax.Array:
    """Which weights to round up.

    Args:
      above: by how much each weight exceeds the code below it, (blocks, n, C).
      step: by how much rounding up raises its value.
      share: the same as a share of the step; where rounding starts.
      moments: (blocks, n, n), so that nearest codes have an error of 1 for each weight.
      learning_rate, weight, steps: as `adaround` takes them.

    Returns:
      bool (blocks, n, C).
    """

    def height(v: jax.Array) -> jax.Array:
        return jnp.clip(jax.nn.sigmoid(v) * (_HIGH - _LOW) + _LOW, 0, 1)

    def objective(v: jax.Array, progress: jax.Array) -> jax.Array:
        h = height(v)
        change = above - h * step
        annealed = jnp.clip((progress - _WARM_UP) / (1 - _WARM_UP), 0, 1)
        exponent = _HARD + (_SOFT - _HARD) * (1 + jnp.cos(annealed * jnp.pi)) / 2
        undecided = (1 - jnp.abs(2 * h - 1) ** exponent).sum()
        # With this factor 2 the gradient is that of the quadratic form, of one product of matrices.
        along = jax.lax.stop_gradient(jnp.einsum("bij,bjc->bic", moments, change))
        output = 2 * (change * along).sum()
        return output + jnp.where(progress < _WARM_UP, 0, weight) * undecided

    def adam(index: jax.Array, state: Any) -> Any:
        v, mean, square = state
        gradient = jax.grad(objective)(v, index / steps)
        mean = _B1 * mean + (1 - _B1) * gradient
        square = _B2 * square + (1 - _B2) * gradient**2
        count = index + 1.0
        ahead = mean / (1 - _B1**count)
        v -= learning_rate * ahead / (jnp.sqrt(square / (1 - _B2**count)) + _EPSILON)
        return v, mean, square

    start = -jnp.log((_HIGH - _LOW) / (share - _LOW) - 1)
    zeros = jnp.zeros_like(start)
    v, _, _ = jax.lax.fori_loop(0, steps, adam, (start, zeros, zeros))
    return height(v) >= 0.5
