"""Multi-head attention and LayerNorm of TBSRN and the text-focus recogniser.

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
