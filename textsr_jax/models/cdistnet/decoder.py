"""CDistNet's decoder: MDCDP layers read the image and the text so far, and give the next token.

One token at a time, `Decoder.decode_step` remembers keys and values. `Decoder.next_logits` is the
step itself: the searches in JAX and the ONNX graphs of `textsr_jax.export` both trace it.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from textsr_jax.models.cdistnet.attention import (
    XAVIER,
    CrossAttentionLayer,
    KeyValue,
    SelfAttentionLayer,
    attend_sums,
    attention_output,
    layer_norm,
    linear,
)
from textsr_jax.models.layers.attention import Drop, keep
from textsr_jax.models.layers.positions import sinusoid_table
from textsr_jax.text import PAD, Alphabet


class DecodingCache(NamedTuple):
    """What cached decoding remembers. `Decoder.init_cache` makes it.

    The first axis of an array has one of three sizes. It is words (one an image) where the beams of
    a word share the array. It is rows = words x beams where every beam has its own. It is 1 where
    all share it. The positional stream enters the first layer alike for all. The semantic stream is
    the sum of an embedding and a position. Its keys and values are linear in it, so they are such
    sums too.

    Attributes:
      memory: for each MDCDP layer, keys and values of the visual memory, each
        (words, heads, memory length, width / heads).
      stream: the positional stream that enters the first layer, (1, steps, width).
      first: the first layer's results for every step: that stream after the layer has looked at it
        and at the image, (1, steps, width), and what it saw there, (words, steps, width). They are
        right as long as no pad has been read. None lets each step compute its own.
      positional: for each layer, keys and values of the positional stream. Those of the first layer
        are complete from the start, (1, heads, steps, width / heads). Those of the others hold the
        steps so far, with rows in place of 1.
      semantic: for each layer, keys and values of each token, (1, heads, 40, width / heads), and
        what each position adds to them, (1, heads, steps, width / heads).
      tokens: int32 (rows, steps), the tokens read so far, and pads after them.
    """

    memory: tuple[KeyValue, ...]
    stream: jax.Array
    first: tuple[jax.Array, jax.Array] | None
    positional: tuple[KeyValue, ...]
    semantic: tuple[tuple[KeyValue, KeyValue], ...]
    tokens: jax.Array


class Place:
    """Where a step of decoding reads and writes in a cache of fixed length.

    Args:
      position: int32 scalar, the step's number from 0.
    """

    def __init__(self, position: jax.Array):
        self.position = position

    def past(self, steps: int) -> jax.Array:
        """Whether each place has been read: bool (steps,)."""
        return jnp.arange(steps) <= self.position

    def take(self, stream: jax.Array, rows: int) -> jax.Array:
        """The stream at this place, (rows, 1, width), from (1 or words, steps, width)."""
        here = jax.lax.dynamic_slice_in_dim(stream, self.position, 1, axis=1)
        return jnp.repeat(here, rows // here.shape[0], axis=0)

    def put(self, history: jax.Array, new: jax.Array, axis: int) -> jax.Array:
        """`history` with `new`, of length 1 along `axis`, at this place."""
        return jax.lax.dynamic_update_slice_in_dim(history, new, self.position, axis)


class PositionalBranch(nnx.Module):
    """What MDCDP starts from: the position table through a small residual network."""

    def __init__(self, width: int, hidden: int, *, dtype: jnp.dtype | None, rngs: nnx.Rngs):
        self.linear1 = linear(width, hidden, dtype=dtype, rngs=rngs)
        self.linear2 = linear(hidden, width, dtype=dtype, rngs=rngs)
        self.norm = layer_norm(width, dtype=dtype, rngs=rngs)

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
        """The first half of the layer: the stream looks at itself, then at the image.

        Args:
          x: the positional stream of rows = words x beams, (rows, length, width). One row stands
            for all.
          positional: what its self-attention has read, (rows, length, width), or of one row.
          visual: keys and values of the memory, (words, heads, 64, head size).
          drop: dropout.

        Returns:
          The positional stream, shaped like `positional`, and what it saw, (rows, length, width),
          or (words, length, width) for one row.
        """
        x = self.positional(x, positional, drop)
        words = visual[0].shape[0]
        if x.shape[0] == 1:
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
        """The second half of the layer: the stream looks at the text, and a gate fuses both.

        Args:
          x, seen: what `look` returns, both (rows, length, width).
          semantic: reads the semantic stream. It maps queries (rows, heads, length, head size) to
            the shape of `x`.
          fusion: the gate, which all layers share.
          drop: dropout.

        Returns:
          The new positional stream, shaped like `x`.
        """
        read = self.semantic(x, semantic(self.semantic.project(x)), drop)
        gate = jax.nn.sigmoid(fusion(jnp.concatenate([seen, read], axis=-1)))
        return gate * read + (1 - gate) * seen


class Decoder(nnx.Module):
    """The half of CDistNet that writes tokens. Its layers stand in the network's own tree.

    Args:
      alphabet: the characters that it writes; they and the special tokens are its tokens.
      width: size of every token.
      heads: attention heads.
      layers: MDCDP layers.
      hidden: feed-forward size.
      positional_hidden: inner size of the positional branch.
      dropout: rate of dropout.
      dtype: compute dtype, None for float32. The output layer is always float32.
      rngs: draws the parameters.
    """

    def __init__(
        self,
        alphabet: Alphabet,
        width: int,
        heads: int,
        layers: int,
        hidden: int,
        positional_hidden: int,
        dropout: float,
        *,
        dtype: jnp.dtype | None,
        rngs: nnx.Rngs,
    ):
        self.alphabet, self.width, self.heads = alphabet, width, heads
        self.dropout = nnx.Dropout(dropout)
        self.embedding = nnx.Embed(
            alphabet.num_tokens, width, embedding_init=XAVIER, dtype=dtype, rngs=rngs
        )
        self.positional_branch = PositionalBranch(width, positional_hidden, dtype=dtype, rngs=rngs)
        self.mdcdp = nnx.List(
            MDCDPLayer(width, heads, hidden, dtype=dtype, rngs=rngs) for _ in range(layers)
        )
        self.fusion = linear(2 * width, width, dtype=dtype, rngs=rngs)
        self.output = nnx.Linear(
            width,
            alphabet.num_tokens,
            use_bias=False,
            kernel_init=nnx.initializers.normal(width**-0.5),
            dtype=jnp.float32,
            rngs=rngs,
        )

    def decode(
        self,
        memory: jax.Array,
        tokens: jax.Array,
        *,
        train: bool = False,
        rngs: nnx.Rngs | None = None,
    ) -> jax.Array:
        """Logits of each next token by teacher forcing: float32 (batch, length, tokens).

        Args:
          memory: `CDistNet.encode`'s, (batch, 64, width).
          tokens: int32 (batch, length), the start token first.
          train: whether to drop out.
          rngs: needed for dropout in training.
        """
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
          memory: `CDistNet.encode`'s, (words, 64, width). Its keys and values are computed here,
            once.
          steps: how many tokens are read at most.
          beams: rows for each word; row w x beams + b is beam b of word w.
        """
        rows = memory.shape[0] * beams
        memories = tuple(layer.visual.read(memory) for layer in self.mdcdp)
        table = jnp.asarray(sinusoid_table(steps, self.width), memory.dtype)[None]
        stream = self.positional_branch(table)
        first, *others = self.mdcdp
        query, key_value = first.positional.project(stream)
        attended = attention_output(query, *key_value, jnp.asarray(np.tri(steps, dtype=bool)))
        empty = jnp.zeros((rows, *query.shape[1:]), memory.dtype)
        tokens = self._embed(jnp.arange(self.alphabet.num_tokens)[None], 0)
        return DecodingCache(
            memory=memories,
            stream=stream,
            first=first.look(stream, attended, memories[0], keep),
            positional=(key_value, *((empty, empty) for _ in others)),
            semantic=tuple(layer.semantic.read_addends(tokens, table) for layer in self.mdcdp),
            tokens=jnp.full((rows, steps), PAD, jnp.int32),
        )

    def decode_step(
        self, tokens: jax.Array, position: jax.Array, cache: DecodingCache
    ) -> tuple[jax.Array, DecodingCache]:
        """Reads one more token of each row; the logits are those of `decode` on the same prefix.

        Args:
          tokens: int32 (rows,), the tokens at `position`; the start token at position 0.
          position: int32 scalar, 0 .. steps - 1, without gaps.
          cache: from `init_cache` or the step before.

        Returns:
          float32 logits (rows, all tokens) of the tokens at `position` + 1, and the new cache.
        """
        place = Place(position)
        cache = cache._replace(tokens=place.put(cache.tokens, tokens[:, None], axis=1))
        return self.next_logits(place, cache)

    def next_logits(self, place: Place, cache: DecodingCache) -> tuple[jax.Array, DecodingCache]:
        """The logits after the last token of each row, and the cache with this step's keys.

        Args:
          place: where the last token is.
          cache: with that token in `tokens`.

        Returns:
          As `decode_step`.
        """
        rows, steps = cache.tokens.shape
        past = place.past(steps)
        visible = past & (cache.tokens != PAD)
        mask = visible[:, None, None, :]

        def look() -> tuple[jax.Array, jax.Array]:
            layer, x = self.mdcdp[0], place.take(cache.stream, rows)
            query, _ = layer.positional.project(x)
            attended = attention_output(query, *cache.positional[0], mask)
            return layer.look(x, attended, cache.memory[0], keep)

        if (first := cache.first) is None:
            x, seen = look()
        else:
            x, seen = jax.lax.cond(
                (visible == past).all(),
                lambda: (place.take(first[0], rows), place.take(first[1], rows)),
                look,
            )
        positional = [cache.positional[0]]
        for index, layer in enumerate(self.mdcdp):
            if index > 0:
                query, new = layer.positional.project(x)
                keys, values = (
                    place.put(history, part, axis=2)
                    for history, part in zip(cache.positional[index], new, strict=True)
                )
                positional.append((keys, values))
                attended = attention_output(query, keys, values, mask)
                x, seen = layer.look(x, attended, cache.memory[index], keep)
            semantic = functools.partial(
                attend_sums, addends=cache.semantic[index], tokens=cache.tokens, mask=mask
            )
            x = layer.read(x, seen, semantic, self.fusion, keep)
        return self.output(x[:, 0]), cache._replace(positional=tuple(positional))

    def _embed(self, tokens: jax.Array, positions: np.ndarray | jax.Array | int) -> jax.Array:
        embedded = self.embedding(tokens)
        return embedded * math.sqrt(self.width) + jnp.asarray(positions, embedded.dtype)

    def _drop(self, train: bool, rngs: nnx.Rngs | None) -> Drop:
        return lambda x: self.dropout(x, deterministic=not train, rngs=rngs)
