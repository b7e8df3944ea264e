"""Attention and LayerNorm of TBSRN, the text-focus recogniser, TATT and LEMMA.

"Attention is all you need" (Vaswani et al., 2017), with the published code's own LayerNorm.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

_XAVIER = jax.nn.initializers.xavier_uniform()

# Dropout for one call of a network.
Drop = Callable[[jax.Array], jax.Array]


def keep(values: jax.Array) -> jax.Array:
    """The `Drop` that drops nothing."""
    return values


class LayerNorm(nnx.Module):
    """Layer normalisation as published with TBSRN and the text-focus recogniser, in float32.

    It takes the unbiased standard deviation, and adds epsilon to it, not to the variance.
    """

    def __init__(self, features: int):
        self.scale = nnx.Param(jnp.ones(features))
        self.bias = nnx.Param(jnp.zeros(features))

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x.astype(jnp.float32)
        centred = x - x.mean(axis=-1, keepdims=True)
        # An all-equal input has deviation 0, where the root has no gradient.
        variance = (centred**2).sum(axis=-1, keepdims=True) / (x.shape[-1] - 1)
        deviation = jnp.sqrt(jnp.maximum(variance, 1e-30))
        return self.scale[...] * centred / (deviation + 1e-6) + self.bias[...]


class MultiHeadAttention(nnx.Module):
    """Scaled dot-product attention in several heads.

    Args:
      width: width of the tokens, a multiple of `heads`.
      heads: number of heads.
      dtype: compute dtype; the attention maps are always float32.
      rngs: draws the parameters.
    """

    def __init__(self, width: int, heads: int, *, dtype: jnp.dtype | None, rngs: nnx.Rngs):
        self.heads = heads

        def linear() -> nnx.Linear:
            return nnx.Linear(width, width, kernel_init=_XAVIER, dtype=dtype, rngs=rngs)

        self.query, self.key, self.value, self.out = linear(), linear(), linear(), linear()

    def __call__(
        self,
        x: jax.Array,
        memory: jax.Array,
        mask: np.ndarray | None = None,
        *,
        drop: Drop = keep,
    ) -> tuple[jax.Array, jax.Array]:
        """Lets `x` (batch, steps, width) read `memory` (batch, positions, width).

        Args:
          mask: bool (steps, positions), True where a step may look; None lets it look everywhere.
          drop: dropout of the attention maps, as the published code has it.

        Returns:
          What was read, (batch, steps, width), and the attention maps, float32 (batch, heads,
          steps, positions). The maps sum to 1 over positions, before `drop`.
        """

        def split(tokens: jax.Array) -> jax.Array:
            tokens = tokens.reshape(*tokens.shape[:2], self.heads, -1)
            return tokens.transpose(0, 2, 1, 3)

        # With heads before positions XLA's CPU compiler fuses it all, which is seven times as fast.
        query, key, value = split(self.query(x)), split(self.key(memory)), split(self.value(memory))
        scores = jnp.einsum("bhsd,bhpd->bhsp", query, key, preferred_element_type=jnp.float32)
        scores = scores / math.sqrt(query.shape[-1])
        if mask is not None:
            scores = jnp.where(mask, scores, -jnp.inf)
        attention = drop(jax.nn.softmax(scores, axis=-1))
        read = jnp.einsum("bhsp,bhpd->bhsd", attention.astype(value.dtype), value)
        read = read.transpose(0, 2, 1, 3)
        return self.out(read.reshape(x.shape)), attention


class AttentionLayer(nnx.Module):
    """PyTorch's attention and feed-forward. Each is added to its input, and the sum is normalised.

    Args:
      width: width of the tokens, a multiple of `heads`.
      heads: number of heads.
      hidden: the feed-forward size; None for `width`.
      dtype: compute dtype; the attention maps are always float32.
      rngs: draws the parameters.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int | None = None,
        *,
        dtype: jnp.dtype | None,
        rngs: nnx.Rngs,
    ):
        def linear(inputs: int, outputs: int) -> nnx.Linear:
            return nnx.Linear(inputs, outputs, kernel_init=_XAVIER, dtype=dtype, rngs=rngs)

        self.heads = heads
        # The kernels of query, key and value side by side, as PyTorch keeps them.
        self.in_proj, self.out_proj = linear(width, 3 * width), linear(width, width)
        self.linear1 = linear(width, hidden or width)
        self.linear2 = linear(hidden or width, width)
        self.norm1 = nnx.LayerNorm(width, epsilon=1e-5, rngs=rngs)
        self.norm2 = nnx.LayerNorm(width, epsilon=1e-5, rngs=rngs)

    def __call__(
        self,
        x: jax.Array,
        query: jax.Array,
        key: jax.Array,
        value: jax.Array,
        drop: Drop,
        mask: jax.Array | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """Lets `x` (batch, steps, width) read `value` (batch, frames, width).

        Args:
          x: what the result is added to.
          query: (batch, steps, width); where it looks is decided by it and `key`.
          key: (batch, frames, width).
          value: what is read.
          drop: dropout.
          mask: bool, broadcast to (batch, steps, frames), True where a step may look; None lets it
            look everywhere.

        Returns:
          float32 (batch, steps, width), and the mean attention of all heads, float32 (batch,
          steps, frames).
        """
        bias = self.in_proj.bias
        assert bias is not None
        dtype = self.in_proj.dtype or jnp.float32

        def project(tokens: jax.Array, part: int) -> jax.Array:
            width = tokens.shape[-1]
            these = slice(part * width, (part + 1) * width)
            kernel = self.in_proj.kernel[...][:, these].astype(dtype)
            made = tokens.astype(dtype) @ kernel + bias[...][these].astype(dtype)
            return made.reshape(*tokens.shape[:2], self.heads, -1).transpose(0, 2, 1, 3)

        queries, keys, values = (
            project(tokens, part) for part, tokens in enumerate((query, key, value))
        )
        scores = jnp.einsum("bhsd,bhfd->bhsf", queries, keys, preferred_element_type=jnp.float32)
        scores = scores / math.sqrt(queries.shape[-1])
        if mask is not None:
            scores = jnp.where(mask[:, None], scores, -jnp.inf)
        attention = drop(jax.nn.softmax(scores))
        read = jnp.einsum("bhsf,bhfd->bhsd", attention.astype(dtype), values)
        read = self.out_proj(read.transpose(0, 2, 1, 3).reshape(x.shape))
        x = self.norm1(x + drop(read))
        x = self.norm2(x + drop(self.linear2(drop(nnx.relu(self.linear1(x))))))
        return x, attention.mean(axis=1)
