"""Convolutions that are fast on CPUs too: Winograd's algorithm, and kernels' gradients in parts."""

import contextlib
import contextvars
import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from textsr_jax.models.layers import winograd

# Of rows and columns, or before and after.
TwoInts = tuple[int, int]

# PyTorch's default for convolution and linear kernels: uniform within 1 / sqrt(fan in).
KERNEL_INIT = nnx.initializers.variance_scaling(1 / 3, "fan_in", "uniform")

# Narrower convolutions lose more in the transforms than they save in multiplications.
_MIN_CHANNELS = 128
# A kernel's gradient is a sum over all pixels, taken in parts of this size. The caches of a CPU's
# core hold most of a part while each of the kernel's taps reads it.
_PART_BYTES = 3 << 19
# The caches hold smaller images anyway.
_MIN_BYTES = 1 << 20
# With fewer input channels, such as an image's, the product takes as long as XLA's own gradient.
_MIN_INPUTS = 8
_counted = contextvars.ContextVar("counted", default=False)


class Conv(nnx.Conv):
    """`nnx.Conv` without dilation and groups, by `convolve`.

    A layer that is given another `conv_general_dilated` uses that one.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **{"conv_general_dilated": convolve, **kwargs})


@contextlib.contextmanager
def counted() -> Iterator[None]:
    """In this block, functions are traced with a layer's plain arithmetic, for XLA to count.

    XLA counts the body of a loop once, however often the loop runs.
    """
    token = _counted.set(True)
    try:
        yield
    finally:
        _counted.reset(token)


def convolve(
    x: jax.Array,
    kernel: jax.Array,
    strides: tuple[int, int],
    padding: str | tuple[tuple[int, int], tuple[int, int]],
    **options: Any,
) -> jax.Array:
    """`jax.lax.conv_general_dilated` with channels last, which is fast on CPUs.

    There XLA's own gradient of a kernel takes two to five times as long as its convolution: most of
    a training step. Ours is `kernel_gradient`. 3x3 kernels of stride 1 that keep the image size go
    by Winograd's algorithm (`layers.winograd`): their gradient always, the convolution itself and
    its input's gradient with at least 128 channels on both sides. XLA's way is taken for other
    dtypes than float32, for images of less than a MiB, for fewer than 8 channels, for kernels with
    more than nine taps, and on several devices.

    Args:
      x: (batch, H, W, inputs).
      kernel: (rows, columns, inputs, outputs).
      strides, padding: as `jax.lax.conv_general_dilated` takes them.
      options: its other arguments, without dilation and groups.
    """
    rows, columns, inputs, _ = kernel.shape
    suits = x.dtype == jnp.float32 and rows * columns <= 9 and inputs >= _MIN_INPUTS
    suits = suits and 4 * x.size >= _MIN_BYTES and not _counted.get()
    # With several devices, a part of the batch may be on another device than the sum over it.
    if not suits or jax.device_count() > 1:
        return jax.lax.conv_general_dilated(x, kernel, strides, padding, **options)
    pairs: Any = padding
    if isinstance(padding, str):
        pairs = jax.lax.padtype_to_pads(x.shape[1:3], (rows, columns), strides, padding)
    (top, bottom), (left, right) = pairs
    pads = (int(top), int(bottom)), (int(left), int(right))
    return _convolve(x, kernel, tuple(strides), pads, options.get("precision"))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _convolve(
    x: jax.Array,
    kernel: jax.Array,
    strides: TwoInts,
    padding: tuple[TwoInts, TwoInts],
    precision: jax.lax.PrecisionLike,
) -> jax.Array:
    plain = functools.partial(_plain, strides=strides, padding=padding, precision=precision)
    if not (_keeps_size(kernel, strides, padding) and min(kernel.shape[2:]) >= _MIN_CHANNELS):
        return plain(x, kernel)
    return jax.lax.platform_dependent(x, kernel, cpu=winograd.convolution, default=plain)


def _plain(
    x: jax.Array,
    kernel: jax.Array,
    strides: TwoInts,
    padding: tuple[TwoInts, TwoInts],
    precision: jax.lax.PrecisionLike,
) -> jax.Array:
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        strides,
        padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=precision,
    )


def _keeps_size(kernel: jax.Array, strides: TwoInts, padding: tuple[TwoInts, TwoInts]) -> bool:
    """Whether this is what `layers.winograd` computes."""
    return kernel.shape[:2] == (3, 3) and strides == (1, 1) and padding == ((1, 1), (1, 1))


def _forward(
    x: jax.Array,
    kernel: jax.Array,
    strides: TwoInts,
    padding: tuple[TwoInts, TwoInts],
    precision: jax.lax.PrecisionLike,
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _convolve(x, kernel, strides, padding, precision), (x, kernel)


def _backward(
    strides: TwoInts,
    padding: tuple[TwoInts, TwoInts],
    precision: jax.lax.PrecisionLike,
    inputs: tuple[jax.Array, jax.Array],
    cotangent: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    plain = functools.partial(_plain, strides=strides, padding=padding, precision=precision)

    def of_input(kernel: jax.Array, x: jax.Array, cotangent: jax.Array) -> jax.Array:
        return jax.vjp(lambda x: plain(x, kernel), x)[1](cotangent)[0]

    def of_kernel(x: jax.Array, kernel: jax.Array, cotangent: jax.Array) -> jax.Array:
        return jax.vjp(lambda kernel: plain(x, kernel), kernel)[1](cotangent)[0]

    def of_kernel_on_cpu(x: jax.Array, kernel: jax.Array, cotangent: jax.Array) -> jax.Array:
        if _keeps_size(kernel, strides, padding):
            return winograd.kernel_gradient(x, cotangent)
        rows, columns = kernel.shape[:2]
        return kernel_gradient(x, cotangent, (rows, columns), strides, padding)

    def of_input_on_cpu(kernel: jax.Array, x: jax.Array, cotangent: jax.Array) -> jax.Array:
        if _keeps_size(kernel, strides, padding) and min(kernel.shape[2:]) >= _MIN_CHANNELS:
            return winograd.input_gradient(kernel, cotangent)
        return of_input(kernel, x, cotangent)

    x, kernel = inputs
    by_input = jax.lax.platform_dependent(
        kernel, x, cotangent, cpu=of_input_on_cpu, default=of_input
    )
    by_kernel = jax.lax.platform_dependent(
        x, kernel, cotangent, cpu=of_kernel_on_cpu, default=of_kernel
    )
    return by_input, by_kernel


_convolve.defvjp(_forward, _backward)


def kernel_gradient(
    x: jax.Array,
    cotangent: jax.Array,
    size: TwoInts,
    strides: TwoInts = (1, 1),
    padding: tuple[TwoInts, TwoInts] = ((0, 0), (0, 0)),
) -> jax.Array:
    """The gradient of a convolution's kernel, as sums over parts of the batch, one after another.

    Rounding errors are those of sums in another order.

    Args:
      x: float32 (batch, H, W, inputs).
      cotangent: float32 (batch, rows out, columns out, outputs), of the convolution.
      size: the kernel's rows and columns.
      strides: strides of the convolution.
      padding: padding of the convolution: zeros before and after, for rows and for columns.

    Returns:
      float32 (rows, columns, inputs, outputs).
    """
    batch, height, width, outputs = cotangent.shape
    (rows, columns), inputs = size, x.shape[-1]
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))

    def of_part(x: jax.Array, cotangent: jax.Array) -> jax.Array:
        """The products of the cotangent and the pixels that each of the kernel's taps reads."""
        flat = cotangent.reshape(-1, outputs)
        made = []
        for row in range(rows):
            for column in range(columns):
                down = slice(row, row + strides[0] * (height - 1) + 1, strides[0])
                across = slice(column, column + strides[1] * (width - 1) + 1, strides[1])
                made.append(x[:, down, across].reshape(-1, inputs).T @ flat)
        return jnp.stack(made).reshape(rows, columns, inputs, outputs)

    most = max(1, _PART_BYTES // (4 * (x[0].size + cotangent[0].size)))
    parts = next(count for count in range(-(-batch // most), batch + 1) if batch % count == 0)
    if parts == 1:
        return of_part(x, cotangent)

    def add(total: jax.Array, part: tuple[jax.Array, ...]) -> tuple[jax.Array, None]:
        return total + of_part(*part), None

    split = tuple(array.reshape(parts, -1, *array.shape[1:]) for array in (x, cotangent))
    return jax.lax.scan(add, jnp.zeros((rows, columns, inputs, outputs)), split)[0]
