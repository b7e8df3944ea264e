"""ABINet without its fusion: a vision branch reads a word, and a language branch corrects it.

"Read like humans: autonomous, bidirectional and iterative language modeling for scene text
recognition" (Fang et al., 2021), as LEMMA's published code runs it, once.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from textsr_jax.errors import UserError
from textsr_jax.models.layers.attention import AttentionLayer, Drop
from textsr_jax.models.layers.positions import sinusoid_table
from textsr_jax.models.layers.resnet import ConvNorm, ResNet45

# 25 characters and the end, and the classes: the end, then a-z and 0-9.
STEPS, CLASSES = 26, 37
# ImageNet's colours, by which images are normalised.
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# Of the convolutions before and after the bottleneck of the keys.
_STRIDES = ((1, 2), (2, 2), (2, 2), (2, 2))


class Reading(NamedTuple):
    """What ABINet makes of images.

    Attributes:
      maps: float32 (batch, 26, H / 4, W / 4), where the vision branch looks at each step; each map
        sums to 1.
      seen: float32 (batch, 26, 37), logits of the vision branch.
      read: float32 (batch, 26, 37), logits of the language branch.
      lengths: int32 (batch,), steps of the language branch's word with its end, 2 to 26.
    """

    maps: jax.Array
    seen: jax.Array
    read: jax.Array
    lengths: jax.Array


class ABINet(nnx.Module):
    """Reads images of words, (batch, 32, 128, 3) RGB in [0, 1].

    The defaults are the published branches, 36,194,922 parameters.

    Args:
      heads: of attention.
      hidden: the feed-forward size.
      encoder_layers: layers of the vision branch's encoder.
      decoder_layers: layers of the language branch.
      key_channels: channels of the convolutions that make the keys of the vision branch.
      channels: channels of the stem and of the five stages; the last is the width of all tokens.
      depths: blocks in each stage.
      dropout: rate of dropout in training.
      dtype: compute dtype; the parameters stay float32.
      rngs: draws the parameters.

    Raises:
      UserError: the last of `channels` is odd or no multiple of `heads`.
    """

    def __init__(
        self,
        heads: int = 8,
        hidden: int = 2048,
        encoder_layers: int = 3,
        decoder_layers: int = 4,
        key_channels: int = 64,
        channels: Sequence[int] = (32, 32, 64, 128, 256, 512),
        depths: Sequence[int] = (3, 4, 6, 6, 3),
        dropout: float = 0.1,
        *,
        dtype: jnp.dtype | None = None,
        rngs: nnx.Rngs,
    ):
        if channels[-1] % 2 or channels[-1] % heads:
            raise UserError(
                f"config.sr.abinet.channels={tuple(channels)}: the last must be even and a multiple"
                f" of config.sr.abinet.heads={heads}; change one of them"
            )
        self.vision = Vision(
            heads, hidden, encoder_layers, key_channels, channels, depths, dtype=dtype, rngs=rngs
        )
        self.language = Language(
            channels[-1], heads, hidden, decoder_layers, dtype=dtype, rngs=rngs
        )
        self.dropout = nnx.Dropout(dropout)

    def __call__(
        self, images: jax.Array, *, train: bool = False, rngs: nnx.Rngs | None = None
    ) -> Reading:
        """Reads images; no gradient of the language branch reaches the vision branch."""

        def drop(values: jax.Array) -> jax.Array:
            return self.dropout(values, deterministic=not train, rngs=rngs)

        images = (images - jnp.asarray(_MEAN)) / jnp.asarray(_DEVIATION)
        maps, seen = self.vision(images, drop, train=train)
        tokens = jax.lax.stop_gradient(jax.nn.softmax(seen))
        read = self.language(tokens, word_lengths(seen), drop)
        return Reading(maps, seen, read, word_lengths(read))


def targets(characters: jax.Array) -> jax.Array:
    """Classes of labels, int32 (batch, 26), 0 behind each word.

    Args:
      characters: int (batch, length), indices of `text.ALPHANUMERIC`, 0 behind each word. Words
        are cut after 26 characters.
    """
    # The alphabet has digits first, and the classes letters.
    classes = jnp.where(characters > 10, characters - 10, characters + 26)
    classes = jnp.where(characters > 0, classes, 0)[:, :STEPS]
    return jnp.pad(classes, ((0, 0), (0, STEPS - classes.shape[1])))


def word_lengths(logits: jax.Array) -> jax.Array:
    """Steps of the likeliest words with their ends, int32 (batch,), from (batch, steps, classes).

    A word of no characters counts as one of one character, as published.
    """
    ends = jnp.argmax(logits, axis=-1) == 0
    first = jnp.argmax(ends, axis=1) + 1
    return jnp.where(ends.any(axis=1), jnp.maximum(first, 2), logits.shape[1])


class Vision(nnx.Module):
    """ResNet45, a transformer, and attention of one query a step; see `ABINet`."""

    def __init__(
        self,
        heads: int,
        hidden: int,
        layers: int,
        key_channels: int,
        channels: Sequence[int],
        depths: Sequence[int],
        *,
        dtype: jnp.dtype | None,
        rngs: nnx.Rngs,
    ):
        width = channels[-1]
        self.backbone = ResNet45(channels, depths, dtype=dtype, rngs=rngs)
        self.encoder = nnx.List(
            AttentionLayer(width, heads, hidden, dtype=dtype, rngs=rngs) for _ in range(layers)
        )

        def conv(inputs: int, outputs: int, stride: int | tuple[int, int] = 1) -> ConvNorm:
            return ConvNorm(inputs, outputs, 3, stride, use_bias=True, dtype=dtype, rngs=rngs)

        self.reduce = nnx.List(
            conv(key_channels if index else width, key_channels, stride)
            for index, stride in enumerate(_STRIDES)
        )
        last = len(_STRIDES) - 1
        self.enlarge = nnx.List(
            conv(key_channels, width if index == last else key_channels)
            for index in range(len(_STRIDES))
        )
        self.project = nnx.Linear(width, width, dtype=dtype, rngs=rngs)
        self.classify = nnx.Linear(width, CLASSES, rngs=rngs)

    def __call__(
        self, images: jax.Array, drop: Drop, *, train: bool
    ) -> tuple[jax.Array, jax.Array]:
        """Attention maps and logits, as `Reading` has them, of normalised images."""
        x = self.backbone(images, train=train)
        batch, height, width, channels = x.shape
        tokens = x.reshape(batch, height * width, channels)
        tokens = drop(tokens + sinusoid_table(height * width, channels))
        for layer in self.encoder:
            tokens, _ = layer(tokens, tokens, tokens, tokens, drop)
        keys = self._keys(tokens.reshape(x.shape), train=train).reshape(tokens.shape)
        queries = self.project(jnp.asarray(sinusoid_table(STEPS, channels)))
        scores = jnp.einsum("td,bpd->btp", queries, keys, preferred_element_type=jnp.float32)
        attention = jax.nn.softmax(scores / channels**0.5)
        found = jnp.einsum("btp,bpd->btd", attention, tokens)
        return attention.reshape(batch, STEPS, height, width), self.classify(found)

    def _keys(self, features: jax.Array, *, train: bool) -> jax.Array:
        """Keys (batch, H, W, width): down, and up again with what was there on the way."""
        x, passed = features, []
        for conv in self.reduce:
            passed.append(x)
            x = nnx.relu(conv(x, train=train))
        for index, conv in enumerate(self.enlarge):
            rows, columns = _STRIDES[-1 - index]
            x = nnx.relu(conv(x.repeat(rows, axis=1).repeat(columns, axis=2), train=train))
            if index < len(self.enlarge) - 1:
                x = x + passed[-1 - index]
        return x


class Language(nnx.Module):
    """Corrects words: every step is read from the other steps alone.

    Args:
      width: width of tokens.
      heads: of attention.
      hidden: the feed-forward size.
      layers: number of layers.
      dtype: compute dtype.
      rngs: draws the parameters.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int,
        layers: int,
        *,
        dtype: jnp.dtype | None,
        rngs: nnx.Rngs,
    ):
        self.project = nnx.Linear(CLASSES, width, use_bias=False, dtype=dtype, rngs=rngs)
        self.decoder = nnx.List(
            AttentionLayer(width, heads, hidden, dtype=dtype, rngs=rngs) for _ in range(layers)
        )
        self.classify = nnx.Linear(width, CLASSES, rngs=rngs)

    def __call__(self, tokens: jax.Array, lengths: jax.Array, drop: Drop) -> jax.Array:
        """Logits float32 (batch, steps, classes).

        Args:
          tokens: float (batch, steps, classes), probabilities.
          lengths: int (batch,), how many steps count, 2 at least.
          drop: dropout.
        """
        memory = self.project(tokens)
        steps, width = memory.shape[1:]
        positions = sinusoid_table(steps, width)
        memory = drop(memory + positions)
        inside = jnp.arange(steps) < lengths[:, None]
        mask = inside[:, None] & ~np.eye(steps, dtype=bool)
        x = jnp.broadcast_to(positions, memory.shape)
        for layer in self.decoder:
            x, _ = layer(x, x, memory, memory, drop, mask)
        return self.classify(x)
