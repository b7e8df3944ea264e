"""TBSRN, the paper's baseline for super-resolution: each block attends to the whole image.

"Scene text telescope: text-focused scene image super-resolution" (Chen et al., 2021), as its
published code computes it, without the STN in front.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from textsr_jax.errors import UserError
from textsr_jax.models.layers.attention import Drop, LayerNorm, MultiHeadAttention, keep
from textsr_jax.models.layers.positions import sinusoid_table
from textsr_jax.models.srresnet import ConvPair, SRResNet

_XAVIER = jax.nn.initializers.xavier_uniform()


@functools.lru_cache
def position_table(height: int, width: int, channels: int) -> np.ndarray:
    """Sines and cosines of each pixel's place, float32 (height, width, channels), read-only.

    The first half of the channels encodes the column, the second half the row.
    """
    columns, rows = sinusoid_table(width, channels // 2), sinusoid_table(height, channels // 2)
    table = np.concatenate(
        [
            np.broadcast_to(columns, (height, *columns.shape)),
            np.broadcast_to(rows[:, None], (height, width, channels // 2)),
        ],
        axis=-1,
    )
    table.flags.writeable = False
    return table


class FeatureEnhancer(nnx.Module):
    """A transformer layer over all pixels, each with its place appended."""

    def __init__(self, channels: int, heads: int, *, dtype: jnp.dtype | None, rngs: nnx.Rngs):
        def linear(inputs: int, outputs: int) -> nnx.Linear:
            return nnx.Linear(inputs, outputs, kernel_init=_XAVIER, dtype=dtype, rngs=rngs)

        width = 2 * channels
        self.attention = MultiHeadAttention(width, heads, dtype=dtype, rngs=rngs)
        self.norm1 = LayerNorm(width)
        self.linear1, self.linear2 = linear(width, width), linear(width, width)
        self.norm2 = LayerNorm(width)
        self.out = linear(width, channels)

    def __call__(self, x: jax.Array, drop: Drop = keep) -> jax.Array:
        batch, height, width, channels = x.shape
        places = position_table(height, width, channels).astype(x.dtype)
        tokens = jnp.concatenate([x, jnp.broadcast_to(places, x.shape)], axis=-1)
        tokens = tokens.reshape(batch, height * width, 2 * channels)
        tokens = self.norm1(tokens + self.attention(tokens, tokens, drop=drop)[0])
        tokens = self.norm2(tokens + self.linear2(drop(nnx.relu(self.linear1(tokens)))))
        return self.out(tokens).reshape(x.shape)


class AttentionBlock(nnx.Module):
    """Two convolutions and the feature enhancer, added to the input."""

    def __init__(
        self,
        channels: int,
        heads: int,
        dropout: float,
        *,
        dtype: jnp.dtype | None,
        rngs: nnx.Rngs,
    ):
        self.convs = ConvPair(channels, kernel_init=_XAVIER, dtype=dtype, rngs=rngs)
        self.enhancer = FeatureEnhancer(channels, heads, dtype=dtype, rngs=rngs)
        self.dropout = nnx.Dropout(dropout)

    def __call__(self, x: jax.Array, *, train: bool, rngs: nnx.Rngs | None) -> jax.Array:
        def drop(values: jax.Array) -> jax.Array:
            return self.dropout(values, deterministic=not train, rngs=rngs)

        return x + self.enhancer(self.convs(x, train=train), drop)


class TBSRN(SRResNet):
    """TBSRN for scale 2; any image size.

    The defaults are the published network, 1,125,700 parameters without unused layers.

    Args:
      blocks: number of blocks.
      channels: width of every block, a multiple of 4; the tokens of attention are twice as wide.
      heads: of attention; a divisor of 2 x `channels`.
      dropout: rate of dropout in training, of attention maps and of the hidden layer after them;
        0.1 in the published training.
      dtype: compute dtype; the parameters stay float32.
      rngs: draws the parameters as published: Xavier uniform in the blocks, PyTorch's default
        outside of them; biases start at zero.

    Raises:
      UserError: `channels` does not suit the position table or `heads`.
    """

    def __init__(
        self,
        blocks: int = 5,
        channels: int = 64,
        heads: int = 4,
        dropout: float = 0.0,
        *,
        dtype: jnp.dtype | None = None,
        rngs: nnx.Rngs,
    ):
        if channels % 4 or 2 * channels % heads:
            raise UserError(
                f"config.sr.tbsrn.channels={channels}: must be a multiple of 4, and twice that of "
                f"config.sr.tbsrn.heads={heads}; change one of them"
            )

        def make_block() -> AttentionBlock:
            return AttentionBlock(channels, heads, dropout, dtype=dtype, rngs=rngs)

        super().__init__(make_block, blocks, channels, dtype=dtype, rngs=rngs)
