"""CDistNet, the recogniser: spline rectifier, ResNet45, encoder and the MDCDP decoder.

"CDistNet: Perceiving multi-domain character distance for robust text recognition" (Zheng et al.,
2021), as its published code computes it. Decoding strategies live in `textsr_jax.decoding`.
"""

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from textsr_jax.errors import UserError
from textsr_jax.models.layers.convolution import Conv
from textsr_jax.models.layers.pooling import max_pool
from textsr_jax.models.layers.positions import sinusoid_table
from textsr_jax.models.layers.sampling import bilinear_sample
from textsr_jax.text import NUM_TOKENS, PAD

NUM_CONTROL_POINTS = 20
STAGE_STRIDES = (2, 1, 2, 1, 1)

KeyValue = tuple[jax.Array, jax.Array]
Drop = Callable[[jax.Array], jax.Array]

_xavier = nnx.initializers.xavier_uniform()


class DecodingCache(NamedTuple):
    """What cached decoding remembers; made by `CDistNet.init_cache`.

    The leading axis of a leaf is words (one per image) where the beams of a word share it, rows =
    words x beams where every beam has its own history, and 1 where all share it: the positional
    stream enters the first layer alike for all, and the semantic stream is the sum of an embedding
    and a position, which its keys and values, being linear, are sums of as well.

    Attributes:
      memory: per MDCDP layer, keys and values of the visual memory, each
        (words, heads, memory length, width / heads).
      stream: the positional stream that enters the first layer, (1, steps, width).
      first: that stream after the first layer has looked at it and at the image, (1, steps, width),
        and what it saw there, (words, steps, width); so it is as long as no pad has been read.
      positional: per layer, keys and values of the positional stream; those of the first layer are
        there from the start, (1, heads, steps, width / heads), those of the others so far, rows
        instead of 1.
      semantic: per layer, keys and values of each token, (1, heads, 40, width / heads), and what
        each position adds to them, (1, heads, steps, width / heads).
      tokens: int32 (rows, steps), the tokens read so far; pads behind them.
    """

    memory: tuple[KeyValue, ...]
    stream: jax.Array
    first: tuple[jax.Array, jax.Array]
    positional: tuple[KeyValue, ...]
    semantic: tuple[tuple[KeyValue, KeyValue], ...]
    tokens: jax.Array


