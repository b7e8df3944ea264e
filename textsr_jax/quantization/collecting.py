"""Second moments of what each kernel is multiplied with, for rounding that looks at data.

`collect` traces any function of a tree of parameters and a batch, and follows the kernels through
the traced operations. `gptq.py` and `adaround.py` use what it finds.
"""

import collections
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from textsr_jax.errors import UserError
from textsr_jax.quantization import tracing
from textsr_jax.quantization.products import Values, View, Views
from textsr_jax.quantization.tree import Tree, leaf_path

# By the path of a kernel, as rules see it: float64 (blocks, n, n). See `collect`.
Statistics = Mapping[str, np.ndarray]


def collect(apply: Callable[[Tree, Any], Any], tree: Tree, batches: Iterable[Any]) -> Statistics:
    """Sums the second moments, X^T X, of the inputs X of every kernel, over all batches.

    A kernel of shape (..., C) is seen as (N, C), N being the product of all its axes but the last.
    With H the sum for it, trace((W - Q)^T H (W - Q)) is by how much the layer's output on the
    batches changes, squared and summed, if Q replaces W. A convolution's inputs are the patches of
    the image under its kernel.

    `apply` is traced, as `jax.jit` does it. A kernel may be reshaped, transposed, cut, joined with
    others or converted before its product, and used several times: sums add up. Where columns of a
    kernel meet different inputs, as in a convolution with groups of feature maps, all inputs count
    for all columns. Kernels of a `jax.lax.scan` over layers get a sum for each layer. Products that
    sum over a kernel's last axis give nothing. Neither do products within `while` and `cond`, or
    with arrays that were computed from kernels. Tied leaves share one sum.

    Args:
      apply: any function of a tree like `tree` and a batch; what it returns plays no part.
      tree: the parameters; its float leaves of two axes or more are followed.
      batches: pytrees of arrays. Each shape is compiled once.

    Returns:
      By the path of each kernel that was multiplied with anything, as rules see it: float64
      (blocks, n, n) with blocks x n = N. Products of rows of different blocks never add to the same
      output, such as those of different layers of a scan; often there is only one block. Sums are
      float32 within a batch and float64 over batches.

    Raises:
      UserError: the batches are none, or the sums are not finite.
    """
    leaves, structure = jax.tree.flatten(tree)
    kernels = _Kernels(tree)
    compiled: dict[Any, Any] = {}
    count = 0
    for batch in batches:
        count += 1
        arrays, form = jax.tree.flatten(batch)
        shapes = form, tuple(jax.eval_shape(lambda *x: x, *arrays))
        if shapes not in compiled:
            compiled[shapes] = _compile(apply, leaves, structure, batch, kernels)
        run, targets = compiled[shapes]
        for products, moments in zip(targets, run(leaves, arrays), strict=True):
            kernels.add(products, np.asarray(moments, np.float64))
    if not count:
        raise UserError("collect: there are no batches; give at least one")
    return kernels.statistics()


