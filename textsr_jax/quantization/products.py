"""Products of kernels with activations in traced functions, and the activations' second moments.

A kernel is known by its view: the numbers of the parameters that a traced array consists of.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

# The numbers of the parameters that a traced array consists of, int32 of its shape, -1 for other
# elements. Inside loops over layers there is such an array for each step, the inner loop's first.
View = tuple[np.ndarray, ...]
Values = list[Any]
Views = list[View | None]


@dataclasses.dataclass(frozen=True)
class Product:
    """A product of a view with an activation.

    Attributes:
      view: arrays of shape (parts, outputs, inputs).
      moments: the activation's second moments, float32 (parts, inputs, inputs); those of one step
        inside a loop.
    """

    view: View
    moments: jax.Array


def of_dot(equation: Any, inputs: Values, views: Views) -> list[Product]:
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
            products.append(Product(arranged, _moments(x.reshape(count, -1, size))))
    return products


def of_convolution(equation: Any, inputs: Values, views: Views) -> list[Product]:
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
    return [Product(tuple(part.reshape(shape) for part in arranged), _moments(stacked))]


def _moments(x: jax.Array) -> jax.Array:
    """X^T X of (parts, samples, inputs): float32 (parts, inputs, inputs)."""
    x = x.astype(jnp.float32)
    return jnp.einsum("psi,psj->pij", x, x, precision=jax.lax.Precision.HIGHEST)
