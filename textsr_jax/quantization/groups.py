"""Groups of consecutive rows of a tensor, each with a range for every output channel.

A tensor of shape (..., channels) is seen as (rows, channels). The last group may be smaller. Pure
functions of arrays that work inside jit.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp


def group_count(shape: Sequence[int], size: int) -> int:
    """The number of groups of `size` rows in a tensor of `shape`."""
    return -(-math.prod(shape[:-1]) // size)


def columns(x: jax.Array, size: int) -> list[jax.Array]:
    """The tensor as matrices whose every column is one group of one channel.

    Args:
      x: (..., channels), of at least one element.
      size: the rows of a group.

    Returns:
      The whole groups as (size, groups x channels), then a smaller last one as (rest, channels).
        Either is left out where there is none.
    """
    rows = x.reshape(-1, x.shape[-1])
    whole = len(rows) // size
    parts = []
    if whole:
        groups = rows[: whole * size].reshape(whole, size, -1)
        parts.append(groups.transpose(1, 0, 2).reshape(size, -1))
    if len(rows) % size:
        parts.append(rows[whole * size :])
    return parts


def from_columns(parts: Sequence[jax.Array], shape: Sequence[int]) -> jax.Array:
    """The tensor of `shape` of which `columns` made `parts`."""
    channels = shape[-1]
    rows = [
        part.reshape(len(part), -1, channels).transpose(1, 0, 2).reshape(-1, channels)
        for part in parts
    ]
    return jnp.concatenate(rows).reshape(shape)


def expanded(values: jax.Array, shape: Sequence[int], size: int) -> jax.Array:
    """The value of each element's group: (groups, channels) to `shape`, (..., channels)."""
    rows = math.prod(shape[:-1])
    return jnp.repeat(values, size, axis=0, total_repeat_length=len(values) * size)[:rows].reshape(
        shape
    )