class CDistNet(nnx.Module):
    """Reads words from images: float32 (batch, 32, 128, 3) RGB in [0, 1], to 40 token classes.

    Tokens are those of `textsr_jax.text`: 0 pad, 1 unknown, 2 start, 3 end, then 0-9, a-z.
    The defaults are the published network, 46,523,464 parameters.

    Args:
      width: size of every token in the transformers; even, and a multiple of `heads`.
      heads: attention heads.
      encoder_layers: layers of the visual encoder.
      decoder_layers: MDCDP layers.
      encoder_hidden: feed-forward size in the encoder.
      decoder_hidden: feed-forward size in MDCDP.
      positional_hidden: inner size of the positional branch.
      channels: channels of the backbone's stem and of its five stages.
      depths: blocks in each of the five stages.
      rectify: whether a spline rectifier stands before the backbone.
      rectifier_channels: channels of its four convolutions.
      rectifier_features: size of its hidden layer.
      dropout: rate of dropout where the published code has it: after each position table is added
        and on every residual branch, never inside attention or feed-forward.
      dtype: compute dtype, None for float32. The control points, the spline and the output layer
        are always float32.
      rngs: draws the parameters: Xavier uniform kernels and zero biases.

    Raises:
      UserError: `width` does not suit `heads`.
    """

    def __init__(
        self,
        *,
        width: int = 512,
        heads: int = 8,
        encoder_layers: int = 3,
        decoder_layers: int = 3,
        encoder_hidden: int = 2048,
        decoder_hidden: int = 1024,
        positional_hidden: int = 512,
        channels: Sequence[int] = (32, 32, 64, 128, 256, 512),
        depths: Sequence[int] = (3, 4, 6, 6, 3),
        rectify: bool = True,
        rectifier_channels: Sequence[int] = (64, 128, 256, 512),
        rectifier_features: int = 256,
        dropout: float = 0.1,
        dtype: jnp.dtype | None = None,
        rngs: nnx.Rngs,
    ):
        if width % heads or width % 2:
            raise UserError(
                f"config.ocr.cdistnet.width={width}: must be even and a multiple of "
                f"config.ocr.cdistnet.heads={heads}; change one of them"
            )
        self.width, self.heads = width, heads
        self.dropout = nnx.Dropout(dropout)
        self.rectifier = (
            Rectifier(rectifier_channels, rectifier_features, dtype=dtype, rngs=rngs)
            if rectify
            else None
        )
        self.backbone = ResNet45(channels, depths, width, dtype=dtype, rngs=rngs)
        self.encoder = nnx.List(
            SelfAttentionLayer(width, heads, encoder_hidden, dtype=dtype, rngs=rngs)
            for _ in range(encoder_layers)
        )
        self.embedding = nnx.Embed(
            NUM_TOKENS, width, embedding_init=_xavier, dtype=dtype, rngs=rngs
        )
        self.positional_branch = PositionalBranch(width, positional_hidden, dtype=dtype, rngs=rngs)
        self.mdcdp = nnx.List(
            MDCDPLayer(width, heads, decoder_hidden, dtype=dtype, rngs=rngs)
            for _ in range(decoder_layers)
        )
        self.fusion = _linear(2 * width, width, dtype=dtype, rngs=rngs)
        self.output = nnx.Linear(
            width,
            NUM_TOKENS,
            use_bias=False,
            kernel_init=nnx.initializers.normal(width**-0.5),
            dtype=jnp.float32,
            rngs=rngs,
        )

    def __call__(
        self,
        images: jax.Array,
        tokens: jax.Array,
        *,
        train: bool = False,
        rngs: nnx.Rngs | None = None,
    ) -> jax.Array:
        """Logits of each next token by teacher forcing.

        Args:
          images: (batch, 32, 128, 3) in [0, 1].
          tokens: int32 (batch, length), the start token first; pads are never attended to.
          train: normalise by the batch's statistics (and update the running ones) and drop out.
          rngs: needed for dropout in training.

        Returns:
          float32 (batch, length, 40); `logits[:, t]` speaks of token t + 1.
        """
        memory = self.encode(images, train=train, rngs=rngs)
        return self.decode(memory, tokens, train=train, rngs=rngs)

    def rectify(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Images in [0, 1] as the backbone sees them: pixel / 128 - 1, rectified if asked for."""
        values = images * (255 / 128) - 1
        return values if self.rectifier is None else self.rectifier(values, train=train)

    def encode(
        self, images: jax.Array, *, train: bool = False, rngs: nnx.Rngs | None = None
    ) -> jax.Array:
        """The visual memory (batch, 64, width) of images (batch, 32, 128, 3) in [0, 1]."""
        return self.encode_rectified(self.rectify(images, train=train), train=train, rngs=rngs)

    def encode_rectified(
        self, values: jax.Array, *, train: bool = False, rngs: nnx.Rngs | None = None
    ) -> jax.Array:
        """The visual memory of what `rectify` returns."""
        drop = self._drop(train, rngs)
        x = self.backbone(values, train=train)
        x = drop(x + jnp.asarray(sinusoid_table(x.shape[1], self.width), x.dtype))
        for layer in self.encoder:
            query, key_value = layer.project(x)
            x = layer(x, attention_output(query, *key_value, None), drop)
        return x

    def decode(
        self,
        memory: jax.Array,
        tokens: jax.Array,
        *,
        train: bool = False,
        rngs: nnx.Rngs | None = None,
    ) -> jax.Array:
        """Logits (batch, length, 40) of tokens (batch, length) read against `encode`'s memory."""
        drop = self._drop(train, rngs)
        length = tokens.shape[1]
        table = sinusoid_table(length, self.width)
        semantic = drop(self._embed(tokens, table))
        positions = jnp.broadcast_to(jnp.asarray(table, semantic.dtype), semantic.shape)
        x = self.positional_branch(drop(positions))
        mask = (tokens != PAD)[:, None, None, :] & np.tri(length, dtype=bool)
        for layer in self.mdcdp:
            query, key_value = layer.positional.project(x)
            attended = attention_output(query, *key_value, mask)
            x, seen = layer.look(x, attended, layer.visual.read(memory), drop)
            key, value = layer.semantic.read(semantic)
            attend = functools.partial(attention_output, key=key, value=value, mask=mask)
            x = layer.read(x, seen, attend, self.fusion, drop)
        return self.output(x)

    def init_cache(self, memory: jax.Array, steps: int, beams: int = 1) -> DecodingCache:
        """An empty cache for decoding up to `steps` tokens.

        Args:
          memory: `encode`'s (words, 64, width); its keys and values are computed here, once.
          steps: how many tokens will be read at most.
          beams: rows per word; row w x beams + b is beam b of word w.
        """
        rows = memory.shape[0] * beams
        memories = tuple(layer.visual.read(memory) for layer in self.mdcdp)
        table = jnp.asarray(sinusoid_table(steps, self.width), memory.dtype)[None]
        stream = self.positional_branch(table)
        first, *others = self.mdcdp
        query, key_value = first.positional.project(stream)
        attended = attention_output(query, *key_value, np.tri(steps, dtype=bool))
        empty = jnp.zeros((rows, *query.shape[1:]), memory.dtype)
        tokens = self._embed(jnp.arange(NUM_TOKENS)[None], 0)
        return DecodingCache(
            memory=memories,
            stream=stream,
            first=first.look(stream, attended, memories[0], _keep),
            positional=(key_value, *((empty, empty) for _ in others)),
            semantic=tuple(layer.semantic.read_addends(tokens, table) for layer in self.mdcdp),
            tokens=jnp.full((rows, steps), PAD, jnp.int32),
        )

    def decode_step(
        self, tokens: jax.Array, position: jax.Array, cache: DecodingCache
    ) -> tuple[jax.Array, DecodingCache]:
        """Reads one more token per row; the logits are those of `decode` on the same prefix.

        Args:
          tokens: int32 (rows,), the tokens at `position`; the start token at position 0.
          position: int32 scalar, 0 .. steps - 1, without gaps.
          cache: from `init_cache` or the step before.

        Returns:
          float32 logits (rows, 40) of the tokens at `position` + 1, and the new cache.
        """
        rows = len(tokens)
        read = _write(cache.tokens, tokens[:, None], position, axis=1)
        past = jnp.arange(read.shape[1]) <= position
        visible = past & (read != PAD)
        mask = visible[:, None, None, :]

        def here(stream: jax.Array) -> jax.Array:
            stream = jax.lax.dynamic_slice_in_dim(stream, position, 1, axis=1)
            return jnp.repeat(stream, rows // len(stream), axis=0)

        def recall() -> tuple[jax.Array, jax.Array]:
            x, seen = cache.first
            return here(x), here(seen)

        def look() -> tuple[jax.Array, jax.Array]:
            layer, x = self.mdcdp[0], here(cache.stream)
            query, _ = layer.positional.project(x)
            attended = attention_output(query, *cache.positional[0], mask)
            return layer.look(x, attended, cache.memory[0], _keep)

        positional = [cache.positional[0]]
        x, seen = jax.lax.cond((visible == past).all(), recall, look)
        for index, layer in enumerate(self.mdcdp):
            if index > 0:
                query, (key, value) = layer.positional.project(x)
                keys, values = cache.positional[index]
                keys = _write(keys, key, position, axis=2)
                values = _write(values, value, position, axis=2)
                positional.append((keys, values))
                attended = attention_output(query, keys, values, mask)
                x, seen = layer.look(x, attended, cache.memory[index], _keep)
            semantic = functools.partial(
                attend_sums, addends=cache.semantic[index], tokens=read, mask=mask
            )
            x = layer.read(x, seen, semantic, self.fusion, _keep)
        logits = self.output(x[:, 0])
        return logits, cache._replace(positional=tuple(positional), tokens=read)

    def _embed(self, tokens: jax.Array, positions: np.ndarray | jax.Array) -> jax.Array:
        embedded = self.embedding(tokens)
        return embedded * math.sqrt(self.width) + jnp.asarray(positions, embedded.dtype)

    def _drop(self, train: bool, rngs: nnx.Rngs | None) -> Drop:
        return lambda x: self.dropout(x, deterministic=not train, rngs=rngs)


class Rectifier(nnx.Module):
    """The rectifier of RARE (Shi et al., 2016): 20 control points bend a thin-plate spline.

    It starts as (very nearly) the identity: the last layer has zero weight and the target points as
    its bias. The published code slants the bias and then draws that weight at random, by accident.

    Args:
      channels: channels of the four convolutions.
      features: size of the hidden layer.
      dtype: compute dtype of all but the control points and the spline, which stay float32.
      rngs: draws the parameters.
    """

    def __init__(
        self,
        channels: Sequence[int],
        features: int,
        *,
        dtype: jnp.dtype | None = None,
        rngs: nnx.Rngs,
    ):
        sizes = (3, *channels)
        self.convs = nnx.List(
            ConvNorm(inputs, outputs, 3, dtype=dtype, rngs=rngs)
            for inputs, outputs in itertools.pairwise(sizes)
        )
        self.fc1 = _linear(channels[-1], features, dtype=dtype, rngs=rngs)
        self.fc2 = nnx.Linear(
            features,
            2 * NUM_CONTROL_POINTS,
            kernel_init=nnx.initializers.zeros,
            bias_init=lambda key, shape, dtype: jnp.asarray(target_points().reshape(shape), dtype),
            dtype=jnp.float32,
            rngs=rngs,
        )

    def control_points(self, values: jax.Array, *, train: bool = False) -> jax.Array:
        """Where the target points lie in the images: float32 (batch, 20, 2), x and y in [-1, 1]."""
        x = values
        for index, conv in enumerate(self.convs):
            if index:
                x = max_pool(x)
            x = jax.nn.relu(conv(x, train=train))
        x = jax.nn.relu(self.fc1(x.mean((1, 2))))
        return self.fc2(x).reshape(-1, NUM_CONTROL_POINTS, 2)

    def __call__(self, values: jax.Array, *, train: bool = False) -> jax.Array:
        """Rectifies (batch, H, W, 3) values of any scale; what lies outside repeats the border."""
        batch, height, width, _ = values.shape
        grid = jnp.einsum(
            "pk,bkc->cbp",
            _spline(height, width),
            self.control_points(values, train=train),
            precision=jax.lax.Precision.HIGHEST,
        ).reshape(2, batch, height, width)
        x, y = (grid[0] + 1) * ((width - 1) / 2), (grid[1] + 1) * ((height - 1) / 2)
        return bilinear_sample(values, x, y, padding="border")


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
        self.stages = nnx.List()
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
    """A residual block: 1x1 convolution, then a 3x3 one, which may be strided."""

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
    """A convolution padded by half its kernel, and BatchNorm."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int = 1,
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
            kernel_init=_xavier,
            dtype=dtype,
            rngs=rngs,
        )
        self.bn = nnx.BatchNorm(outputs, momentum=0.9, epsilon=1e-5, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps (batch, H, W, inputs) to (batch, H / stride, W / stride, outputs)."""
        return self.bn(self.conv(x, train=train), use_running_average=not train)


class PositionalBranch(nnx.Module):
    """What MDCDP starts from: the position table through a small residual network."""

    def __init__(self, width: int, hidden: int, *, dtype: jnp.dtype | None, rngs: nnx.Rngs):
        self.linear1 = _linear(width, hidden, dtype=dtype, rngs=rngs)
        self.linear2 = _linear(hidden, width, dtype=dtype, rngs=rngs)
        self.norm = _layer_norm(width, dtype=dtype, rngs=rngs)

    def __call__(self, positions: jax.Array) -> jax.Array:
        """Maps rows of the position table (..., width) to the positional stream, same shape."""
        return self.norm(positions + self.linear2(jax.nn.relu(self.linear1(positions))))


class MDCDPLayer(nnx.Module):
    """Multi-domain character distance perception: position asks itself, the image and the text."""

    def __init__(
        self, width: int, heads: int, hidden: int, *, dtype: jnp.dtype | None, rngs: nnx.Rngs
    ):
        self.positional = SelfAttentionLayer(width, heads, hidden, dtype=dtype, rngs=rngs)
        self.visual = CrossAttentionLayer(width, heads, hidden, dtype=dtype, rngs=rngs)
        self.semantic = CrossAttentionLayer(width, heads, hidden, dtype=dtype, rngs=rngs)

    def look(
        self, x: jax.Array, positional: jax.Array, visual: KeyValue, drop: Drop
    ) -> tuple[jax.Array, jax.Array]:
        """The first half of the layer: at itself, and at the image.

        Args:
          x: the positional stream of rows = words x beams, (rows, length, width), or of 1 row that
            stands for all.
          positional: what its self-attention has read, shaped like `x`.
          visual: keys and values of the memory, (words, heads, 64, head size).
          drop: dropout.

        Returns:
          The positional stream, shaped like `x`, and what it saw, (rows, length, width), or (words,
          length, width) for 1 row.
        """
        x = self.positional(x, positional, drop)
        words = len(visual[0])
        if len(x) == 1:
            flat = jnp.broadcast_to(x, (words, *x.shape[1:]))
        else:
            # The beams of a word line up as further queries to its one memory.
            flat = x.reshape(words, -1, x.shape[-1])
        seen = self.visual(flat, attention_output(self.visual.project(flat), *visual, None), drop)
        return x, seen.reshape(-1, *x.shape[1:])

    def read(
        self,
        x: jax.Array,
        seen: jax.Array,
        semantic: Callable[[jax.Array], jax.Array],
        fusion: nnx.Linear,
        drop: Drop,
    ) -> jax.Array:
        """The second half: at the text, and the fusion of both.

        Args:
          x, seen: of `look`, both (rows, length, width).
          semantic: reads the semantic stream, from queries (rows, heads, length, head size) to the
            shape of `x`.
          fusion: the gate, which all layers share.
          drop: dropout.

        Returns:
          The new positional stream, shaped like `x`.
        """
        read = self.semantic(x, semantic(self.semantic.project(x)), drop)
        gate = jax.nn.sigmoid(fusion(jnp.concatenate([seen, read], axis=-1)))
        return gate * read + (1 - gate) * seen


class _AttentionLayer(nnx.Module):
    """Attention and feed-forward, each added to its input and normalised afterwards."""

    def __init__(
        self, width: int, heads: int, hidden: int, *, dtype: jnp.dtype | None, rngs: nnx.Rngs
    ):
        self.heads = heads
        self.out_proj = _linear(width, width, dtype=dtype, rngs=rngs)
        self.norm1 = _layer_norm(width, dtype=dtype, rngs=rngs)
        self.linear1 = _linear(width, hidden, dtype=dtype, rngs=rngs)
        self.linear2 = _linear(hidden, width, dtype=dtype, rngs=rngs)
        self.norm2 = _layer_norm(width, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array, attended: jax.Array, drop: Drop) -> jax.Array:
        """Maps (batch, length, width), and what its attention has read, to the same shape."""
        x = self.norm1(x + drop(self.out_proj(attended)))
        return self.norm2(x + drop(self.linear2(jax.nn.relu(self.linear1(x)))))

    def _split(self, x: jax.Array, parts: int) -> list[jax.Array]:
        # (batch, length, parts x width) to `parts` times (batch, heads, length, head size).
        x = x.reshape(*x.shape[:2], parts, self.heads, -1)
        return list(x.transpose(2, 0, 3, 1, 4))


class SelfAttentionLayer(_AttentionLayer):
    """The attention layer of a stream that looks at itself."""

    def __init__(
        self, width: int, heads: int, hidden: int, *, dtype: jnp.dtype | None, rngs: nnx.Rngs
    ):
        super().__init__(width, heads, hidden, dtype=dtype, rngs=rngs)
        self.qkv = _linear(width, 3 * width, dtype=dtype, rngs=rngs)

    def project(self, x: jax.Array) -> tuple[jax.Array, KeyValue]:
        """Query, and key and value, of (batch, length, width): (batch, heads, length, size)."""
        query, key, value = self._split(self.qkv(x), 3)
        return query, (key, value)


class CrossAttentionLayer(_AttentionLayer):
    """The attention layer of a stream that looks at another one."""

    def __init__(
        self, width: int, heads: int, hidden: int, *, dtype: jnp.dtype | None, rngs: nnx.Rngs
    ):
        super().__init__(width, heads, hidden, dtype=dtype, rngs=rngs)
        self.query = _linear(width, width, dtype=dtype, rngs=rngs)
        self.key_value = _linear(width, 2 * width, dtype=dtype, rngs=rngs)

    def project(self, x: jax.Array) -> jax.Array:
        """Query of (batch, length, width): (batch, heads, length, size)."""
        return self._split(self.query(x), 1)[0]

    def read(self, other: jax.Array) -> KeyValue:
        """Key and value of the other stream (batch, length, width)."""
        key, value = self._split(self.key_value(other), 2)
        return key, value

    def read_addends(self, first: jax.Array, second: jax.Array) -> tuple[KeyValue, KeyValue]:
        """Key and value of `first`, and what adding `second` to it adds to them."""
        kernel = self.key_value.kernel[...].astype(second.dtype)
        key, value = self._split(second @ kernel, 2)
        return self.read(first), (key, value)


def attention_output(
    query: jax.Array, key: jax.Array, value: jax.Array, mask: jax.Array | None
) -> jax.Array:
    """What heads read of their values, joined: float (batch, queries, width).

    Args:
      query: (batch, heads, queries, size); the batches of all may be 1.
      key, value: (batch, heads, keys, size).
      mask: bool, True where a query may read, of a shape that broadcasts to (batch, heads,
        queries, keys); None for everywhere.
    """
    weights = _weights(_scores(query, key), mask).astype(value.dtype)
    return _join(weights @ value)


def attend_sums(
    query: jax.Array, addends: tuple[KeyValue, KeyValue], tokens: jax.Array, mask: jax.Array
) -> jax.Array:
    """`attention_output` where keys and values are sums of those of a token and of a position.

    Args:
      query: (batch, heads, queries, size).
      addends: keys and values of the 40 tokens, then of the positions.
      tokens: int32 (batch, keys), which token each place holds.
      mask: as `attention_output` takes it.
    """
    by_token, by_position = addends
    spoken = jax.nn.one_hot(tokens, NUM_TOKENS, dtype=jnp.float32)[:, None]
    scores = _scores(query, by_token[0]) @ spoken.swapaxes(2, 3) + _scores(query, by_position[0])
    weights = _weights(scores, mask)
    value = (weights @ spoken).astype(query.dtype) @ by_token[1]
    return _join(value + weights.astype(query.dtype) @ by_position[1])


def _scores(query: jax.Array, key: jax.Array) -> jax.Array:
    # The published code scales by the root of the head size twice: the query, then the scores.
    query = query / query.shape[-1]
    return jnp.matmul(query, key.swapaxes(2, 3), preferred_element_type=jnp.float32)


def _weights(scores: jax.Array, mask: jax.Array | None) -> jax.Array:
    if mask is not None:
        # Finite, so that rows of nothing but pads (which fill up a batch) do not become NaN.
        scores = jnp.where(mask, scores, jnp.finfo(jnp.float32).min)
    return jax.nn.softmax(scores)


def _keep(x: jax.Array) -> jax.Array:
    # Dropout outside training.
    return x


def _join(heads: jax.Array) -> jax.Array:
    # (batch, heads, queries, size) to (batch, queries, width).
    return heads.swapaxes(1, 2).reshape(heads.shape[0], heads.shape[2], -1)


def _write(history: jax.Array, new: jax.Array, position: jax.Array, axis: int) -> jax.Array:
    return jax.lax.dynamic_update_slice_in_dim(history, new, position, axis)


def _linear(inputs: int, outputs: int, *, dtype: jnp.dtype | None, rngs: nnx.Rngs) -> nnx.Linear:
    return nnx.Linear(inputs, outputs, kernel_init=_xavier, dtype=dtype, rngs=rngs)


def _layer_norm(width: int, *, dtype: jnp.dtype | None, rngs: nnx.Rngs) -> nnx.LayerNorm:
    return nnx.LayerNorm(width, epsilon=1e-5, dtype=dtype, rngs=rngs)


def target_points() -> np.ndarray:
    """The control points' targets, float64 (20, 2): the top edge from left to right, the bottom."""
    x = np.linspace(-1, 1, NUM_CONTROL_POINTS // 2)
    return np.stack([np.tile(x, 2), np.repeat([-1.0, 1.0], len(x))], axis=1)


@functools.lru_cache
def _spline(height: int, width: int) -> np.ndarray:
    """The matrix (H x W, 20) that takes control points to the source of every target pixel."""
    target = target_points()
    distance = np.linalg.norm(target[:, None] - target, axis=2)
    np.fill_diagonal(distance, 1)
    system = np.zeros((NUM_CONTROL_POINTS + 3, NUM_CONTROL_POINTS + 3))
    system[:-3, 0] = 1
    system[:-3, 1:3] = target
    system[:-3, 3:] = distance**2 * np.log(distance)
    system[-3:-1, 3:] = target.T
    system[-1, 3:] = 1
    x, y = ((2 * np.arange(size) + 1) / size - 1 for size in (width, height))
    pixels = np.stack(np.meshgrid(x, y), axis=2).reshape(-1, 2)
    distance = np.linalg.norm(pixels[:, None] - target, axis=2)
    basis = np.concatenate(
        [np.ones((len(pixels), 1)), pixels, distance**2 * np.log(distance + 1e-6)], axis=1
    )
    # The published code rounds both factors to float32; their product is exact here.
    basis, inverse = (a.astype(np.float32).astype(float) for a in (basis, np.linalg.inv(system)))
    return (basis @ inverse[:, :NUM_CONTROL_POINTS]).astype(np.float32)
