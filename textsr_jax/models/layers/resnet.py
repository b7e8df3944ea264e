"""ResNet45, which CDistNet and ABINet look at images with, and its convolutions.

"Deep residual learning for image recognition" (He et al., 2016), in the form of "Show, attend and
read" (Li et al., 2019).
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from textsr_jax.models.layers.convolution import Conv

_XAVIER = jax.nn.initializers.xavier_uniform()
_STRIDES = (2, 1, 2, 1, 1)


class ResNet45(nnx.Module):
    """A stem and five stages of residual blocks: images to features of a quarter of the size.

    Args:
      channels: channels of the stem and of the five stages.
      depths: blocks in each stage.
      dtype: compute dtype.
      rngs: draws the parameters.
    """

    def __init__(
        self,
        channels: Sequence[int],
        depths: Sequence[int],
        *,
        dtype: jnp.dtype | None = None,
        rngs: nnx.Rngs,
    ):
        self.stem = ConvNorm(3, channels[0], 3, dtype=dtype, rngs=rngs)
        self.stages: nnx.List[nnx.List[Block]] = nnx.List()
        for stage, (depth, stride) in enumerate(zip(depths, _STRIDES, strict=True)):
            inputs, outputs = channels[stage], channels[stage + 1]
            first = Block(inputs, outputs, stride, dtype=dtype, rngs=rngs)
            rest = [Block(outputs, outputs, 1, dtype=dtype, rngs=rngs) for _ in range(depth - 1)]
            self.stages.append(nnx.List([first, *rest]))

    def __call__(self, values: jax.Array, *, train: bool = False) -> jax.Array:
        """Maps (batch, H, W, 3) to (batch, H / 4, W / 4, channels of the last stage)."""
        x = jax.nn.relu(self.stem(values, train=train))
        for stage in self.stages:
            for block in stage:
                x = block(x, train=train)
        return x


class Block(nnx.Module):
    """A residual block: a 1x1 convolution, then a 3x3 one, which may have a stride."""

    def __init__(
        self, inputs: int, outputs: int, stride: int, *, dtype: jnp.dtype | None, rngs: nnx.Rngs
    ):
        self.conv1 = ConvNorm(inputs, outputs, 1, dtype=dtype, rngs=rngs)
        self.conv2 = ConvNorm(outputs, outputs, 3, stride, dtype=dtype, rngs=rngs)
        self.shortcut = (
            ConvNorm(inputs, outputs, 1, stride, dtype=dtype, rngs=rngs)
            if stride != 1 or inputs != outputs
            else None
        )

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps (batch, H, W, inputs) to (batch, H / stride, W / stride, outputs)."""
        out = jax.nn.relu(self.conv1(x, train=train))
        out = self.conv2(out, train=train)
        return jax.nn.relu(out + (x if self.shortcut is None else self.shortcut(x, train=train)))


class ConvNorm(nnx.Module):
    """A convolution, padded by half its kernel, and BatchNorm."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int | tuple[int, int] = 1,
        *,
        use_bias: bool = False,
        dtype: jnp.dtype | None,
        rngs: nnx.Rngs,
    ):
        self.conv = Conv(
            inputs,
            outputs,
            (kernel, kernel),
            strides=stride,
            padding=kernel // 2,
            use_bias=use_bias,
            kernel_init=_XAVIER,
            dtype=dtype,
            rngs=rngs,
        )
        self.bn = nnx.BatchNorm(outputs, momentum=0.9, epsilon=1e-5, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps (batch, H, W, inputs) to (batch, H / stride, W / stride, outputs)."""
        return self.bn(self.conv(x), use_running_average=not train)
