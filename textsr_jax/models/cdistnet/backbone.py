"""The backbone of CDistNet: images to columns of features."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from textsr_jax.models.layers.resnet import ConvNorm, ResNet45


class Backbone(ResNet45):
    """ResNet45 and a convolution: images (batch, 32, 128, 3) to 4x16 features, column by column.

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
        super().__init__(channels, depths, dtype=dtype, rngs=rngs)
        self.last = ConvNorm(channels[-1], width, 3, 2, use_bias=True, dtype=dtype, rngs=rngs)

    def __call__(self, values: jax.Array, *, train: bool = False) -> jax.Array:
        """Maps (batch, H, W, 3) to (batch, H / 8 x W / 8, width), one column after another."""
        x = jax.nn.relu(self.last(super().__call__(values, train=train), train=train))
        batch, height, width, features = x.shape
        return x.swapaxes(1, 2).reshape(batch, width * height, features)
