"""Runs a traced function and follows kernels through it to where they meet activations.

Kernels are followed through operations that only move elements, through functions that are called,
and through loops over layers.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, Var

from textsr_jax.quantization import products
from textsr_jax.quantization.products import Product, Values, View, Views


def interpret(
    closed: ClosedJaxpr, arguments: Values, views: Views
) -> tuple[Values, Views, list[Product]]:
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
    seen: dict[Var, View] = {
        var: view for var, view in zip(jaxpr.invars, views, strict=True) if view is not None
    }
    platform: set[Var] = set()
    noted: list[Product] = []

    def value(atom: Any) -> Any:
        return atom.val if isinstance(atom, Literal) else values[atom]

    def view_of(atom: Any) -> View | None:
        return None if isinstance(atom, Literal) else seen.get(atom)

    for equation in jaxpr.eqns:
        inputs = [value(atom) for atom in equation.invars]
        found = [view_of(atom) for atom in equation.invars]
        name, outputs = equation.primitive.name, equation.outvars
        made: Views = [None] * len(outputs)
        if name == "platform_index" and equation.params["platforms"][-1] is None:
            platform.update(outputs)
        if all(view is None for view in found):
            results = _bind(equation, inputs)
        elif (inner := _inlined(equation, platform)) is not None:
            dropped = len(inputs) - len(inner.jaxpr.invars)
            results, made, more = interpret(inner, inputs[dropped:], found[dropped:])
            noted += more
        elif name == "scan":
            results, more = _scan(equation, inputs, found)
            noted += more
        else:
            results = _bind(equation, inputs)
            if name == "dot_general":
                noted += products.of_dot(equation, inputs, found)
            elif name == "conv_general_dilated":
                noted += products.of_convolution(equation, inputs, found)
            else:
                made = _moved(equation, found)
        values.update(zip(outputs, results, strict=True))
        seen.update(
            (var, view) for var, view in zip(outputs, made, strict=True) if view is not None
        )
    return (
        [value(atom) for atom in jaxpr.outvars],
        [view_of(atom) for atom in jaxpr.outvars],
        noted,
    )


def _bind(equation: Any, inputs: Values) -> Values:
    # Older versions of JAX return functions that come first, beside the parameters.
    found = equation.primitive.get_bind_params(equation.params)
    functions, parameters = ((), found) if isinstance(found, dict) else found
    results = equation.primitive.bind(*functions, *inputs, **parameters)
    return list(results) if equation.primitive.multiple_results else [results]


def _inlined(equation: Any, platform: set[Var]) -> ClosedJaxpr | None:
    """The function that an operation calls once with its inputs, or with the last of them."""
    if equation.primitive.name == "cond":
        # Every branch for a platform computes the same; the last one is for all platforms.
        index = equation.invars[0]
        of_platform = isinstance(index, Var) and index in platform
        return equation.params["branches"][-1] if of_platform else None
    if equation.primitive.name in ("scan", "while"):
        return None
    for key in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        inner = equation.params.get(key)
        # From JAX 0.12 on both are one class.
        if isinstance(inner, Jaxpr) and not isinstance(inner, ClosedJaxpr):
            inner = ClosedJaxpr(inner, ())
        if isinstance(inner, ClosedJaxpr) and len(inner.jaxpr.invars) == len(equation.invars):
            return inner
    return None


def _slice(parameters: Any, x: np.ndarray) -> list[np.ndarray]:
    starts, ends = parameters["start_indices"], parameters["limit_indices"]
    strides = parameters["strides"] or (1,) * x.ndim
    return [x[tuple(map(slice, starts, ends, strides))]]


def _broadcast(parameters: Any, x: np.ndarray) -> list[np.ndarray]:
    shape = [1] * len(parameters["shape"])
    for axis, size in zip(parameters["broadcast_dimensions"], x.shape, strict=True):
        shape[axis] = size
    return [np.broadcast_to(x.reshape(shape), parameters["shape"])]


def _same(parameters: Any, *arrays: np.ndarray) -> Sequence[np.ndarray]:
    return arrays


# What only moves elements, by the name of its operation: from its parameters and arrays to arrays.
_MOVES: dict[str, Callable[..., Sequence[np.ndarray]]] = {
    "broadcast_in_dim": _broadcast,
    "concatenate": lambda p, *x: [np.concatenate(x, p["dimension"])],
    "reshape": lambda p, x: [x.reshape(p["new_sizes"])],
    "rev": lambda p, x: [np.flip(x, p["dimensions"])],
    "slice": _slice,
    "stack": lambda p, *x: [np.stack(x, p["axis"])],
    "unstack": lambda p, x: list(np.moveaxis(x, p["axis"], 0)),
    "split": lambda p, x: np.split(x, np.cumsum(p["sizes"])[:-1], p["axis"]),
    "squeeze": lambda p, x: [x.squeeze(p["dimensions"])],
    "transpose": lambda p, x: [x.transpose(p["permutation"])],
    "convert_element_type": _same,
    "copy": _same,
    "device_put": _same,
    "name": _same,
    "optimization_barrier": _same,
    "reduce_precision": _same,
    "sharding_constraint": _same,
}


def _moved(equation: Any, views: Views) -> Views:
    """The views that an operation makes of others; None where it does more than move elements."""
    move = _MOVES.get(equation.primitive.name)
    if move is None:
        return [None] * len(equation.outvars)
    steps = next(len(view) for view in views if view is not None)
    known = [
        (np.full(atom.aval.shape, -1, np.int32),) * steps if view is None else view
        for atom, view in zip(equation.invars, views, strict=True)
    ]
    moved = [move(equation.params, *arrays) for arrays in zip(*known, strict=True)]
    return [
        view if any((array >= 0).any() for array in view) else None
        for view in zip(*moved, strict=True)
    ]


def _scan(equation: Any, inputs: Values, views: Views) -> tuple[Values, list[Product]]:
    """Runs a loop whose step notes products; results of the loop are no views."""
    parameters = equation.params
    length = parameters["length"]
    if "ft_in" in parameters:  # from JAX 0.12 on: what it takes, as flat trees
        constants, carried, _ = (len(part.vals) for part in parameters["ft_in"].unpack())
    else:
        constants, carried = parameters["num_consts"], parameters["num_carry"]
    start = constants + carried
    inner: Views = []
    for number, view in enumerate(views):
        if view is None or constants <= number < start:
            inner.append(None)
        elif number < constants:
            inner.append(tuple(array for array in view for _ in range(length)))
        else:
            inner.append(tuple(layer for array in view for layer in array))
    noted: list[View] = []

    def step(carry: Values, given: Values) -> tuple[Values, tuple[Values, Values]]:
        arguments = [*inputs[:constants], *carry, *given]
        results, _, found = interpret(parameters["jaxpr"], arguments, inner)
        noted[:] = [product.view for product in found]
        return results[: len(carry)], (results[len(carry) :], [one.moments for one in found])

    carry, (stacked, moments) = jax.lax.scan(
        step,
        inputs[constants:start],
        inputs[start:],
        length=length,
        reverse=parameters["reverse"],
        unroll=parameters["unroll"],
    )
    found = []
    for view, of_steps in zip(noted, moments, strict=True):
        layers = [view[layer::length] for layer in range(length)]
        if all(all(map(np.array_equal, layers[0], layer)) for layer in layers):
            found.append(Product(layers[0], of_steps.sum(0)))
        else:
            found += map(Product, layers, of_steps)
    return [*carry, *stacked], found
