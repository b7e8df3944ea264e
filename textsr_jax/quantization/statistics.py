"""Statistics of a tensor in units of a power of two, so that no square over- or underflows.

Pure functions that work inside jit. `axis` is the channel axis; None for the whole tensor.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Statistics(NamedTuple):
    """Statistics of a tensor, or of each of its channels; the others are in units of `unit`."""

    unit: jax.Array
    low: jax.Array
    high: jax.Array
    mean: jax.Array
    spread: jax.Array


def statistics(x: jax.Array, prior: str, axis: int | None) -> Statistics:
    """The statistics of finite floats; `spread` is that of a `prior`, as of `aciq.spread`."""
    x = jnp.asarray(x, jnp.float32)
    if x.size == 0:
        none = jnp.zeros(() if axis is None else (x.shape[axis],), jnp.float32)
        return Statistics(none + 1, none, none, none, none)
    over = other_axes(x.ndim, axis)
    # A power of two changes no digit. Squares of numbers around 1 neither over- nor underflow.
    unit = unit_below(jnp.abs(x).max(over))
    x = x * along(1 / unit, x.ndim, axis)
    low, high, mean = x.min(over), x.max(over), x.mean(over)
    deviation = x - along(mean, x.ndim, axis)
    if prior == "minmax":
        wide = (high - low) / 2
    elif prior == "laplace":
        wide = jnp.abs(deviation).mean(over)
    else:
        count = math.prod(x.shape[i] for i in over)
        wide = jnp.sqrt(jnp.square(deviation).sum(over) / max(1, count - 1))
    # The rounded mean can give equal values a spread.
    return Statistics(unit, low, high, mean, jnp.where(low == high, 0, wide))


def unit_below(peak: jax.Array) -> jax.Array:
    """The power of two at or below `peak`, float32, kept within 2^-126 to 2^126.

    The unit and its inverse are normal numbers, even for a peak that is 0, infinite or NaN.
    """
    return _power_of_two(_exponent(peak))


def _exponent(values: jax.Array) -> jax.Array:
    """The exponent of float32 values, int32. A logarithm may be wrong for powers of two."""
    biased = jax.lax.bitcast_convert_type(values, jnp.uint32) >> 23 & 0xFF
    return biased.astype(jnp.int32) - 127


def _power_of_two(exponent: jax.Array) -> jax.Array:
    """2^exponent, float32, exactly; int32 exponents are clipped to -126 and 126."""
    biased = (jnp.clip(exponent, -126, 126) + 127).astype(jnp.uint32)
    return jax.lax.bitcast_convert_type(biased << 23, jnp.float32)


def mean_square(values: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The mean squared difference in squares of a unit, a power of two, and that unit."""
    difference = values - jnp.asarray(x, jnp.float32)
    unit = unit_below(jnp.abs(difference).max(initial=0))
    return jnp.square(difference * (1 / unit)).sum() / max(1, x.size), unit


def comparable(errors: jax.Array, units: jax.Array) -> jax.Array:
    """Mean squares of `mean_square` in one unit: the least unit of errors that are not 0."""
    exponents = _exponent(units)
    least = jnp.where(errors > 0, exponents, 127).min()
    # An error more than 2^63 times as large is never chosen, so its exact value does not matter.
    return errors * jnp.square(_power_of_two(jnp.clip(exponents - least, 0, 63)))


def other_axes(rank: int, axis: int | None) -> tuple[int, ...]:
    """All axes of a tensor of `rank` axes but `axis`."""
    return tuple(i for i in range(rank) if axis is None or i != axis % rank)


def along(values: jax.Array, rank: int, axis: int | None) -> jax.Array:
    """Reshapes values, () or (channels,), so that they broadcast over a tensor of `rank` axes."""
    if axis is None or not jnp.ndim(values):
        return values
    shape = [1] * rank
    shape[axis] = -1
    return values.reshape(shape)
