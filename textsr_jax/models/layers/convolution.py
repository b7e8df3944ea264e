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

Pair = tuple[int, int]

# PyTorch's default for convolution and linear kernels: uniform within 1 / sqrt(fan in).
KERNEL_INIT = nnx.initializers.variance_scaling(1 / 3, "fan_in", "uniform")

# Narrower ones lose more in the transforms than they save in multiplications.
_MIN_CHANNELS = 128
# A kernel's gradient is a sum over all pixels. Of so many bytes of them at once, the caches of a
# CPU's core hold most while each of the kernel's taps looks at them.
_PART_BYTES = 3 << 19
# Images smaller than this lie in the caches anyhow.
_MIN_BYTES = 1 << 20
# With fewer, such as an image's, a product of so few rows takes as long as XLA's own way.
_MIN_INPUTS = 8
_counted = contextvars.ContextVar("counted", default=False)


class Conv(nnx.Conv):
    """`nnx.Conv`, undilated and ungrouped; where it pays, by Winograd's algorithm.

    That is in evaluation on a CPU, in float32, for 3x3 kernels of stride 1 that keep the image size
    and have at least 128 channels on both sides, unless another convolution was asked for.
    EDSR-32x256 takes four fifths of the time then. In training, where both would compile much
    longer, only the gradient of the kernel takes a way of its own; see `convolve`.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **{"conv_general_dilated": convolve, **kwargs})

    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
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
    """The 3x3 convolution of stride 1 that keeps the image size, zeros outside.

    Two rows of the result take four convolutions of 1x3 instead of six. Rounding is that of the
    plain sum, a few units in the last place; coarser dtypes than float32 lose more.

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
    """Functions traced meanwhile do a layer's plain arithmetic, for XLA to count.

    It counts what a loop does once, however often that runs.
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
    """`jax.lax.conv_general_dilated`, channels last, whose kernel's gradient is fast on CPUs.

    XLA's takes two to five times as long there, and most of a training step. See
    `kernel_gradient`; of other dtypes than float32, of less than a MiB, of fewer than 8 channels,
    of kernels with more than nine taps and on several devices the gradient is XLA's.

    Args:
      x: (batch, H, W, inputs).
      kernel: (rows, columns, inputs, outputs).
      strides, padding: as `jax.lax.conv_general_dilated` takes them.
      options: the same; without dilation and groups.
    """
    rows, columns, inputs, _ = kernel.shape
    suits = x.dtype == jnp.float32 and rows * columns <= 9 and inputs >= _MIN_INPUTS
    suits = suits and 4 * x.size >= _MIN_BYTES and not _counted.get()
    # With several devices a part of the batch is not where the sum over it is taken.
    if not suits or jax.device_count() > 1:
        return jax.lax.conv_general_dilated(x, kernel, strides, padding, **options)
    if isinstance(padding, str):
        pairs = jax.lax.padtype_to_pads(x.shape[1:3], (rows, columns), strides, padding)
        padding = tuple((int(before), int(after)) for before, after in pairs)
    return _convolve(
        x, kernel, tuple(strides), tuple(map(tuple, padding)), options.get("precision")
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _convolve(
    x: jax.Array, kernel: jax.Array, strides: Pair, padding: tuple[Pair, Pair], precision: Any
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
    x: jax.Array, kernel: jax.Array, strides: Pair, padding: tuple[Pair, Pair], precision: Any
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _convolve.fun(x, kernel, strides, padding, precision), (x, kernel)


def _backward(
    strides: Pair,
    padding: tuple[Pair, Pair],
    precision: Any,
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
    size: Pair,
    strides: Pair = (1, 1),
    padding: tuple[Pair, Pair] = ((0, 0), (0, 0)),
) -> jax.Array:
    """The gradient of a convolution's kernel, as sums over parts of the batch, one after another.

    3x3 kernels of stride 1 go by Winograd's algorithm, with four products instead of six for two
    rows. Rounding is that of sums in another order.

    Args:
      x: float32 (batch, H, W, inputs).
      cotangent: float32 (batch, rows out, columns out, outputs), of the convolution.
      size: the kernel's rows and columns.
      strides: of the convolution.
      padding: of the convolution: zeros before and behind, of rows and of columns.

    Returns:
      float32 (rows, columns, inputs, outputs).
    """
    batch, height, width, outputs = cotangent.shape
    (rows, columns), inputs = size, x.shape[-1]
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))

    def taps(x: jax.Array, rows: int, columns: int, height: int) -> list[jax.Array]:
        """What each of the kernel's taps meets."""
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

    def add(total: jax.Array, part: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        return total + of_part(*part), None

    split = [array.reshape(parts, -1, *array.shape[1:]) for array in (x, cotangent)]
    return jax.lax.scan(add, jnp.zeros((rows, columns, inputs, outputs)), split)[0]
