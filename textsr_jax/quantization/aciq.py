"""ACIQ: uniform quantisation of one tensor with the range that an assumed distribution asks for.

Pure functions of arrays, all of which work inside jit; `tree.py` applies them to whole models.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

MIN_BITS, MAX_BITS = 2, 8
PRIORS = ("laplace", "gaussian", "minmax")

# A number of bits for the whole tensor, or int32 (channels,), one for each channel.
Bits = int | jax.Array


@functools.cache
def alpha(prior: str, bits: int) -> float:
    """The clip, in units of the distribution's scale, with the least expected squared error.

    Banner et al., "Post training 4-bit quantization of convolutional networks for rapid
    deployment": for a Laplace distribution with b = 1 the error is 2 e^-a + a^2 / (3 4^bits); for a
    Gaussian with s = 1 it is (1 + a^2) erfc(a / sqrt 2) - sqrt(2 / pi) a e^(-a^2 / 2)
    + a^2 / (3 4^bits). Their derivatives rise strictly, so that bisection finds the one root.

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

    Mean |x - m| for Laplace, the standard deviation with n - 1 for a Gaussian, half of max - min
    for "minmax"; exactly 0 for equal values, one value among them, and for no values.

    Args:
      x: finite floats of any shape; the sums are taken in float32.
      prior: one of `PRIORS`.
      axis: the channel axis; None for the whole tensor.

    Returns:
      float32, () or (x.shape[axis],).

    Raises:
      ValueError: another prior.
    """
    found = _statistics(x, prior, axis)
    return found.spread * found.unit


def fit_range(
    x: jax.Array, bits: Bits, prior: str, axis: int | None = None
) -> tuple[jax.Array, jax.Array]:
    """The value of code 0 and the step between codes for tensor `x`.

    With mean m and clip a = alpha x `spread` the range starts at max(min x, m - a) and is 2 a wide,
    in 2^bits - 1 steps; "minmax" takes [min x, max x]. Equal values, one value among them, give
    exactly that value and step 0; no values give 0 and 0.

    Args:
      x: finite floats of any shape; the sums are taken in float32.
      bits: 2 to 8; an array, which may be traced, must hold only these.
      prior: one of `PRIORS`.
      axis: the channel axis that gets a range for each of its indexes; None for one range.

    Returns:
      offset, scale: float32, () or (x.shape[axis],), at any magnitude of `x`; the step is 0 where
      it would be a denormal number. Not finite where the values of `x` are not.

    Raises:
      ValueError: another prior or number of bits.
    """
    levels, found = _levels(bits), _statistics(x, prior, axis)
    if prior == "minmax":
        offset, width = found.low, found.high - found.low
    else:
        clip = _clip(prior, bits) * found.spread
        offset, width = jnp.maximum(found.low, found.mean - clip), 2 * clip
    offset, scale = offset * found.unit, width / levels * found.unit
    # A denormal step cannot be divided by.
    flat = (found.low == found.high) | (scale < jnp.finfo(jnp.float32).tiny)
    return jnp.where(flat, found.low * found.unit, offset), jnp.where(flat, 0, scale)


def encode(
    x: jax.Array, offset: jax.Array, scale: jax.Array, bits: Bits, axis: int | None = None
) -> jax.Array:
    """Codes of `x`: round((x - offset) / scale), clipped to 0 .. 2^bits - 1; uint8, shape of `x`.

    `offset`, `scale`, `bits` and `axis` are those of `fit_range`; every code is 0 where the step
    is 0, and where a value is NaN.
    """
    offset, scale, levels = (
        _along(value, x.ndim, axis) for value in (offset, scale, _levels(bits))
    )
    steps = (jnp.asarray(x, jnp.float32) - offset) / jnp.where(scale > 0, scale, 1)
    steps = jnp.where(jnp.isnan(steps), 0, steps)
    return jnp.where(scale > 0, jnp.clip(jnp.round(steps), 0, levels), 0).astype(jnp.uint8)


def decode(
    codes: jax.Array, offset: jax.Array, scale: jax.Array, axis: int | None = None
) -> jax.Array:
    """The values of uint8 `codes`: offset + code x scale; float32, shape of `codes`."""
    offset, scale = _along(offset, codes.ndim, axis), _along(scale, codes.ndim, axis)
    return offset + codes.astype(jnp.float32) * scale


def squared_error(x: jax.Array, bits: Bits, prior: str, axis: int | None = None) -> jax.Array:
    """Mean squared difference between `x` and its quantised values; float32 (), 0 for no values.

    Infinite or 0 where float32 cannot hold it, for values above about 1e19 or below 1e-19.
    """
    offset, scale = fit_range(x, bits, prior, axis)
    values = decode(encode(x, offset, scale, bits, axis), offset, scale, axis)
    error, unit = _mean_square(values, x)
    return error * unit * unit


def allocate_bits(scales: jax.Array, mean_bits: float | jax.Array) -> jax.Array:
    """How many bits each channel gets, so that they are `mean_bits` on average at most.

    Banner et al. give a channel levels, 2^bits, in proportion to its scale^(2/3). Their common
    factor is chosen so that the bits, kept within 2 to 8, come to the budget; they are then rounded
    down, and the channels that lost most by that get what is left of the budget. Channels of scale
    0 get 2 bits.

    Args:
      scales: float (channels,), not negative: of `spread`.
      mean_bits: the budget, 2 to 8.

    Returns:
      int32 (channels,), each 2 to 8, sum <= channels x mean_bits, and larger scales never get less.
    """
    channels = scales.shape[0]
    if channels == 0:
        return jnp.zeros(0, jnp.int32)
    # A little more, so that float32 does not lose a bit of a budget that is met exactly.
    budget = jnp.floor(jnp.asarray(mean_bits, jnp.float32) * channels + 1e-3)
    # Log levels in bits; -1000 stays below 2 whatever the factor is.
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
    # Of equal losses the larger scale comes first.
    order = jnp.lexsort((-scales, -lost))
    rank = jnp.zeros(channels, jnp.int32).at[order].set(jnp.arange(channels, dtype=jnp.int32))
    # What lost nothing sits at an end of 2 to 8, or exactly at a whole number.
    return (whole + ((rank < left) & (lost > 0))).astype(jnp.int32)


def restore_moments(
    x: jax.Array,
    codes: jax.Array,
    offset: jax.Array,
    scale: jax.Array,
    axis: int | None,
    channels: int | None,
) -> tuple[jax.Array, jax.Array]:
    """Bias correction: a range for each channel that gives it back its mean and deviation.

    Quantisation shifts both; Banner et al. undo that by an affine map of each channel's values,
    which here becomes part of its offset and step. A channel whose codes are all alike gets its
    mean; one whose range has step 0 stays as it is.

    Args:
      x: the tensor.
      codes, offset, scale, axis: its codes and range, of `encode` and `fit_range`.
      channels: the channel axis; None to correct the tensor as a whole. `axis` is it or None.

    Returns:
      offset, scale: float32, () if `channels` is None, else (x.shape[channels],); decode with
      `channels` as the axis.
    """
    x = jnp.asarray(x, jnp.float32)
    if x.size == 0:
        shape = () if channels is None else (x.shape[channels],)
        return jnp.broadcast_to(offset, shape), jnp.broadcast_to(scale, shape)
    over = _others(x.ndim, channels)
    count = codes.astype(jnp.float32)
    # Nothing is squared before it is near 1.
    unit = _unit(jnp.abs(x).max(over))
    scaled = x * _along(1 / unit, x.ndim, channels)
    code_mean, mean = count.mean(over), scaled.mean(over)
    code_deviation = jnp.sqrt(jnp.square(count - _along(code_mean, x.ndim, channels)).mean(over))
    deviation = jnp.sqrt(jnp.square(scaled - _along(mean, x.ndim, channels)).mean(over))
    mean, deviation = mean * unit, deviation * unit
    alike = codes.min(over) == codes.max(over)
    corrected = jnp.where(alike, 0, deviation / jnp.where(alike, 1, code_deviation))
    kept = jnp.broadcast_to(scale, corrected.shape)
    fixed = kept == 0
    # With step 0 every code would have to be 0; a step that plays no part stays.
    step = jnp.where(fixed | alike | (corrected < jnp.finfo(jnp.float32).tiny), kept, corrected)
    return jnp.where(fixed, offset, mean - code_mean * step), step


class Quantized(NamedTuple):
    """A tensor's codes and what they mean, of `quantize_array`.

    Attributes:
      codes: uint8, shape of the tensor.
      offset, scale: float32; value = offset + code x scale. The steps that are fitted to channels
        are bfloat16 numbers, which take two bytes in a packed file; corrected ones are exact.
      bits: int32 () or (channels,).
      prior: int32 (), an index of `PRIORS`: the one that set the range.
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
) -> Quantized:
    """Quantises a tensor in one of the ways that rules ask for.

    Args:
      x: finite floats of any shape.
      bits: 2 to 8; may be traced. With `allocate` the mean over channels, which need not be whole.
      prior: one of `PRIORS`, or "auto": the one of them with the least squared error, measured on
        the outcome, correction included.
      axis: the channel axis that gets a range for each of its indexes; None for one range.
      allocate: gives channels bits of their own, by `allocate_bits`; needs `axis`.
      correct: the channel axis whose means and deviations are restored, None for those of the whole
        tensor, False to restore none; see `restore_moments`.

    Returns:
      Codes and range. Decode along `correct` if that is an axis, else along `axis`.

    Raises:
      ValueError: another prior or number of bits, or `allocate` without an axis.
    """
    if allocate and axis is None:
        raise ValueError("bits are allocated to channels; name their axis")
    if not isinstance(bits, jax.Array):
        _check_bits(bits)
        if not allocate and bits != int(bits):
            raise ValueError(f"{bits} bits; broken numbers are means over channels, of `allocate`")
    outcomes, errors, units = [], [], []
    for index, name in enumerate(PRIORS):
        if prior not in (name, "auto"):
            continue
        width = allocate_bits(spread(x, name, axis), bits) if allocate else bits
        offset, scale = fit_range(x, width, name, axis)
        if axis is not None:
            # Up, by 0.8 % at most, so that the range holds what it held.
            whole = jax.lax.bitcast_convert_type(scale, jnp.uint32)
            scale = jax.lax.bitcast_convert_type(
                (whole + 0xFFFF) & jnp.uint32(0xFFFF0000), jnp.float32
            )
        codes = encode(x, offset, scale, width, axis)
        along = axis
        if correct is not False:
            offset, scale = restore_moments(x, codes, offset, scale, axis, correct)
            along = correct
        outcomes.append(
            Quantized(codes, offset, scale, jnp.asarray(width, jnp.int32), jnp.int32(index))
        )
        error, unit = _mean_square(decode(codes, offset, scale, along), x)
        errors.append(jnp.where(jnp.isnan(error), jnp.inf, error))
        units.append(unit)
    if not outcomes:
        raise ValueError(f"prior {prior!r} is none of {(*PRIORS, 'auto')}")
    if len(outcomes) == 1:
        return outcomes[0]
    best = jnp.argmin(_comparable(jnp.stack(errors), jnp.stack(units)))
    return jax.tree.map(lambda *parts: jnp.stack(parts)[best], *outcomes)


