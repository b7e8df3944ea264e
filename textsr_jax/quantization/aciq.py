"""ACIQ: uniform quantisation of one tensor with the range that an assumed distribution asks for.

Pure functions of arrays, all of which work inside jit; `tree.py` applies them to whole models.
"""

import functools
import math

import jax
import jax.numpy as jnp

MIN_BITS, MAX_BITS = 2, 8
PRIORS = ("laplace", "gaussian", "minmax")


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


def fit_range(
    x: jax.Array, bits: int, prior: str, axis: int | None = None
) -> tuple[jax.Array, jax.Array]:
    """The value of code 0 and the step between codes for tensor `x`.

    With mean m and clip a = alpha x mean |x - m| (Laplace) or alpha x standard deviation with n - 1
    (Gaussian), the range starts at max(min x, m - a) and is 2 a wide, in 2^bits - 1 steps; "minmax"
    takes [min x, max x]. Equal values, one value among them, give exactly that value and step 0;
    no values give 0 and 0.

    Args:
      x: finite floats of any shape; the sums are taken in float32.
      bits: 2 to 8.
      prior: one of `PRIORS`.
      axis: the channel axis that gets a range for each of its indexes; None for one range.

    Returns:
      offset, scale: float32, () or (x.shape[axis],). Not finite where the values of `x` are so
      large that their sums overflow.

    Raises:
      ValueError: another prior or number of bits.
    """
    _check_bits(bits)
    if prior not in PRIORS:
        raise ValueError(f"prior {prior!r} is none of {PRIORS}")
    x = jnp.asarray(x, jnp.float32)
    shape = () if axis is None else (x.shape[axis],)
    if x.size == 0:
        return jnp.zeros(shape, jnp.float32), jnp.zeros(shape, jnp.float32)
    over = tuple(i for i in range(x.ndim) if axis is None or i != axis % x.ndim)
    low, high = x.min(over), x.max(over)
    if prior == "minmax":
        offset, width = low, high - low
    else:
        mean = x.mean(over)
        deviation = x - _along(mean, x.ndim, axis)
        if prior == "laplace":
            spread = jnp.abs(deviation).mean(over)
        else:
            count = x.size // math.prod(shape)
            spread = jnp.sqrt(jnp.square(deviation).sum(over) / max(1, count - 1))
        clip = alpha(prior, bits) * spread
        offset, width = jnp.maximum(low, mean - clip), 2 * clip
    scale = width / (2**bits - 1)
    # Rounding of the mean can give equal values a spread; a denormal step cannot be divided by.
    flat = (low == high) | (scale < jnp.finfo(jnp.float32).tiny)
    return jnp.where(flat, low, offset), jnp.where(flat, 0, scale)


def encode(
    x: jax.Array, offset: jax.Array, scale: jax.Array, bits: int, axis: int | None = None
) -> jax.Array:
    """Codes of `x`: round((x - offset) / scale), clipped to 0 .. 2^bits - 1; uint8, shape of `x`.

    `offset`, `scale` and `axis` are those of `fit_range`; every code is 0 where the step is 0.
    """
    offset, scale = _along(offset, x.ndim, axis), _along(scale, x.ndim, axis)
    steps = (jnp.asarray(x, jnp.float32) - offset) / jnp.where(scale > 0, scale, 1)
    return jnp.where(scale > 0, jnp.clip(jnp.round(steps), 0, 2**bits - 1), 0).astype(jnp.uint8)


def decode(
    codes: jax.Array, offset: jax.Array, scale: jax.Array, axis: int | None = None
) -> jax.Array:
    """The values of uint8 `codes`: offset + code x scale; float32, shape of `codes`."""
    offset, scale = _along(offset, codes.ndim, axis), _along(scale, codes.ndim, axis)
    return offset + codes.astype(jnp.float32) * scale


def squared_error(x: jax.Array, bits: int, prior: str, axis: int | None = None) -> jax.Array:
    """Mean squared difference between `x` and its quantised values; float32 (), 0 for no values."""
    offset, scale = fit_range(x, bits, prior, axis)
    values = decode(encode(x, offset, scale, bits, axis), offset, scale, axis)
    return jnp.square(values - jnp.asarray(x, jnp.float32)).sum() / max(1, x.size)


def _along(values: jax.Array, rank: int, axis: int | None) -> jax.Array:
    """Brings a range of `fit_range` to a shape that broadcasts over a tensor of `rank` axes."""
    if axis is None:
        return values
    shape = [1] * rank
    shape[axis] = -1
    return values.reshape(shape)


def _check_bits(bits: int) -> None:
    if not MIN_BITS <= bits <= MAX_BITS:
        raise ValueError(f"{bits} bits; use {MIN_BITS} to {MAX_BITS}")
