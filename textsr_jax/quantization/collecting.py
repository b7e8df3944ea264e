"""Second moments of what each kernel is multiplied with, for rounding that looks at data.

`collect` traces any function of a tree of parameters and a batch, and follows the kernels through
the traced operations. `gptq.py` and `adaround.py` use what it finds.
"""

import collections
import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, Var

from textsr_jax.errors import UserError
from textsr_jax.quantization.tree import Tree, leaf_path

# By the path of a kernel, as rules see it: float64 (blocks, n, n). See `collect`.
Statistics = Mapping[str, np.ndarray]

# The numbers of the tree's elements that a traced array consists of, int32 of its shape, -1 for
# others. Inside loops over layers one array follows for each loop: what its step adds to them.
_View = tuple[np.ndarray, ...]
_Values = list[Any]
_Views = list[_View | None]


@dataclasses.dataclass(frozen=True)
class _Product:
    """A product of a view with an activation.

    Attributes:
      view: of shape (parts, outputs, inputs).
      moments: the activation's second moments, float32 (parts, inputs, inputs). Inside a loop over
        layers, those of one step.
    """

    view: _View
    moments: jax.Array


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
    sum over a kernel's last axis give nothing, and neither do those within `while` and `cond` or
    with kernels that were computed from them. Tied leaves share one sum.

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
        shapes = (
            form,
            tuple(
                (np.shape(array), jax.dtypes.canonicalize_dtype(np.result_type(array)))
                for array in arrays
            ),
        )
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
        self.views: list[_View | None] = []
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
        for (kernel, rows), moments in self._sums.items():
            by_kernel[kernel].append((np.frombuffer(rows, np.int64), moments))
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
                whole[block][np.ix_(rows % size, rows % size)] += moments
            if not np.isfinite(whole).all():
                raise UserError(
                    f"{self._paths[kernel][0]}: its inputs are not finite or too large to square; "
                    "check the batches"
                )
            found.update(dict.fromkeys(self._paths[kernel], whole))
        return found


def _compile(
    apply: Callable[[Tree, Any], Any],
    leaves: _Values,
    structure: Any,
    batch: Any,
    kernels: _Kernels,
) -> tuple[Callable[..., list[jax.Array]], list[Any]]:
    """A compiled function from leaves and a batch's arrays to moments, and their targets."""
    shapes = [jax.ShapeDtypeStruct(np.shape(leaf), np.result_type(leaf)) for leaf in leaves]
    closed = jax.make_jaxpr(
        lambda leaves, batch: apply(jax.tree.unflatten(structure, leaves), batch)
    )(shapes, batch)
    targets: list[Any] = []

    def run(leaves: _Values, arrays: _Values) -> list[jax.Array]:
        views: _Views = [*kernels.views, *([None] * len(arrays))]
        _, _, products = _interpret(closed, [*leaves, *arrays], views)
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


def _interpret(
    closed: ClosedJaxpr, arguments: _Values, views: _Views
) -> tuple[_Values, _Views, list[_Product]]:
    """Runs a traced function and notes the products of views.

    Args:
      closed: the function.
      arguments: of the function.
      views: of its arguments; None for arrays that are no views.

    Returns:
      Its results, their views, and the products.
    """
    jaxpr = closed.jaxpr
    values: dict[Var, Any] = dict(zip(jaxpr.constvars, closed.consts, strict=True))
    values.update(zip(jaxpr.invars, arguments, strict=True))
    seen: dict[Var, _View] = {
        var: view for var, view in zip(jaxpr.invars, views, strict=True) if view is not None
    }
    platform: set[Var] = set()
    products: list[_Product] = []

    def value(atom: Any) -> Any:
        return atom.val if isinstance(atom, Literal) else values[atom]

    def view_of(atom: Any) -> _View | None:
        return None if isinstance(atom, Literal) else seen.get(atom)

    for equation in jaxpr.eqns:
        inputs = [value(atom) for atom in equation.invars]
        found = [view_of(atom) for atom in equation.invars]
        name, outputs = equation.primitive.name, equation.outvars
        made: _Views = [None] * len(outputs)
        if name == "platform_index" and equation.params["platforms"][-1] is None:
            platform.update(outputs)
        if all(view is None for view in found):
            results = _bind(equation, inputs)
        elif (inner := _inlined(equation, platform)) is not None:
            dropped = len(inputs) - len(inner.jaxpr.invars)
            results, made, more = _interpret(inner, inputs[dropped:], found[dropped:])
            products += more
        elif name == "scan":
            results, more = _scan(equation, inputs, found)
            products += more
        else:
            results = _bind(equation, inputs)
            if name == "dot_general":
                products += _dot_products(equation, inputs, found)
            elif name == "conv_general_dilated":
                products += _convolution_products(equation, inputs, found)
            else:
                made = _moved(equation, found)
        values.update(zip(outputs, results, strict=True))
        seen.update(
            (var, view) for var, view in zip(outputs, made, strict=True) if view is not None
        )
    return (
        [value(atom) for atom in jaxpr.outvars],
        [view_of(atom) for atom in jaxpr.outvars],
        products,
    )


