"""The loss of stage 1 for SR networks that a text prior guides.

"Text prior guided scene text image super-resolution" (Ma et al., 2023), as published.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from textsr_jax import losses
from textsr_jax.config.settings import Stage1Settings
from textsr_jax.data.batching import Batch
from textsr_jax.images import Array, to_float
from textsr_jax.models import Network, Variables
from textsr_jax.train.comparison import Parts, comparison
from textsr_jax.train.steps import Loss


def guided_loss(
    sr: Network,
    focus: Network,
    teacher: Network,
    config: Stage1Settings,
    *,
    weights: Array | None = None,
) -> Loss:
    """The loss of stage 1 for a network that a text prior guides: the sum over its stages.

    Each stage adds what `super_resolution_loss` has for its images, and `prior` x the distance of
    its prior from the one that the teacher gives for the HR images. With masks, the images' error
    is that of four channels. `frozen` is that of `super_resolution_loss`, and under "teacher" the
    teacher's variables, which are read only where `prior` is not 0.

    Args:
      sr: what is trained, its module a `models.text_prior.GuidedResolver`.
      focus, config, weights: as for `super_resolution_loss`.
      teacher: a CRNN.
    """
    compare = comparison(focus, config, weights)

    def loss(
        variables: Variables, frozen: Variables, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, tuple[Parts, Any]]:
        lr, rngs = to_float(batch.lr), nnx.Rngs(dropout=key)
        made, stats = sr.train(variables, lr, rngs=rngs, method="stages")
        compared = [compare(frozen, stage.images, batch) for stage in made]
        value, parts = _sum([value for value, _ in compared]), compared[-1][1]
        if config.prior:
            truth = jax.nn.softmax(teacher(frozen["teacher"], to_float(batch.hr)))
            found = [losses.text_prior_loss(stage.prior, truth) for stage in made]
            value, parts = value + config.prior * _sum(found), parts | {"prior": found[-1]}
        return config.scale * value, ({"loss": value} | parts, stats)

    return loss


def _sum(values: list[jax.Array]) -> jax.Array:
    return jnp.stack(values).sum()
