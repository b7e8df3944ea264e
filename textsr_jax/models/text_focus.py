"""The text-focus recogniser: the frozen reader whose attention and words guide super-resolution.

"Scene text telescope: text-focused scene image super-resolution" (Chen et al., 2021).
"""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from textsr_jax import text
from textsr_jax.models.layers.attention import Drop, LayerNorm, MultiHeadAttention
from textsr_jax.models.layers.convolution import Conv
from textsr_jax.models.layers.pooling import max_pool
from textsr_jax.models.layers.positions import sinusoid_table

_XAVIER = jax.nn.initializers.xavier_uniform()


class ConvBatchNorm(nnx.Module):
    """3x3 convolution and BatchNorm."""

    def __init__(self, inputs: int, outputs: int, *, dtype: jnp.dtype | None, rngs: nnx.Rngs):
        self.conv = Conv(inputs, outputs, (3, 3), kernel_init=_XAVIER, dtype=dtype, rngs=rngs)
        self.bn = nnx.BatchNorm(outputs, momentum=0.9, epsilon=1e-5, rngs=rngs)

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        return self.bn(self.conv(x), use_running_average=not train)


class ResidualBlock(nnx.Module):
    """Two convolutions with BatchNorm, added to the input. A third adapts its width if needed."""

    def __init__(self, inputs: int, outputs: int, *, dtype: jnp.dtype | None, rngs: nnx.Rngs):
        self.first = ConvBatchNorm(inputs, outputs, dtype=dtype, rngs=rngs)
        self.second = ConvBatchNorm(outputs, outputs, dtype=dtype, rngs=rngs)
        if inputs != outputs:
            self.shortcut = ConvBatchNorm(inputs, outputs, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        residual = self.second(nnx.relu(self.first(x, train=train)), train=train)
        if hasattr(self, "shortcut"):
            x = self.shortcut(x, train=train)
        return nnx.relu(x + residual)


class EncoderStage(nnx.Module):
    """Residual blocks, then one more convolution."""

    def __init__(
        self,
        inputs: int,
        channels: int,
        depth: int,
        outputs: int,
        *,
        dtype: jnp.dtype | None,
        rngs: nnx.Rngs,
    ):
        widths = [inputs] + [channels] * depth
        self.blocks = nnx.List(
            [
                ResidualBlock(before, after, dtype=dtype, rngs=rngs)
                for before, after in itertools.pairwise(widths)
            ]
        )
        self.end = ConvBatchNorm(widths[-1], outputs, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        for block in self.blocks:
            x = block(x, train=train)
        return nnx.relu(self.end(x, train=train))


class Encoder(nnx.Module):
    """Grey image (batch, H, W, 1) to features (batch, H / 4, W / 4, width)."""

    def __init__(
        self,
        stem_channels: tuple[int, int],
        stage_channels: tuple[int, ...],
        stage_depths: tuple[int, ...],
        width: int,
        *,
        dtype: jnp.dtype | None,
        rngs: nnx.Rngs,
    ):
        first, second = stem_channels
        self.stem = nnx.List(
            [
                ConvBatchNorm(1, first, dtype=dtype, rngs=rngs),
                ConvBatchNorm(first, second, dtype=dtype, rngs=rngs),
            ]
        )
        inputs = (second, *stage_channels[:-1])
        outputs = (*stage_channels[:-1], width)
        self.stages = nnx.List(
            [
                EncoderStage(*sizes, dtype=dtype, rngs=rngs)
                for sizes in zip(inputs, stage_channels, stage_depths, outputs, strict=True)
            ]
        )

    def __call__(self, gray: jax.Array, *, train: bool) -> jax.Array:
        x = gray
        for conv in self.stem:
            x = nnx.relu(conv(x, train=train))
            x = max_pool(x)
        for stage in self.stages:
            x = stage(x, train=train)
        return x


class FocusDecoder(nnx.Module):
    """A transformer decoder layer; a residual sum and LayerNorm follow each of its three parts."""

    def __init__(
        self,
        width: int,
        heads: int,
        feed_forward: int,
        *,
        dtype: jnp.dtype | None,
        rngs: nnx.Rngs,
    ):
        self.self_attention = MultiHeadAttention(width, heads, dtype=dtype, rngs=rngs)
        self.norm1 = LayerNorm(width)
        self.cross_attention = MultiHeadAttention(width, heads, dtype=dtype, rngs=rngs)
        self.norm2 = LayerNorm(width)
        self.linear1 = nnx.Linear(width, feed_forward, kernel_init=_XAVIER, dtype=dtype, rngs=rngs)
        self.linear2 = nnx.Linear(feed_forward, width, kernel_init=_XAVIER, dtype=dtype, rngs=rngs)
        self.norm3 = LayerNorm(width)

    def __call__(self, x: jax.Array, memory: jax.Array, drop: Drop) -> tuple[jax.Array, jax.Array]:
        steps = x.shape[1]
        causal = np.tril(np.ones((steps, steps), bool))
        x = self.norm1(x + self.self_attention(x, x, causal, drop=drop)[0])
        read, attention = self.cross_attention(x, memory, drop=drop)
        x = self.norm2(x + read)
        x = self.norm3(x + self.linear2(drop(nnx.relu(self.linear1(x)))))
        return x, attention


class TextFocusRecognizer(nnx.Module):
    """Reads a word character by character, and returns where it looked.

    The defaults are the published network, 62,314,917 parameters without two unused layers.

    Args:
      stem_channels: of the two convolutions in front.
      stage_channels: of the stages of residual blocks; the last one ends at `width`.
      stage_depths: number of blocks in each stage.
      width: of the decoder's tokens.
      heads: of attention.
      feed_forward: hidden width of the decoder's feed-forward part.
      embedding: width of a character's embedding, the first part of a token; the rest is its
        position.
      dropout: rate of dropout in training. The published code has 0.1, of the position table, of
        both attention maps and of the feed-forward part's hidden layer. The frozen recogniser of
        the loss runs in evaluation mode, without dropout.
      dtype: compute dtype; logits and attention maps are always float32.
      rngs: draws the parameters.
    """

    def __init__(
        self,
        stem_channels: tuple[int, int] = (64, 128),
        stage_channels: tuple[int, ...] = (256, 256, 512, 512),
        stage_depths: tuple[int, ...] = (1, 2, 5, 3),
        width: int = 1024,
        heads: int = 16,
        feed_forward: int = 2048,
        embedding: int = 512,
        dropout: float = 0.0,
        *,
        dtype: jnp.dtype | None = None,
        rngs: nnx.Rngs,
    ):
        self.position_width = width - embedding
        self.embedding = nnx.Embed(
            text.NUM_FOCUS_CLASSES, embedding, embedding_init=_XAVIER, rngs=rngs
        )
        self.encoder = Encoder(
            stem_channels, stage_channels, stage_depths, width, dtype=dtype, rngs=rngs
        )
        self.decoder = FocusDecoder(width, heads, feed_forward, dtype=dtype, rngs=rngs)
        self.dropout = nnx.Dropout(dropout)
        self.classifier = nnx.Linear(width, text.NUM_FOCUS_CLASSES, kernel_init=_XAVIER, rngs=rngs)

    def __call__(
        self,
        gray: jax.Array,
        tokens: jax.Array,
        *,
        train: bool = False,
        rngs: nnx.Rngs | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """Reads words, each step told the characters before it.

        Args:
          gray: float (batch, 32, 128, 1) in [0, 1]; see `to_gray`.
          tokens: int32 (batch, steps), the inputs of `text.focus_tokens`.
          train: normalises by the batch and updates the statistics.
          rngs: needed for dropout in training.

        Returns:
          Logits, float32 (batch, steps, 37), of the character at each step, and the attention maps
          of the image, float32 (batch, heads, steps, 256), positions row by row (8 rows of 32).
        """

        def drop(values: jax.Array) -> jax.Array:
            return self.dropout(values, deterministic=not train, rngs=rngs)

        features = self.encoder(gray, train=train)
        memory = features.reshape(len(features), -1, features.shape[-1])
        characters = self.embedding(tokens)
        characters = characters * math.sqrt(characters.shape[-1])
        table = sinusoid_table(tokens.shape[1], self.position_width)
        positions = drop(jnp.broadcast_to(table, (len(tokens), *table.shape)))
        x, attention = self.decoder(jnp.concatenate([characters, positions], axis=-1), memory, drop)
        return self.classifier(x), attention
