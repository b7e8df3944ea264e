"""Max pooling over windows of one or two pixels, fast in both directions on CPUs too."""

import jax
import jax.numpy as jnp


def max_pool(x: jax.Array, window: tuple[int, int] = (2, 2)) -> jax.Array:
    """Max pooling of (batch, height, width, channels), stride = window; sizes are even.

    The gradient of XLA's own window reduction takes ten times as long on a CPU.

    Args:
      window: rows and columns, each 1 or 2.
    """
    rows, columns = window
    if rows == 2:
        x = jnp.maximum(x[:, ::2], x[:, 1::2])
    if columns == 2:
        x = jnp.maximum(x[:, :, ::2], x[:, :, 1::2])
    return x
