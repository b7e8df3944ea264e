"""ACIQ: uniform quantisation of a tensor, with the best range for an assumed distribution.

Pure functions of arrays that work inside jit. `tree.py` applies them to whole models.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from textsr_jax.quantization import groups, least_squares, statistics

MIN_BITS, MAX_BITS = 2, 8
# ACIQ's, and the range of all values.
PRIORS = ("laplace", "gaussian", "minmax")
# What may set a range. "least_squares" improves on those of the priors.
RANGES = (*PRIORS, "least_squares")

# The number of bits of a whole tensor, or int32 (channels,): a number for each channel.
Bits = int | jax.Array


@functools.cache
def alpha(prior: str, bits: int) -> float:
    """The clip, in units of the distribution's scale, with the least expected squared error.

    Banner et al., "Post training 4-bit quantization of convolutional networks for rapid
    deployment". For a Laplace distribution with b = 1 the error is 2 e^-a + a^2 / (3 4^bits). For a
    Gaussian with s = 1 it is (1 + a^2) erfc(a / sqrt 2) - sqrt(2 / pi) a e^(-a^2 / 2)
    + a^2 / (3 4^bits). Their derivatives rise strictly, so that bisection finds the only root.

    Args:
      prior: "laplace" or "gaussian".
      bits: 2 to 8.

    Raises:
      ValueError: another prior or number of bits.
    """
    _check_bits(bits)
    rounding = 1 / (3 * 4**bits)
    if prior == "laplace":

        def half_derivative(a: float) -> float:
            return a * rounding - math.exp(-a)

    elif prior == "gaussian":

        def half_derivative(a: float) -> float:
            tail = a * math.erfc(a / math.sqrt(2)) - math.sqrt(2 / math.pi) * math.exp(-a * a / 2)
            return a * rounding + tail

    else:
        raise ValueError(f"prior {prior!r} has no clip; use 'laplace' or 'gaussian'")
    low, high = 0.0, 16.0
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if half_derivative(middle) < 0 else (low, middle)
    return high


def spread(x: jax.Array, prior: str, axis: int | None = None) -> jax.Array:
    """The scale of a tensor's distribution, or of each channel's.

    It is the mean of |x - m| for Laplace, the standard deviation with n - 1 for a Gaussian, and
    half of max - min for "minmax". It is exactly 0 for equal values, for one value and for none.

    Args:
      x: finite floats of any shape; sums are computed in float32.
      prior: one of `PRIORS`.
      axis: the channel axis; None for the whole tensor.

    Returns:
      float32, () or (x.shape[axis],).

    Raises:
      ValueError: another prior.
    """
    _check_prior(prior)
    found = statistics.statistics(x, prior, axis)
    return found.spread * found.unit


def fit_range(
    x: jax.Array, bits: Bits, prior: str, axis: int | None = None
) -> tuple[jax.Array, jax.Array]:
    """The value of code 0 and the step between codes for tensor `x`.

    With mean m and clip a = alpha x `spread` the range starts at max(min x, m - a) and is 2 a wide,
    in 2^bits - 1 steps. "minmax" takes [min x, max x]. Equal values give exactly that value and
    step 0; no values give 0 and 0.

    Args:
      x: finite floats of any shape; sums are computed in float32.
      bits: 2 to 8. An array may be traced; its values are not checked.
      prior: one of `PRIORS`.
      axis: the channel axis that gets a range for each of its indexes; None for one range.

    Returns:
      offset, scale: float32, () or (x.shape[axis],), for any magnitude of `x`. The step is 0
        where it would be a denormal number. Both are not finite where `x` or the width of its
        range is not.

    Raises:
      ValueError: another prior or number of bits.
    """
    _check_prior(prior)
    levels, found = _levels(bits), statistics.statistics(x, prior, axis)
    if prior == "minmax":
        offset, width = found.low, found.high - found.low
    else:
        clip = _clip(prior, bits) * found.spread
        offset, width = jnp.maximum(found.low, found.mean - clip), 2 * clip
    # In this order of operations a range too wide for float32 has an infinite step.
    offset, scale = offset * found.unit, width * found.unit / levels
    # Values cannot be divided by a denormal step.
    flat = (found.low == found.high) | (scale < jnp.finfo(jnp.float32).tiny)
    return jnp.where(flat, found.low * found.unit, offset), jnp.where(flat, 0, scale)


def to_codes(
    x: jax.Array, offset: jax.Array, scale: jax.Array, bits: Bits, axis: int | None = None
) -> jax.Array:
    """Codes of `x`: round((x - offset) / scale), clipped to 0 .. 2^bits - 1; uint8, shape of `x`.

    `offset`, `scale`, `bits` and `axis` are those of `fit_range`. A code is 0 where the step is 0
    or the value is NaN.
    """
    offset, scale = (statistics.along(value, x.ndim, axis) for value in (offset, scale))
    levels = _levels(bits)
    if not isinstance(levels, int):
        levels = statistics.along(levels, x.ndim, axis)
    steps = (jnp.asarray(x, jnp.float32) - offset) / jnp.where(scale > 0, scale, 1)
    steps = jnp.where(jnp.isnan(steps), 0, steps)
    return jnp.where(scale > 0, jnp.clip(jnp.round(steps), 0, levels), 0).astype(jnp.uint8)


def from_codes(
    codes: jax.Array,
    offset: jax.Array,
    scale: jax.Array,
    axis: int | None = None,
    group_size: int | None = None,
) -> jax.Array:
    """The values of uint8 `codes`: offset + code x scale; float32, shape of `codes`.

    `offset` and `scale` are () or (codes.shape[axis],). With `group_size` they are (groups,
    channels), as `groups.expanded` takes them.
    """
    offset, scale = (
        statistics.along(value, codes.ndim, axis)
        if group_size is None
        else groups.expanded(value, codes.shape, group_size)
        for value in (offset, scale)
    )
    return offset + codes.astype(jnp.float32) * scale


def squared_error(x: jax.Array, bits: Bits, prior: str, axis: int | None = None) -> jax.Array:
    """Mean squared difference between `x` and its quantised values; float32 (), 0 for no values.

    It is infinite or 0 where float32 cannot hold it: for values above about 1e19 or below 1e-19.
    """
    offset, scale = fit_range(x, bits, prior, axis)
    values = from_codes(to_codes(x, offset, scale, bits, axis), offset, scale, axis)
    error, unit = statistics.mean_square(values, x)
    return error * unit * unit


def allocate_bits(scales: jax.Array, mean_bits: float | jax.Array) -> jax.Array:
    """The number of bits of each channel, at most `mean_bits` on average.

    Banner et al. give a channel levels, 2^bits, in proportion to its scale^(2/3). Their common
    factor is the largest for which the bits, clipped to 2 to 8, stay within the budget. The bits
    are then rounded down. The channels that lose most by this get the rest of the budget. Channels
    of scale 0 get 2 bits.

    Args:
      scales: float (channels,), not negative, as `spread` gives them.
      mean_bits: the budget, 2 to 8.

    Returns:
      int32 (channels,), each 2 to 8, with sum <= channels x mean_bits. A larger scale never gets
        fewer bits.
    """
    channels = scales.shape[0]
    if channels == 0:
        return jnp.zeros(0, jnp.int32)
    # The small addition keeps float32 from losing a bit of a budget that is met exactly.
    budget = jnp.floor(jnp.asarray(mean_bits, jnp.float32) * channels + 1e-3)
    # The logarithm of the levels, in bits; -1000 stays below 2 for any factor.
    wanted = jnp.where(scales > 0, 2 / 3 * jnp.log2(jnp.where(scales > 0, scales, 1)), -1000.0)

    def bits_at(factor: jax.Array) -> jax.Array:
        return jnp.clip(wanted + factor, MIN_BITS, MAX_BITS)

    def halve(_: int, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = ends
        middle = (low + high) / 2
        under = bits_at(middle).sum() <= budget
        return jnp.where(under, middle, low), jnp.where(under, high, middle)

    # The largest factor within the budget; 40 halvings of 512 reach float32's resolution.
    low, _ = jax.lax.fori_loop(0, 40, halve, (jnp.float32(-256), jnp.float32(256)))
    exact = bits_at(low)
    whole = jnp.floor(exact)
    left = budget - whole.sum()
    lost = jnp.where(whole < MAX_BITS, exact - whole, -1.0)
    # Among equal losses, the larger scale comes first.
    order = jnp.lexsort((-scales, -lost))
    rank = jnp.zeros(channels, jnp.int32).at[order].set(jnp.arange(channels, dtype=jnp.int32))
    # A channel that lost nothing has the least or most bits, or exactly a whole number.
    return (whole + ((rank < left) & (lost > 0))).astype(jnp.int32)


def restore_moments(
    x: jax.Array,
    codes: jax.Array,
    offset: jax.Array,
    scale: jax.Array,
    axis: int | None,
    channels: int | None,
) -> tuple[jax.Array, jax.Array]:
    """Bias correction: a range for each channel that restores its mean and deviation.

    Quantisation shifts both. Banner et al. undo this by an affine map of each channel's values,
    which here becomes part of its offset and step. A channel of equal codes gets its mean. A
    channel whose range has step 0 stays as it is.

    Args:
      x: the tensor.
      codes, offset, scale, axis: its codes and range, of `to_codes` and `fit_range`.
      channels: the channel axis; None to correct the tensor as a whole. `axis` is the same or None.

    Returns:
      offset, scale: float32, () if `channels` is None, else (x.shape[channels],). Decode with
        `channels` as the axis.
    """
    x = jnp.asarray(x, jnp.float32)
    if x.size == 0:
        shape = () if channels is None else (x.shape[channels],)
        return jnp.broadcast_to(offset, shape), jnp.broadcast_to(scale, shape)
    over = statistics.other_axes(x.ndim, channels)
    count = codes.astype(jnp.float32)
    # Values are scaled to about 1 before they are squared.
    unit = statistics.unit_below(jnp.abs(x).max(over))
    scaled = x * statistics.along(1 / unit, x.ndim, channels)
    code_mean, mean = count.mean(over), scaled.mean(over)
    code_deviation = jnp.sqrt(
        jnp.square(count - statistics.along(code_mean, x.ndim, channels)).mean(over)
    )
    deviation = jnp.sqrt(jnp.square(scaled - statistics.along(mean, x.ndim, channels)).mean(over))
    mean, deviation = mean * unit, deviation * unit
    alike = codes.min(over) == codes.max(over)
    corrected = jnp.where(alike, 0, deviation / jnp.where(alike, 1, code_deviation))
    kept = jnp.broadcast_to(scale, corrected.shape)
    fixed = kept == 0
    # A step of 0 would require codes of 0. A step without effect stays.
    step = jnp.where(fixed | alike | (corrected < jnp.finfo(jnp.float32).tiny), kept, corrected)
    return jnp.where(fixed, offset, mean - code_mean * step), step


class Quantized(NamedTuple):
    """A tensor's codes and their range, of `quantize_array`.

    Attributes:
      codes: uint8, shape of the tensor.
      offset, scale: float32; value = offset + code x scale. Steps that are fitted to channels or
        groups are bfloat16 numbers, which take two bytes in a packed file. Corrected ones are not.
      bits: int32 () or (channels,).
      prior: int32 (), the index in `RANGES` of what set the range.
    """

    codes: jax.Array
    offset: jax.Array
    scale: jax.Array
    bits: jax.Array
    prior: jax.Array


def quantize_array(
    x: jax.Array,
    bits: float | jax.Array,
    prior: str = "laplace",
    axis: int | None = None,
    *,
    allocate: bool = False,
    correct: int | bool | None = False,
    group_size: int | None = None,
) -> Quantized:
    """Quantises a tensor as a rule asks for.

    Args:
      x: finite floats of any shape.
      bits: 2 to 8; may be traced. With `allocate` it is the mean over channels, such as 3.5.
      prior: one of `RANGES`, or "auto": the one of `PRIORS` with the least squared error, measured
        on the result with its correction.
      axis: the channel axis that gets a range for each of its indexes; None for one range.
      allocate: gives each channel its own bits by `allocate_bits`, from its spread by the prior
        (Laplace's for "least_squares"); needs `axis`.
      correct: the channel axis whose means and deviations are restored; None to restore those of
        the whole tensor, False to restore nothing. See `restore_moments`.
      group_size: gives each channel a range for so many rows; see `groups`. `axis` is the last one.
        The tensor is not empty, and nothing is allocated or corrected.

    Returns:
      Codes and range. Decode along `correct` if it is an axis, else along `axis`.

    Raises:
      ValueError: another prior or number of bits, or `allocate` without an axis.
    """
    if allocate and axis is None:
        raise ValueError("bits are allocated to channels; name their axis")
    if not isinstance(bits, jax.Array):
        _check_bits(bits)
        if not allocate and bits != int(bits):
            raise ValueError(f"{bits} bits; broken numbers are means over channels, of `allocate`")
    _check_prior(prior, (*RANGES, "auto"))
    # The same bits everywhere, or those of each channel.
    even = bits if isinstance(bits, jax.Array) else int(bits)
    outcomes, errors, units = [], [], []
    for index, name in enumerate(RANGES):
        if name not in (PRIORS if prior == "auto" else (prior,)):
            continue
        width = even
        if allocate:
            width = allocate_bits(spread(x, name if name in PRIORS else "laplace", axis), bits)
        along = axis
        if group_size is None:
            codes, offset, scale = _coded(x, width, name, axis)
        else:
            parts = [_coded(part, width, name, 1) for part in groups.columns(x, group_size)]
            codes = groups.from_columns([part[0] for part in parts], x.shape)
            offset, scale = (
                jnp.concatenate([part[which].reshape(-1, x.shape[-1]) for part in parts])
                for which in (1, 2)
            )
        if correct is not False:
            offset, scale = restore_moments(x, codes, offset, scale, axis, correct)
            along = correct
        outcomes.append(
            Quantized(codes, offset, scale, jnp.asarray(width, jnp.int32), jnp.int32(index))
        )
        values = from_codes(codes, offset, scale, along, group_size)
        error, unit = statistics.mean_square(values, x)
        errors.append(jnp.where(jnp.isnan(error), jnp.inf, error))
        units.append(unit)
    if len(outcomes) == 1:
        return outcomes[0]
    best = jnp.argmin(statistics.comparable(jnp.stack(errors), jnp.stack(units)))
    return jax.tree.map(lambda *parts: jnp.stack(parts)[best], *outcomes)


def _coded(
    x: jax.Array, bits: Bits, prior: str, axis: int | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The codes of a tensor, and the offset and step of one of `RANGES`."""
    ranges = []
    for name in PRIORS if prior == "least_squares" else (prior,):
        offset, scale = fit_range(x, bits, name, axis)
        if axis is not None:
            # Rounded up, by 0.8 % at most, so that the range loses nothing.
            whole = jax.lax.bitcast_convert_type(scale, jnp.uint32)
            scale = jax.lax.bitcast_convert_type(
                (whole + 0xFFFF) & jnp.uint32(0xFFFF0000), jnp.float32
            )
        ranges.append((offset, scale))
    offset, scale = ranges[0]
    if prior == "least_squares":
        offset, scale = least_squares.fit_range(x, bits, ranges, axis)
    return to_codes(x, offset, scale, bits, axis), offset, scale


def _clip(prior: str, bits: Bits) -> float | jax.Array:
    if not isinstance(bits, jax.Array):
        return alpha(prior, bits)
    table = [alpha(prior, width) for width in range(MIN_BITS, MAX_BITS + 1)]
    return jnp.asarray(table, jnp.float32)[bits - MIN_BITS]


def _levels(bits: Bits) -> int | jax.Array:
    if not isinstance(bits, jax.Array):
        _check_bits(bits)
    return 2**bits - 1


def _check_prior(prior: str, known: tuple[str, ...] = PRIORS) -> None:
    if prior not in known:
        raise ValueError(f"prior {prior!r} is none of {known}")


def _check_bits(bits: float) -> None:
    if not MIN_BITS <= bits <= MAX_BITS:
        raise ValueError(f"{bits} bits; use {MIN_BITS} to {MAX_BITS}")
