"""Convolutions that are fast on CPUs too: Winograd's algorithm, and kernels' gradients in parts.

"Fast algorithms for convolutional neural networks" (Lavin and Gray, 2016): F(2, 3) along columns.
"""

import contextlib
import contextvars
import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

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
    """`nnx.Conv` without dilation and groups; it uses Winograd's algorithm where that is faster.

    That is in evaluation on a CPU, in float32, for 3x3 kernels of stride 1 that keep the image size
    and have at least 128 channels on both sides. EDSR-32x256 then takes four fifths of the time. A
    layer that is given another `conv_general_dilated` uses that one. In training Winograd's
    algorithm would compile for much longer. There the kernel's gradient alone is computed in
    another way; see `convolve`.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **{"conv_general_dilated": convolve, **kwargs})

    # Flax's layer takes a sharding of the output, which nothing here needs.
    def __call__(  # type: ignore[override]
        self, x: jax.Array, *, train: bool = False
    ) -> jax.Array:
        """Maps (batch, H, W, inputs) to (batch, H / stride, W / stride, outputs)."""
        if train or not self._suits_winograd():
            return super().__call__(x)

        def by_winograd(x: jax.Array) -> jax.Array:
            out = conv3x3(x, self.kernel[...])
            return out if self.bias is None else out + self.bias[...]

        return jax.lax.platform_dependent(x, cpu=by_winograd, default=super().__call__)

    def _suits_winograd(self) -> bool:
        return (
            self.kernel_size == (3, 3)
            and self.strides in (None, 1)
            and self.padding in ("SAME", 1)
            and self.dtype is None
            and self.conv_general_dilated is convolve
            and min(self.in_features, self.out_features) >= _MIN_CHANNELS
        )


def conv3x3(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The 3x3 convolution of stride 1 that keeps the image size, with zeros outside the image.

    Two rows of the result take four convolutions of 1x3 instead of six. Rounding errors are those
    of the plain sum, a few units in the last place. Coarser dtypes than float32 lose more.

    Args:
      x: float (batch, H, W, inputs).
      kernel: float (3, 3, inputs, outputs).

    Returns:
      float (batch, H, W, outputs).
    """
    height = x.shape[1]
    x = jnp.pad(x, ((0, 0), (1, 1 + height % 2), (0, 0), (0, 0)))
    # Rows 2i - 1 .. 2i + 2 around the two rows 2i and 2i + 1 of the result.
    above, first, second, below = (x[:, row : x.shape[1] - 2 + row : 2] for row in range(4))
    top, middle, bottom = kernel
    outer = top + bottom
    products = [
        _conv1x3(rows, taps)
        for rows, taps in (
            (above - second, top),
            (first + second, 0.5 * (outer + middle)),
            (second - first, 0.5 * (outer - middle)),
            (first - below, bottom),
        )
    ]
    even = products[0] + products[1] + products[2]
    odd = products[1] - products[2] - products[3]
    pairs = jnp.stack([even, odd], axis=2)
    return pairs.reshape(len(x), -1, *pairs.shape[3:])[:, :height]


