"""EDSR x2, the paper's super-resolution network.

"Enhanced deep residual networks for single image super-resolution" (Lim et al., 2017).
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from textsr_jax.models.layers.convolution import KERNEL_INIT, Conv
from textsr_jax.models.layers.pixels import RGB_MEAN, SCALE, pixel_shuffle


def _conv(inputs: int, outputs: int, dtype: jnp.dtype | None, rngs: nnx.Rngs) -> Conv:
    return Conv(inputs, outputs, (3, 3), kernel_init=KERNEL_INIT, dtype=dtype, rngs=rngs)


class ResidualBlock(nnx.Module):
    """Convolution, ReLU, convolution, scaled down and added to the input."""

    def __init__(
        self, channels: int, residual_scale: float, *, dtype: jnp.dtype | None, rngs: nnx.Rngs
    ):
        self.residual_scale = residual_scale
        self.conv1 = _conv(channels, channels, dtype, rngs)
        self.conv2 = _conv(channels, channels, dtype, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return x + self.conv2(nnx.relu(self.conv1(x))) * self.residual_scale


class EDSR(nnx.Module):
    """EDSR for scale 2, without batch normalisation; any image size.

    The defaults are EDSR-32x256 of the paper, 40,729,603 parameters.

    Args:
      blocks: number of residual blocks.
      channels: width of every block.
      residual_scale: factor of each block's residual; 0.1 keeps a wide network stable.
      remat: in training, whether the backward pass computes each block again from its input instead
        of keeping its inner results. That takes less memory and a third more work; gradients are
        the same.
      dtype: compute dtype; the parameters stay float32.
      rngs: draws the parameters.
    """

    # Applied after `upsample`. An attribute, because ONNX graphs shuffle whole blocks of channels.
    shuffle = staticmethod(pixel_shuffle)

    def __init__(
        self,
        blocks: int = 32,
        channels: int = 256,
        residual_scale: float = 0.1,
        remat: bool = False,
        *,
        dtype: jnp.dtype | None = None,
        rngs: nnx.Rngs,
    ):
        self.remat = remat
        self.head = _conv(3, channels, dtype, rngs)
        self.blocks = nnx.List(
            [ResidualBlock(channels, residual_scale, dtype=dtype, rngs=rngs) for _ in range(blocks)]
        )
        self.body_end = _conv(channels, channels, dtype, rngs)
        self.upsample = _conv(channels, SCALE**2 * channels, dtype, rngs)
        self.tail = _conv(channels, 3, dtype, rngs)

    def __call__(
        self, lr: jax.Array, *, train: bool = False, rngs: nnx.Rngs | None = None
    ) -> jax.Array:
        """Enlarges images twice.

        Args:
          lr: float (batch, H, W, 3), RGB in [0, 1].
          train: whether gradients will be taken: `remat` is for them.
          rngs: not used; there is no dropout.

        Returns:
          float32 (batch, 2 H, 2 W, 3), RGB around [0, 1], not clipped.
        """
        mean = np.asarray(RGB_MEAN, np.float32)
        head = self.head(lr - mean)
        features = head
        for block in self.blocks:
            run = jax.checkpoint(block) if self.remat and train else block
            features = run(features)
        features = self.body_end(features) + head
        features = self.shuffle(self.upsample(features), SCALE)
        sr = self.tail(features)
        return sr.astype(jnp.float32) + mean