class _Statistics(NamedTuple):
    """A tensor's or its channels' statistics, in units of `unit`, a power of two."""

    unit: jax.Array
    low: jax.Array
    high: jax.Array
    mean: jax.Array
    spread: jax.Array


def _statistics(x: jax.Array, prior: str, axis: int | None) -> _Statistics:
    if prior not in PRIORS:
        raise ValueError(f"prior {prior!r} is none of {PRIORS}")
    x = jnp.asarray(x, jnp.float32)
    if x.size == 0:
        none = jnp.zeros(() if axis is None else (x.shape[axis],), jnp.float32)
        return _Statistics(none + 1, none, none, none, none)
    over = _others(x.ndim, axis)
    # Powers of two change no digit, and squares of numbers around 1 neither over- nor underflow.
    unit = _unit(jnp.abs(x).max(over))
    x = x * _along(1 / unit, x.ndim, axis)
    low, high, mean = x.min(over), x.max(over), x.mean(over)
    deviation = x - _along(mean, x.ndim, axis)
    if prior == "minmax":
        wide = (high - low) / 2
    elif prior == "laplace":
        wide = jnp.abs(deviation).mean(over)
    else:
        count = math.prod(x.shape[i] for i in over)
        wide = jnp.sqrt(jnp.square(deviation).sum(over) / max(1, count - 1))
    # Rounding of the mean can give equal values a spread.
    return _Statistics(unit, low, high, mean, jnp.where(low == high, 0, wide))


