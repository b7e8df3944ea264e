"""Training losses: text-focus, text prior, learned downscaling, and those of recognition.

They are pure functions of arrays, and work inside jit and under any sharding of the batch.

Some losses are means over characters, steps or words, of which equal parts of a batch hold unequal
numbers. Where a part is seen alone, by accumulation or on a device of `jax.pmap`, `whole` holds
those of the whole batch. Then the plain mean of what all parts return is the loss of the whole
batch, and the mean of their gradients is its gradient.
"""

from textsr_jax.losses.means import share_of_count
from textsr_jax.losses.reading import reading_loss
from textsr_jax.losses.recognition import BatchLosses, WordLosses, cross_entropy, ctc_loss
from textsr_jax.losses.rescaling import offset_distance, offset_variation, rescaling_loss
from textsr_jax.losses.text_focus import (
    IMAGE_ERRORS,
    POSITION_WEIGHT,
    RECOGNITION_WEIGHT,
    log_mse,
    mse,
    position_loss,
    text_focus_loss,
    weight_table,
    weighted_cross_entropy,
)
from textsr_jax.losses.text_prior import GRADIENT_WEIGHT, gradient_prior_loss, text_prior_loss

__all__ = [
    "GRADIENT_WEIGHT",
    "IMAGE_ERRORS",
    "POSITION_WEIGHT",
    "RECOGNITION_WEIGHT",
    "BatchLosses",
    "WordLosses",
    "cross_entropy",
    "ctc_loss",
    "gradient_prior_loss",
    "log_mse",
    "mse",
    "offset_distance",
    "offset_variation",
    "position_loss",
    "reading_loss",
    "rescaling_loss",
    "share_of_count",
    "text_focus_loss",
    "text_prior_loss",
    "weight_table",
    "weighted_cross_entropy",
]