def _bind(equation: Any, inputs: _Values) -> _Values:
    # Older versions of JAX return functions that come first, beside the parameters.
    found = equation.primitive.get_bind_params(equation.params)
    functions, parameters = ((), found) if isinstance(found, dict) else found
    results = equation.primitive.bind(*functions, *inputs, **parameters)
    return list(results) if equation.primitive.multiple_results else [results]


def _inlined(equation: Any, platform: set[Var]) -> ClosedJaxpr | None:
    """The function that an operation calls once with its inputs, or with the last of them."""
    if equation.primitive.name == "cond":
        # Every branch for a platform computes the same; the last one is for all platforms.
        of_platform = equation.invars[0] in platform
        return equation.params["branches"][-1] if of_platform else None
    if equation.primitive.name in ("scan", "while"):
        return None
    for key in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        inner = equation.params.get(key)
        if isinstance(inner, Jaxpr):
            inner = ClosedJaxpr(inner, ())
        if isinstance(inner, ClosedJaxpr) and len(inner.jaxpr.invars) == len(equation.invars):
            return inner
    return None


# What only moves elements, by the name of its operation: from its parameters and arrays to arrays.
_MOVES: dict[str, Callable[..., Sequence[np.ndarray]]] = {
    "reshape": lambda p, x: [x.reshape(p["new_sizes"])],
    "transpose": lambda p, x: [x.transpose(p["permutation"])],
    "squeeze": lambda p, x: [x.squeeze(p["dimensions"])],
    "rev": lambda p, x: [np.flip(x, p["dimensions"])],
    "slice": lambda p, x: [
        x[
            tuple(
                map(
                    slice,
                    p["start_indices"],
                    p["limit_indices"],
                    p["strides"] or itertools.repeat(1),
                )
            )
        ]
    ],
    "broadcast_in_dim": lambda p, x: [
        np.broadcast_to(
            x.reshape(
                [
                    x.shape[p["broadcast_dimensions"].index(axis)]
                    if axis in p["broadcast_dimensions"]
                    else 1
                    for axis in range(len(p["shape"]))
                ]
            ),
            p["shape"],
        )
    ],
    "split": lambda p, x: np.split(x, np.cumsum(p["sizes"])[:-1], p["axis"]),
    "concatenate": lambda p, *x: [np.concatenate(x, p["dimension"])],
    **dict.fromkeys(
        (
            "convert_element_type",
            "copy",
            "device_put",
            "name",
            "optimization_barrier",
            "reduce_precision",
            "sharding_constraint",
        ),
        lambda p, *x: x,
    ),
}


def _moved(equation: Any, views: _Views) -> _Views:
    """The views that an operation makes of others; None where it does more than move elements."""
    move = _MOVES.get(equation.primitive.name)
    if move is None:
        return [None] * len(equation.outvars)
    depth = max(len(view) for view in views if view is not None)
    layers = []
    for level in range(depth):
        arrays = [
            np.full(atom.aval.shape, 0 if level else -1, np.int32) if view is None else view[level]
            for atom, view in zip(equation.invars, views, strict=True)
        ]
        layers.append(move(equation.params, *arrays))
    made: _Views = list(zip(*layers, strict=True))
    return [view if (view[0] >= 0).any() else None for view in made if view is not None]


def _dot_products(equation: Any, inputs: _Values, views: _Views) -> list[_Product]:
    """The product of a view with an activation, on either side."""
    contracted, batched = equation.params["dimension_numbers"]
    products = []
    for side in (0, 1):
        view, x = views[side], inputs[1 - side]
        if view is None or views[1 - side] is not None:
            continue

        def grouped(rank: int, batch: Sequence[int], sums: Sequence[int]) -> tuple[int, ...]:
            free = [axis for axis in range(rank) if axis not in (*batch, *sums)]
            return *batch, *free, *sums

        count = math.prod(x.shape[axis] for axis in batched[1 - side])
        size = math.prod(x.shape[axis] for axis in contracted[1 - side])
        x = x.transpose(grouped(x.ndim, batched[1 - side], contracted[1 - side]))
        order = grouped(view[0].ndim, batched[side], contracted[side])
        arranged = tuple(part.transpose(order).reshape(count, -1, size) for part in view)
        if x.size and arranged[0].size:
            products.append(_Product(arranged, _moments(x.reshape(count, -1, size))))
    return products


