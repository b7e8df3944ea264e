"""The text-focus loss of super-resolution, and the errors of images that it may hold.

"Scene text telescope: text-focused scene image super-resolution" (Chen et al., 2021).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from textsr_jax import text
from textsr_jax.errors import UserError
from textsr_jax.images import Array
from textsr_jax.losses.means import share_of_count, true_log_probability

# Weights of the text-focus loss's parts beside the MSE, as published.
POSITION_WEIGHT = 10
RECOGNITION_WEIGHT = 0.0005


def mse(sr: jax.Array, hr: jax.Array) -> jax.Array:
    """Mean squared error of images, float (batch, H, W, C) in [0, 1]; a float32 scalar."""
    return jnp.mean((sr - hr) ** 2)


def log_mse(sr: jax.Array, hr: jax.Array) -> jax.Array:
    """Natural logarithm of each image's mean squared error, mean over the batch; a float32 scalar.

    It falls by 0.23 for each dB by which the mean PSNR rises. "Simple baselines for image
    restoration" (Chen et al., 2022) trains with it. In `mse` the worst images outweigh the others.
    Around an error of 0.01, common for small words, its gradient is some 100 times that of `mse`.
    Images above 50 dB, such as plain ones, hardly count.

    Args:
      sr, hr: float (batch, H, W, C) in [0, 1].
    """
    return jnp.log(jnp.mean((sr - hr) ** 2, axis=(1, 2, 3)) + 1e-5).mean()


# By the names that configs use.
IMAGE_ERRORS = {"mse": mse, "log_mse": log_mse}


def position_loss(
    sr_attention: Array,
    hr_attention: Array,
    mask: Array | None = None,
    *,
    whole: Array | None = None,
) -> jax.Array:
    """Mean absolute difference of two attention maps; a float32 scalar.

    The published code pads a batch's labels to the longest one, and averages over all of its steps,
    the padded steps of shorter labels included. `mask` tells how many steps those are. So labels
    may be padded further without a change of the loss.

    Args:
      sr_attention, hr_attention: float (batch, heads, steps, positions).
      mask: float (batch, steps), 1 up to the end of a label (`text.focus_tokens`), then 0. None
        averages over all steps.
      whole: the mask of the whole batch, whose longest label counts; None where `mask` is whole.
    """
    difference = jnp.abs(sr_attention - hr_attention).mean(axis=(0, 1, 3))
    if mask is None:
        return difference.mean()
    steps = (mask if whole is None else whole).max(axis=0)
    return (difference * steps).sum() / steps.sum()


def weight_table(confusion: np.ndarray) -> np.ndarray:
    """Weights of character confusions for `weighted_cross_entropy`.

    This follows the published code of "Scene text telescope" (Chen et al., 2021), with its quirk on
    the diagonal. A weight is 1 / count, and 1 where the count is 0: rare confusions weigh most. A
    true letter takes the row of its second block. A predicted letter takes the larger weight of its
    two columns. On the diagonal it takes that of its first block's column alone.

    Args:
      confusion: counts (62, 62), rows true and columns predicted characters: 10 digits, 26 letters
        of the first block (upper case), 26 letters of the second (lower case).

    Returns:
      float32 (37, 37). Entry [c, j] is for true class c and predicted class j, the classes of
      `text.focus_tokens`. The end, class 0, has weight 1 everywhere.

    Raises:
      UserError: `confusion` has another shape, or entries that cannot be counts.
    """
    confusion = np.asarray(confusion, np.float64)
    if confusion.shape != (62, 62):
        raise UserError(
            f"confusion matrix: its shape is {confusion.shape}, not (62, 62); give counts for 10 "
            "digits, 26 upper case and 26 lower case letters"
        )
    if not (np.isfinite(confusion).all() and (confusion >= 0).all()):
        raise UserError("confusion matrix: an entry is negative or not finite; give counts")
    inverse = np.divide(1, confusion, out=np.ones_like(confusion), where=confusion > 0)
    rows = np.concatenate([inverse[:10], inverse[36:]])
    digits, upper, lower = np.split(rows, (10, 36), axis=1)
    letters = np.maximum(upper, lower)
    diagonal = np.arange(26)
    letters[10 + diagonal, diagonal] = upper[10 + diagonal, diagonal]
    weights = np.ones((text.NUM_FOCUS_CLASSES, text.NUM_FOCUS_CLASSES), np.float32)
    weights[1:, 1:] = np.concatenate([digits, letters], axis=1)
    return weights


def weighted_cross_entropy(
    logits: jax.Array,
    targets: jax.Array,
    mask: jax.Array,
    weights: Array | None = None,
    *,
    whole: jax.Array | None = None,
) -> jax.Array:
    """The recognition part of the text-focus loss, a mean over the batch's characters; a scalar.

    A character's loss is -log(w[c, c] e^p_c / sum_j w[c, j] e^p_j), for logits p and true class c.

    Args:
      logits: float (batch, steps, classes).
      targets: int32 (batch, steps).
      mask: float (batch, steps), 1 where a character counts (the end does), else 0.
      weights: w > 0, float (classes, classes), as `weight_table` makes them; None is 1 everywhere.
      whole: the mask of the whole batch; None where `mask` is whole.
    """
    if weights is not None:
        logits = logits + jnp.log(jnp.asarray(weights))[targets]
    losses = -true_log_probability(logits, targets)
    return (losses * mask).sum() / share_of_count(mask, whole)


def text_focus_loss(
    sr: jax.Array,
    hr: jax.Array,
    recognize: Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]],
    inputs: jax.Array,
    targets: jax.Array,
    mask: jax.Array,
    weights: Array | None = None,
    *,
    hr_attention: Array | None = None,
    image_error: Callable[[jax.Array, jax.Array], jax.Array] = mse,
    position_weight: float = POSITION_WEIGHT,
    recognition_weight: float = RECOGNITION_WEIGHT,
    whole: jax.Array | None = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The text-focus loss: MSE + 10 position + 0.0005 recognition.

    It follows "Scene text telescope: text-focused scene image super-resolution" (Chen et al., 2021)
    as published. A frozen recogniser reads SR and HR. The loss is low where SR draws its attention
    to the same places as HR, and is read as the label. Gradients reach `sr` alone. The published
    training multiplies the total by 100.

    Args:
      sr, hr: float (batch, 32, 128, 3), RGB in [0, 1].
      recognize: the recogniser with its frozen parameters. It takes such images and `inputs`, and
        returns logits (batch, steps, 37) and attention maps (batch, heads, steps, positions).
      inputs, targets, mask: (batch, steps) each, from `text.focus_tokens`.
      weights: from `weight_table`; None weighs all confusions alike.
      hr_attention: the result of `recognize(hr, inputs)[1]`, where it is known already.
      image_error: the error of SR against HR in the total: `mse` as published, or `log_mse`.
      position_weight, recognition_weight: of these parts in the total, by default as published.
      whole: the mask of the whole batch; None where `mask` is whole.

    Returns:
      The total, and its parts before weighting, {"mse", "position", "recognition"}; all float32
      scalars.
    """
    if hr_attention is None:
        hr_attention = recognize(jax.lax.stop_gradient(hr), inputs)[1]
    logits, attention = recognize(sr, inputs)
    parts = {
        "mse": mse(sr, jax.lax.stop_gradient(hr)),
        "position": position_loss(
            attention, jax.lax.stop_gradient(hr_attention), mask, whole=whole
        ),
        "recognition": weighted_cross_entropy(logits, targets, mask, weights, whole=whole),
    }
    total = (
        image_error(sr, jax.lax.stop_gradient(hr))
        + position_weight * parts["position"]
        + recognition_weight * parts["recognition"]
    )
    return total, parts
