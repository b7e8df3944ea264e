"""Convolutions that are fast on CPUs too: Winograd's algorithm for wide 3x3 ones.

"Fast algorithms for convolutional neural networks" (Lavin and Gray, 2016): F(2, 3) along columns.
"""

import jax
import jax.numpy as jnp
from flax import nnx

# PyTorch's default for convolution and linear kernels: uniform within 1 / sqrt(fan in).
KERNEL_INIT = nnx.initializers.variance_scaling(1 / 3, "fan_in", "uniform")

# Narrower ones lose more in the transforms than they save in multiplications.
_MIN_CHANNELS = 128


class Conv(nnx.Conv):
    """`nnx.Conv`, undilated and ungrouped; where it pays, by Winograd's algorithm.

    That is in evaluation on a CPU, in float32, for 3x3 kernels of stride 1 that keep the image size
    and have at least 128 channels on both sides, unless another convolution was asked for.
    EDSR-32x256 takes four fifths of the time then. Training gains little and compiles much longer.
    """

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
            and self.conv_general_dilated is jax.lax.conv_general_dilated
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
