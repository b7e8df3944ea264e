"""ResNet45, the backbone of CDistNet: images to columns of features."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from textsr_jax.models.cdistnet.attention import XAVIER
from textsr_jax.models.layers.convolution import Conv

STAGE_STRIDES = (2, 1, 2, 1, 1)


class ResNet45(nnx.Module):
    """The backbone: images (batch, 32, 128, 3) to 4x16 features, column by column.

    Args:
      channels: channels of the stem and of the five stages.
      depths: blocks in each stage.
      width: size of the features.
      dtype: compute dtype.
      rngs: draws the parameters.
    """

    def __init__(
        self,
        channels: Sequence[int],
        depths: Sequence[int],
        width: int,
        *,
        dtype: jnp.dtype | None = None,
        rngs: nnx.Rngs,
    ):
        self.stem = ConvNorm(3, channels[0], 3, dtype=dtype, rngs=rngs)
        self.stages: nnx.List[nnx.List[Block]] = nnx.List()
        for stage, (depth, stride) in enumerate(zip(depths, STAGE_STRIDES, strict=True)):
            inputs, outputs = channels[stage], channels[stage + 1]
            first = Block(inputs, outputs, stride, dtype=dtype, rngs=rngs)
            rest = [Block(outputs, outputs, 1, dtype=dtype, rngs=rngs) for _ in range(depth - 1)]
            self.stages.append(nnx.List([first, *rest]))
        self.last = ConvNorm(channels[-1], width, 3, 2, use_bias=True, dtype=dtype, rngs=rngs)

    def __call__(self, values: jax.Array, *, train: bool = False) -> jax.Array:
        """Maps (batch, H, W, 3) to (batch, H / 8 x W / 8, width), one column after another."""
        x = jax.nn.relu(self.stem(values, train=train))
        for stage in self.stages:
            for block in stage:
                x = block(x, train=train)
        x = jax.nn.relu(self.last(x, train=train))
        batch, height, width, features = x.shape
        return x.swapaxes(1, 2).reshape(batch, width * height, features)


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
            kernel_init=XAVIER,
            dtype=dtype,
            rngs=rngs,
        )
        self.bn = nnx.BatchNorm(outputs, momentum=0.9, epsilon=1e-5, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps (batch, H, W, inputs) to (batch, H / stride, W / stride, outputs)."""
        return self.bn(self.conv(x), use_running_average=not train)
