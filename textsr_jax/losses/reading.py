"""The loss of the recogniser inside LEMMA, which is trained with the network.

"Towards robust scene text image super-resolution via explicit location enhancement" (Guo et al.,
2023), as its published code computes it.
"""

import jax
import jax.numpy as jnp


def reading_loss(logits: jax.Array, targets: jax.Array, *, softmax_twice: bool = True) -> jax.Array:
    """Cross-entropy, the mean over all steps, those after the end of a word too; a float32 scalar.

    Args:
      logits: float (batch, steps, classes).
      targets: int (batch, steps), classes; 0 is the end, and stands behind it.
      softmax_twice: whether probabilities are taken for logits, as the published code hands them to
        a loss that takes logits. Then the loss is never far from log(classes).
    """
    likely = jax.nn.log_softmax(jax.nn.softmax(logits) if softmax_twice else logits)
    return -jnp.take_along_axis(likely, targets[..., None], axis=-1).mean()
