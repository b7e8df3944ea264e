"""Attention in CDistNet: the layers of its encoder and decoder, and what their heads read."""

import jax
import jax.numpy as jnp
from flax import nnx

from textsr_jax.models.layers.attention import Drop

# Keys and values, each (batch, heads, length, head size).
KeyValue = tuple[jax.Array, jax.Array]

XAVIER = nnx.initializers.xavier_uniform()


def linear(inputs: int, outputs: int, *, dtype: jnp.dtype | None, rngs: nnx.Rngs) -> nnx.Linear:
    """A linear layer with a Xavier uniform kernel and a zero bias."""
    return nnx.Linear(inputs, outputs, kernel_init=XAVIER, dtype=dtype, rngs=rngs)


def layer_norm(width: int, *, dtype: jnp.dtype | None, rngs: nnx.Rngs) -> nnx.LayerNorm:
    """Layer normalisation with PyTorch's epsilon."""
    return nnx.LayerNorm(width, epsilon=1e-5, dtype=dtype, rngs=rngs)


class _AttentionLayer(nnx.Module):
    """Attention and feed-forward. Each is added to its input, and the sum is normalised."""

    def __init__(
        self, width: int, heads: int, hidden: int, *, dtype: jnp.dtype | None, rngs: nnx.Rngs
    ):
        self.heads = heads
        self.out_proj = linear(width, width, dtype=dtype, rngs=rngs)
        self.norm1 = layer_norm(width, dtype=dtype, rngs=rngs)
        self.linear1 = linear(width, hidden, dtype=dtype, rngs=rngs)
        self.linear2 = linear(hidden, width, dtype=dtype, rngs=rngs)
        self.norm2 = layer_norm(width, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array, attended: jax.Array, drop: Drop) -> jax.Array:
        """Returns the layer's output, shaped like `x`.

        Args:
          x: (batch, length, width).
          attended: what the attention has read for `x`, shaped like it.
          drop: dropout.
        """
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
        self.qkv = linear(width, 3 * width, dtype=dtype, rngs=rngs)

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
        self.query = linear(width, width, dtype=dtype, rngs=rngs)
        self.key_value = linear(width, 2 * width, dtype=dtype, rngs=rngs)

    def project(self, x: jax.Array) -> jax.Array:
        """Query of (batch, length, width): (batch, heads, length, size)."""
        return self._split(self.query(x), 1)[0]

    def read(self, other: jax.Array) -> KeyValue:
        """Key and value of the other stream (batch, length, width)."""
        key, value = self._split(self.key_value(other), 2)
        return key, value

    def read_addends(self, first: jax.Array, second: jax.Array) -> tuple[KeyValue, KeyValue]:
        """Key and value of `first`, and what `second` adds to them where it is added to `first`."""
        kernel = self.key_value.kernel[...].astype(second.dtype)
        key, value = self._split(second @ kernel, 2)
        return self.read(first), (key, value)


def attention_output(
    query: jax.Array, key: jax.Array, value: jax.Array, mask: jax.Array | None
) -> jax.Array:
    """What all heads read of their values, side by side: float (batch, queries, width).

    Args:
      query: (batch, heads, queries, size). Each batch may be 1, which stands for all.
      key, value: (batch, heads, keys, size).
      mask: bool, True where a query may read. Its shape broadcasts to (batch, heads, queries,
        keys). None lets every query read everything.
    """
    weights = _weights(_scores(query, key), mask).astype(value.dtype)
    return _join(weights @ value)


def attend_sums(
    query: jax.Array, addends: tuple[KeyValue, KeyValue], tokens: jax.Array, mask: jax.Array
) -> jax.Array:
    """`attention_output` where keys and values are sums of a token's and of a position's.

    Args:
      query: (batch, heads, queries, size).
      addends: keys and values of all tokens, then those of the positions.
      tokens: int32 (batch, keys), the token at each position.
      mask: as `attention_output` takes it.
    """
    by_token, by_position = addends
    # Each score is taken from its place: a product with `spoken` would take as long again.
    places = tokens[:, None, None, :]
    of_tokens = jnp.take_along_axis(_scores(query, by_token[0]), places, axis=3, mode="clip")
    weights = _weights(of_tokens + _scores(query, by_position[0]), mask)
    spoken = jax.nn.one_hot(tokens, by_token[0].shape[2], dtype=jnp.float32)[:, None]
    value = (weights @ spoken).astype(query.dtype) @ by_token[1]
    return _join(value + weights.astype(query.dtype) @ by_position[1])


def _scores(query: jax.Array, key: jax.Array) -> jax.Array:
    # The published code divides by the root of the head size twice: the query, then the scores.
    query = query / query.shape[-1]
    return jnp.matmul(query, key.swapaxes(2, 3), preferred_element_type=jnp.float32)


def _weights(scores: jax.Array, mask: jax.Array | None) -> jax.Array:
    if mask is not None:
        # Finite, so that rows of pads alone, which fill up a batch, do not become NaN.
        scores = jnp.where(mask, scores, jnp.finfo(jnp.float32).min)
    return jax.nn.softmax(scores)


def _join(heads: jax.Array) -> jax.Array:
    # (batch, heads, queries, size) to (batch, queries, width).
    return heads.swapaxes(1, 2).reshape(heads.shape[0], heads.shape[2], -1)