def _conv1x3(rows: jax.Array, taps: jax.Array) -> jax.Array:
    return jax.lax.conv_general_dilated(
        rows, taps[None], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


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
    """`jax.lax.conv_general_dilated` with channels last, whose kernel gradient is fast on CPUs.

    XLA's own gradient takes two to five times as long there, most of a training step. Ours is
    `kernel_gradient`. XLA's is used for other dtypes than float32, for images of less than a MiB,
    for fewer than 8 channels, for kernels with more than nine taps, and on several devices.

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
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        strides,
        padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=precision,
    )


def _forward(
    x: jax.Array,
    kernel: jax.Array,
    strides: TwoInts,
    padding: tuple[TwoInts, TwoInts],
    precision: jax.lax.PrecisionLike,
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _convolve.fun(x, kernel, strides, padding, precision), (x, kernel)


def _backward(
    strides: TwoInts,
    padding: tuple[TwoInts, TwoInts],
    precision: jax.lax.PrecisionLike,
    inputs: tuple[jax.Array, jax.Array],
    cotangent: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    def plain(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return _convolve.fun(x, kernel, strides, padding, precision)

    x, kernel = inputs
    gradient = jax.lax.platform_dependent(
        x,
        kernel,
        cotangent,
        cpu=lambda x, kernel, cotangent: kernel_gradient(
            x, cotangent, kernel.shape[:2], strides, padding
        ),
        default=lambda x, kernel, cotangent: jax.vjp(functools.partial(plain, x), kernel)[1](
            cotangent
        )[0],
    )
    return jax.vjp(lambda x: plain(x, kernel), x)[1](cotangent)[0], gradient


_convolve.defvjp(_forward, _backward)


def kernel_gradient(
    x: jax.Array,
    cotangent: jax.Array,
    size: TwoInts,
    strides: TwoInts = (1, 1),
    padding: tuple[TwoInts, TwoInts] = ((0, 0), (0, 0)),
) -> jax.Array:
    """The gradient of a convolution's kernel, as sums over parts of the batch, one after another.

    For 3x3 kernels of stride 1, Winograd's algorithm takes four products instead of six for two
    rows. Rounding errors are those of sums in another order.

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

    def taps(x: jax.Array, rows: int, columns: int, height: int) -> list[jax.Array]:
        """The pixels that each of the kernel's taps reads."""
        return [
            x[
                :,
                row : row + strides[0] * (height - 1) + 1 : strides[0],
                column : column + strides[1] * (width - 1) + 1 : strides[1],
            ]
            for row in range(rows)
            for column in range(columns)
        ]

    def product(seen: jax.Array, cotangent: jax.Array) -> jax.Array:
        return seen.reshape(-1, seen.shape[-1]).T @ cotangent.reshape(-1, cotangent.shape[-1])

    def of_taps(x: jax.Array, cotangent: jax.Array) -> jax.Array:
        made = [product(seen, cotangent) for seen in taps(x, rows, columns, height)]
        return jnp.stack(made).reshape(rows, columns, inputs, outputs)

    def by_winograd(x: jax.Array, cotangent: jax.Array) -> jax.Array:
        # Rows 2i - 1 .. 2i + 2 around the two rows 2i and 2i + 1 of the result; see `conv3x3`.
        odd_height = ((0, 0), (0, height % 2), (0, 0), (0, 0))
        x, cotangent = jnp.pad(x, odd_height), jnp.pad(cotangent, odd_height)
        above, first, second, below = (x[:, row : x.shape[1] - 2 + row : 2] for row in range(4))
        even, odd = cotangent[:, ::2], cotangent[:, 1::2]

        def of_row(seen: jax.Array, cotangent: jax.Array) -> jax.Array:
            return jnp.stack(
                [product(part, cotangent) for part in taps(seen, 1, columns, seen.shape[1])]
            )

        outer = of_row(first + second, even + odd)
        inner = of_row(second - first, even - odd)
        top = of_row(above - second, even) + 0.5 * (outer + inner)
        bottom = 0.5 * (outer + inner) - of_row(first - below, odd)
        return jnp.stack([top, 0.5 * (outer - inner), bottom])

    of_part = by_winograd if size == (3, 3) and strides == (1, 1) else of_taps
    most = max(1, _PART_BYTES // (4 * (x[0].size + cotangent[0].size)))
    parts = next(count for count in range(-(-batch // most), batch + 1) if batch % count == 0)
    if parts == 1:
        return of_part(x, cotangent)

    def add(total: jax.Array, part: tuple[jax.Array, ...]) -> tuple[jax.Array, None]:
        return total + of_part(*part), None

    split = tuple(array.reshape(parts, -1, *array.shape[1:]) for array in (x, cotangent))
    return jax.lax.scan(add, jnp.zeros((rows, columns, inputs, outputs)), split)[0]