def _unit(peak: jax.Array) -> jax.Array:
    """The power of two at or below `peak`, float32, kept within 2^-126 to 2^126.

    It and its inverse are normal numbers, also for a peak that is 0, infinite or NaN.
    """
    return _power_of_two(_exponent(peak))


def _exponent(values: jax.Array) -> jax.Array:
    """That of float32 values, int32; exact for powers of two, where a logarithm may be off."""
    biased = jax.lax.bitcast_convert_type(values, jnp.uint32) >> 23 & 0xFF
    return biased.astype(jnp.int32) - 127


def _power_of_two(exponent: jax.Array) -> jax.Array:
    """2^exponent, float32, exactly; int32 exponents are clipped to -126 and 126."""
    biased = (jnp.clip(exponent, -126, 126) + 127).astype(jnp.uint32)
    return jax.lax.bitcast_convert_type(biased << 23, jnp.float32)


def _clip(prior: str, bits: Bits) -> float | jax.Array:
    if not isinstance(bits, jax.Array):
        return alpha(prior, bits)
    table = [alpha(prior, width) for width in range(MIN_BITS, MAX_BITS + 1)]
    return jnp.asarray(table, jnp.float32)[bits - MIN_BITS]


def _levels(bits: Bits) -> int | jax.Array:
    if not isinstance(bits, jax.Array):
        _check_bits(bits)
    return 2**bits - 1


