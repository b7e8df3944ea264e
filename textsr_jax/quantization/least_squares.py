"""The range with the least squared error: offset and step for the codes, codes for both, and again.

A pure function of arrays that works inside jit. `aciq.quantize_array` takes it as a prior.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from textsr_jax.quantization import statistics

# The range of all values is also tried at these parts of its width.
_NARROWER = (0.85, 0.7, 0.55, 0.4)
# Most tensors stand still after 10 to 40 rounds.
_MOST_ROUNDS = 60

# offset and step, float32.
Range = tuple[jax.Array, jax.Array]


def fit_range(
    x: jax.Array, bits: int | jax.Array, starts: Sequence[Range], axis: int | None = None
) -> Range:
    """The offset and step that leave the least squared error, found by alternation from `starts`.

    For fixed codes c, the squared error of offset + c x step is that of a straight line through the
    points (c, x): step = cov(c, x) / var(c), offset = mean(x) - step x mean(c). For a fixed range,
    the nearest code is the best one. Each half lowers the error or keeps it, so that the two
    alternate until nothing changes (Lloyd, "Least squares quantization in PCM", 1982, for codes at
    equal distances). The end depends on the start. Several starts are tried, and each channel takes
    its best one.

    Args:
      x: finite floats of any shape; sums are computed in float32.
      bits: 2 to 8, or int32 (channels,); may be traced.
      starts: ranges as `aciq.fit_range` gives them, for the same `x`, `bits` and `axis`.
      axis: the channel axis; None for one range.

    Returns:
      offset, step: float32, () or (x.shape[axis],). Steps of channels are bfloat16 numbers, which
        take two bytes in a packed file. The error is at most that of the best start whose step is
        such a number.
    """
    first = starts[0]
    if x.size == 0:
        return first
    over, rank = statistics.other_axes(x.ndim, axis), x.ndim
    x = jnp.asarray(x, jnp.float32)
    # Values are scaled to about 1 before they are squared. A power of two changes no digit.
    unit = statistics.unit_below(jnp.abs(x).max(over))
    x = x * statistics.along(1 / unit, rank, axis)
    levels = jnp.broadcast_to(jnp.asarray(2**bits - 1, jnp.float32), unit.shape)
    low, high, mean = x.min(over), x.max(over), x.mean(over)
    candidates = [(offset / unit, step / unit) for offset, step in starts]
    for part in _NARROWER:
        step = part * (high - low) / levels
        candidates.append((mean + part * (low - mean), step if axis is None else _bfloat16(step)))

    def encoded(offset: jax.Array, step: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The nearest codes of a range, as floats, and the squared error that they leave."""
        wide = statistics.along(step, rank, axis)
        steps = (x - statistics.along(offset, rank, axis)) / jnp.where(wide > 0, wide, 1)
        codes = jnp.clip(jnp.round(steps), 0, statistics.along(levels, rank, axis))
        codes = jnp.where(wide > 0, codes, 0)
        values = statistics.along(offset, rank, axis) + codes * wide
        error = jnp.square(values - x).sum(over)
        return codes, jnp.where(jnp.isnan(error), jnp.inf, error)

    def line(codes: jax.Array) -> Range:
        """The straight line through the points (code, value)."""
        center = codes.mean(over)
        apart = codes - statistics.along(center, rank, axis)
        variance = jnp.square(apart).sum(over)
        covariance = (apart * (x - statistics.along(mean, rank, axis))).sum(over)
        step = covariance / jnp.where(variance > 0, variance, 1)
        # Equal codes fix no step, and a step that is negative or a denormal number is of no use.
        step = jnp.where(step * unit < jnp.finfo(jnp.float32).tiny, 0, step)
        if axis is not None:
            step = _bfloat16(step)
        return mean - step * center, step

    State = tuple[jax.Array, Range, jax.Array, jax.Array, jax.Array]

    def moves(state: State) -> jax.Array:
        *_, moving, rounds = state
        return moving.any() & (rounds < _MOST_ROUNDS)

    def alternate(state: State) -> State:
        codes, best, least, moving, rounds = state
        offset, step = line(codes)
        codes, error = encoded(offset, step)
        moving &= (step > 0) & (error < least)
        best = jnp.where(moving, offset, best[0]), jnp.where(moving, step, best[1])
        return codes, best, jnp.where(moving, error, least), moving, rounds + 1

    def refined(start: Range) -> tuple[Range, jax.Array]:
        codes, error = encoded(*start)
        moving = (start[1] > 0) & jnp.isfinite(error)
        state = codes, start, error, moving, jnp.int32(0)
        _, best, least, *_ = jax.lax.while_loop(moves, alternate, state)
        return best, least

    offsets, steps = (jnp.stack(values) for values in zip(*candidates, strict=True))
    (offsets, steps), errors = jax.lax.map(refined, (offsets, steps))
    best = jnp.argmin(errors, 0)[None]
    return (
        jnp.take_along_axis(offsets, best, 0)[0] * unit,
        jnp.take_along_axis(steps, best, 0)[0] * unit,
    )


def _bfloat16(values: jax.Array) -> jax.Array:
    """The nearest bfloat16 numbers, as float32. XLA may leave out a conversion there and back."""
    whole = jax.lax.bitcast_convert_type(values, jnp.uint32)
    rounded = whole + 0x7FFF + (whole >> 16 & 1)
    return jax.lax.bitcast_convert_type(rounded & jnp.uint32(0xFFFF0000), jnp.float32)