class _Kernels:
    """The leaves that are followed, the numbers of their elements, and the sums found for them.

    Args:
      tree: the parameters.
    """

    def __init__(self, tree: Tree):
        self.views: list[View | None] = []
        self._paths: dict[int, list[str]] = {}
        self._starts: list[int] = []
        self._shapes: list[tuple[int, ...]] = []
        known: dict[int, int] = {}
        total = 0
        for keys, leaf in jax.tree_util.tree_leaves_with_path(tree):
            shape = tuple(np.shape(leaf))
            if (
                len(shape) < 2
                or not math.prod(shape)
                or not jnp.issubdtype(leaf.dtype, jnp.floating)
            ):
                self.views.append(None)
                continue
            if id(leaf) not in known:
                known[id(leaf)] = len(self._starts)
                self._starts.append(total)
                self._shapes.append(shape)
                total += math.prod(shape)
            kernel = known[id(leaf)]
            self._paths.setdefault(kernel, []).append(leaf_path(keys))
            start = self._starts[kernel]
            self.views.append(
                (np.arange(start, start + math.prod(shape), dtype=np.int32).reshape(shape),)
            )
        self._sums: dict[tuple[int, bytes], np.ndarray] = {}

    def targets(self, view: np.ndarray) -> list[tuple[int, np.ndarray, np.ndarray]]:
        """Where the moments of a product belong.

        Args:
          view: int32 (outputs, inputs), numbers of elements.

        Returns:
          Kernel, its rows, and the inputs that meet them, for each set of rows that an output sums.
        """
        found = []
        owner = np.searchsorted(self._starts, view, side="right") - 1
        owner[view < 0] = -1
        for kernel in np.unique(owner[owner >= 0]):
            row, column = np.divmod(view - self._starts[kernel], self._shapes[kernel][-1])
            mine = owner == kernel
            row = np.where(mine, row, -1)
            # An output sums over rows if its elements are all of one column.
            low = np.where(mine, column, np.iinfo(np.int32).max).min(1)
            high = np.where(mine, column, -1).max(1)
            row = row[low == high]
            if len(row) > 1:
                row = row[:1] if (row == row[0]).all() else np.unique(row, axis=0)
            for rows in row:
                inputs = np.flatnonzero(rows >= 0)
                found.append((int(kernel), rows[inputs], inputs))
        return found

    def add(self, targets: Any, moments: np.ndarray) -> None:
        """Adds moments, float64 (inputs, inputs), to the sums of their `targets`."""
        for kernel, rows, inputs in targets:
            part = moments[np.ix_(inputs, inputs)]
            key = kernel, rows.astype(np.int64).tobytes()
            self._sums[key] = self._sums[key] + part if key in self._sums else part

    def statistics(self) -> Statistics:
        """The sums by path, in blocks."""
        by_kernel: dict[int, list[tuple[np.ndarray, np.ndarray]]] = collections.defaultdict(list)
        for (kernel, digits), moments in self._sums.items():
            by_kernel[kernel].append((np.frombuffer(digits, np.int64), moments))
        found = {}
        for kernel, parts in sorted(by_kernel.items()):
            total = math.prod(self._shapes[kernel][:-1])
            size = next(
                size
                for size in range(1, total + 1)
                if total % size == 0
                and all(rows.max() // size == rows.min() // size for rows, _ in parts)
            )
            whole = np.zeros((total // size, size, size))
            for rows, moments in parts:
                block = int(rows[0]) // size
                # A parameter may stand at several places of a product.
                np.add.at(whole[block], np.ix_(rows % size, rows % size), moments)
            if not np.isfinite(whole).all():
                raise UserError(
                    f"{self._paths[kernel][0]}: its inputs are not finite or too large to square; "
                    "check the batches"
                )
            found.update(dict.fromkeys(self._paths[kernel], whole))
        return found


def _compile(
    apply: Callable[[Tree, Any], Any],
    leaves: Values,
    structure: Any,
    batch: Any,
    kernels: _Kernels,
) -> tuple[Callable[..., list[jax.Array]], list[Any]]:
    """A compiled function from leaves and a batch's arrays to moments, and their targets."""
    closed = jax.make_jaxpr(
        lambda leaves, batch: apply(jax.tree.unflatten(structure, leaves), batch)
    )(leaves, batch)
    targets: list[Any] = []

    def run(leaves: Values, arrays: Values) -> list[jax.Array]:
        views: Views = [*kernels.views, *([None] * len(arrays))]
        _, _, products = tracing.interpret(closed, [*leaves, *arrays], views)
        found = []
        for product in products:
            (view,) = product.view
            for part, moments in zip(view, product.moments, strict=True):
                if places := kernels.targets(part):
                    targets.append(places)
                    found.append(moments)
        return found

    # `targets` is filled while it is traced.
    return jax.jit(run).lower(leaves, jax.tree.leaves(batch)).compile(), targets