def _mean_square(values: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The mean squared difference, in squares of a power of two, and that power."""
    difference = values - jnp.asarray(x, jnp.float32)
    unit = _unit(jnp.abs(difference).max(initial=0))
    return jnp.square(difference * (1 / unit)).sum() / max(1, x.size), unit


def _comparable(errors: jax.Array, units: jax.Array) -> jax.Array:
    """Mean squares of `_mean_square` in one unit: the least of those of errors that are not 0."""
    exponents = _exponent(units)
    least = jnp.where(errors > 0, exponents, 127).min()
    # What is more than 2^63 times as far off is not chosen, by however much it is.
    return errors * jnp.square(_power_of_two(jnp.clip(exponents - least, 0, 63)))


def _others(rank: int, axis: int | None) -> tuple[int, ...]:
    return tuple(i for i in range(rank) if axis is None or i != axis % rank)


def _along(values: jax.Array | int, rank: int, axis: int | None) -> jax.Array | int:
    """Brings a range of `fit_range` to a shape that broadcasts over a tensor of `rank` axes."""
    if axis is None or not jnp.ndim(values):
        return values
    shape = [1] * rank
    shape[axis] = -1
    return values.reshape(shape)


def _check_bits(bits: float) -> None:
    if not MIN_BITS <= bits <= MAX_BITS:
        raise ValueError(f"{bits} bits; use {MIN_BITS} to {MAX_BITS}")