def _convolution_products(equation: Any, inputs: _Values, views: _Views) -> list[_Product]:
    """The product of a view as kernel with the patches of an image, by group of feature maps."""
    parameters, (x, _), view = equation.params, inputs, views[1]
    groups = parameters["feature_group_count"]
    if view is None or views[0] is not None or parameters["batch_group_count"] != 1:
        return []
    numbers = parameters["dimension_numbers"]
    x = x.transpose([numbers.lhs_spec[0], *numbers.lhs_spec[2:], numbers.lhs_spec[1]])
    # Kernels as (outputs, spatial axes, inputs).
    order = [numbers.rhs_spec[0], *numbers.rhs_spec[2:], numbers.rhs_spec[1]]
    arranged = [part.transpose(order) for part in view]
    window, channels = arranged[0].shape[1:-1], arranged[0].shape[-1]
    pads = [(0, 0, 0)]
    pads += [
        (low, high, dilation - 1)
        for (low, high), dilation in zip(
            parameters["padding"], parameters["lhs_dilation"], strict=True
        )
    ]
    if not x.size or not arranged[0].size:
        return []
    x = jax.lax.pad(x, jnp.zeros((), x.dtype), [*pads, (0, 0, 0)])
    strides, dilations = parameters["window_strides"], parameters["rhs_dilation"]
    spans = [(size - 1) * dilation for size, dilation in zip(window, dilations, strict=True)]
    patches = []
    for place in itertools.product(*map(range, window)):
        starts = [offset * dilation for offset, dilation in zip(place, dilations, strict=True)]
        ends = [
            size - span + start
            for size, span, start in zip(x.shape[1:-1], spans, starts, strict=True)
        ]
        part = jax.lax.slice(x, (0, *starts, 0), (x.shape[0], *ends, x.shape[-1]), (1, *strides, 1))
        patches.append(part.reshape(-1, groups, channels))
    # (groups, positions, taps and channels)
    stacked = jnp.stack(patches, 2).reshape(-1, groups, len(patches) * channels).swapaxes(0, 1)
    shape = groups, -1, len(patches) * channels
    return [_Product(tuple(part.reshape(shape) for part in arranged), _moments(stacked))]


def _moments(x: jax.Array) -> jax.Array:
    """X^T X of (parts, samples, inputs): float32 (parts, inputs, inputs)."""
    x = x.astype(jnp.float32)
    return jnp.einsum("psi,psj->pij", x, x, precision=jax.lax.Precision.HIGHEST)


def _scan(equation: Any, inputs: _Values, views: _Views) -> tuple[_Values, list[_Product]]:
    """Runs a scan whose step notes products; views of layers move on from step to step."""
    parameters = equation.params
    closed, length = parameters["jaxpr"], parameters["length"]
    constants = parameters["num_consts"]
    start = constants + parameters["num_carry"]
    depth = max(len(view) for view in views if view is not None)
    inner: _Views = []
    for number, view in enumerate(views):
        if view is None or constants <= number < start or (number >= start and not length):
            inner.append(None)
        elif number < constants:
            inner.append((*_deep(view, depth), np.zeros_like(view[0])))
        else:
            per_step = [part[0] for part in _deep(view, depth)]
            step = view[0][1] - view[0][0] if length > 1 else np.zeros_like(view[0][0])
            inner.append((*per_step, step))
    noted: list[_View] = []

    def body(carry: _Values, given: _Values) -> tuple[_Values, tuple[_Values, _Values]]:
        results, _, products = _interpret(closed, [*inputs[:constants], *carry, *given], inner)
        noted[:] = [product.view for product in products]
        kept = len(carry)
        return results[:kept], (results[kept:], [product.moments for product in products])

    carry, (stacked, moments) = jax.lax.scan(
        body,
        inputs[constants:start],
        inputs[start:],
        length=length,
        reverse=parameters["reverse"],
        unroll=parameters["unroll"],
    )
    products = []
    for view, found in zip(noted, moments, strict=True):
        *outer, step = view
        if not step.any():
            products.append(_Product(tuple(outer), found.sum(0)))
            continue
        for layer in range(length):
            moved = outer[0] + layer * step
            products.append(_Product((moved, *outer[1:]), found[layer]))
    return [*carry, *stacked], products


def _deep(view: _View, depth: int) -> _View:
    """The view with steps for `depth - 1` loops."""
    return *view, *(np.zeros_like(view[0]) for _ in range(depth - len(view)))
