"""The loss of the recogniser inside LEMMA, which is trained with the network.

"Towards robust scene text image super-resolution via explicit location enhancement" (Guo et al.,
2023), as its published code computes it.
"""

import jax
import jax.numpy as jnp


def reading_loss(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Cross-entropy of a softmax of a softmax, the mean over all steps; a float32 scalar.

    The published code hands probabilities to a loss that takes logits, and counts the steps after
    the end of a word too.

    Args:
      logits: float (batch, steps, classes).
      targets: int (batch, steps), classes; 0 is the end, and stands behind it.
    """
    likely = jax.nn.log_softmax(jax.nn.softmax(logits))
    return -jnp.take_along_axis(likely, targets[..., None], axis=-1).mean()
