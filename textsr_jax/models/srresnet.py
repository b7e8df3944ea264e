"""SRResNet x2: the frame around the blocks of TSRN, TBSRN and TPGSR.

"Photo-realistic single image super-resolution using a generative adversarial network" (Ledig et
al., 2017), with Mish, one-step upsampling and tanh as published with TSRN.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from textsr_jax.models.layers.convolution import KERNEL_INIT, Conv
from textsr_jax.models.layers.pixels import SCALE, pixel_shuffle


def mish(x: jax.Array) -> jax.Array:
    """x tanh(log(1 + e^x)), "Mish: a self regularized non-monotonic activation" (Misra, 2020)."""
    # The same with a single exponential. Above 20 the tanh is 1 to the last digit.
    power = jnp.exp(jnp.minimum(x, 20))
    power = power * (power + 2)
    return x * (power / (power + 2))


class ConvPair(nnx.Module):
    """3x3 convolution, BatchNorm, Mish, 3x3 convolution, BatchNorm."""

    def __init__(
        self,
        channels: int,
        *,
        kernel_init: jax.nn.initializers.Initializer = KERNEL_INIT,
        dtype: jnp.dtype | None,
        rngs: nnx.Rngs,
    ):
        def conv() -> Conv:
            return Conv(channels, channels, (3, 3), kernel_init=kernel_init, dtype=dtype, rngs=rngs)

        self.conv1 = conv()
        self.bn1 = nnx.BatchNorm(channels, momentum=0.9, epsilon=1e-5, rngs=rngs)
        self.conv2 = conv()
        self.bn2 = nnx.BatchNorm(channels, momentum=0.9, epsilon=1e-5, rngs=rngs)

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = mish(self.bn1(self.conv1(x), use_running_average=not train))
        return self.bn2(self.conv2(x), use_running_average=not train)


class SRResNet(nnx.Module):
    """Super-resolution x2 with blocks of any kind.

    Args:
      make_block: makes a block, which is called as `block(features, *beside, train=train,
        rngs=rngs)` and keeps the shape (batch, H, W, channels).
      blocks: number of blocks.
      channels: width of the features.
      image_channels: channels of the images, LR and SR; 4 with a mask (`layers.pixels.with_mask`).
      dtype: compute dtype; the parameters stay float32.
      rngs: draws the parameters.
    """

    # Applied after `upsample`; see `EDSR.shuffle`.
    shuffle = staticmethod(pixel_shuffle)

    def __init__(
        self,
        make_block: Callable[[], nnx.Module],
        blocks: int,
        channels: int,
        *,
        image_channels: int = 3,
        dtype: jnp.dtype | None,
        rngs: nnx.Rngs,
    ):
        def conv(inputs: int, outputs: int, size: int) -> Conv:
            return Conv(
                inputs, outputs, (size, size), kernel_init=KERNEL_INIT, dtype=dtype, rngs=rngs
            )

        self.head = conv(image_channels, channels, 9)
        # PReLU's one parameter, with PyTorch's first value.
        self.slope = nnx.Param(jnp.full(1, 0.25))
        self.blocks = nnx.List([make_block() for _ in range(blocks)])
        self.body_end = conv(channels, channels, 3)
        self.body_end_bn = nnx.BatchNorm(channels, momentum=0.9, epsilon=1e-5, rngs=rngs)
        self.upsample = conv(channels, SCALE**2 * channels, 3)
        self.tail = conv(channels, image_channels, 9)

    def __call__(
        self,
        lr: jax.Array,
        *beside: jax.Array,
        train: bool = False,
        rngs: nnx.Rngs | None = None,
    ) -> jax.Array:
        """Enlarges images twice.

        Args:
          lr: float (batch, H, W, image channels), RGB in [0, 1], and the mask where there is one.
          beside: other inputs, which `context` takes; none for most networks.
          train: normalises by the batch and updates the statistics.
          rngs: needed for dropout in training, where the blocks have any.

        Returns:
          float32 (batch, 2 H, 2 W, image channels), around [0, 1], in (-1, 1) and not clipped.
        """
        head = self.head(lr)
        head = jnp.where(head > 0, head, head * self.slope[...])
        beside = self.context(head, *beside, train=train, rngs=rngs)
        features = head
        for block in self.blocks:
            features = block(features, *beside, train=train, rngs=rngs)
        features = self.body_end(features)
        features = self.body_end_bn(features, use_running_average=not train)
        features = self.upsample(head + features)
        features = mish(self.shuffle(features, SCALE))
        return jnp.tanh(self.tail(features).astype(jnp.float32))

    def context(
        self, head: jax.Array, *beside: jax.Array, train: bool, rngs: nnx.Rngs | None
    ) -> tuple[jax.Array, ...]:
        """What every block is given besides the features; a network may make it of its inputs.

        Args:
          head: the first features, (batch, H, W, channels).
          beside: the other inputs of the network.
          train: whether the network is trained.
          rngs: for dropout in training.
        """
        del head, train, rngs
        return beside
