"""Means over characters or words, of which equal parts of a batch hold unequal numbers."""

import jax
import jax.numpy as jnp


def share_of_count(counted: jax.Array, whole: jax.Array | None = None) -> jax.Array:
    """The divisor that makes a mean of a sum over `counted`: its count, at least 1; a scalar.

    With `whole` it is an even share of the count over all parts of the batch. Each of them divides
    its own sum by it. The plain mean of their results is then the mean over everything that is
    counted.

    Args:
      counted: bool or float (batch, ...), 1 where something counts, otherwise 0.
      whole: the same for the whole batch, of which `counted` is one of several equal parts; None
        where `counted` is whole.
    """
    count, shares = (counted if whole is None else whole).sum(), 1
    if whole is not None:
        shares = len(whole) // len(counted)
    count = jnp.maximum(count, 1)
    return count if shares == 1 else count / shares


def true_log_probability(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Log probability of the true classes: float (batch, steps).

    Args:
      logits: float (batch, steps, classes).
      targets: int32 (batch, steps), the true classes.
    """
    log_probabilities = jax.nn.log_softmax(logits)
    return jnp.take_along_axis(log_probabilities, targets[..., None], axis=-1)[..., 0]
