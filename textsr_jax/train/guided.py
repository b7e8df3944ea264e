"""The loss of stage 1 for SR networks that a text prior guides.

As published with "Text prior guided scene text image super-resolution" (Ma et al., 2023) and "A
text attention network for spatial deformation robust scene text image super-resolution" (Ma et al.,
2022).
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from textsr_jax import losses, metrics
from textsr_jax.config.settings import Stage1Settings
from textsr_jax.data.batching import Batch
from textsr_jax.images import Array, to_float
from textsr_jax.models import ExternalRecognizer, Network, Variables
from textsr_jax.models.layers.pixels import with_mask
from textsr_jax.train.comparison import Parts, comparison, true_images
from textsr_jax.train.steps import Loss
from textsr_jax.train.turning import turn


def draw_turns(key: jax.Array, count: int, degrees: float) -> tuple[jax.Array, jax.Array]:
    """Angles in radians, up to `degrees` to both sides, and shapes for `turn`; float32 (count,)."""
    of_angles, of_shapes = jax.random.split(key)
    angles = jax.random.uniform(of_angles, (count,), minval=-1, maxval=1)
    return jnp.deg2rad(degrees) * angles, jax.random.uniform(of_shapes, (count,))


def guided_loss(
    sr: Network,
    focus: Network,
    teacher: Network,
    config: Stage1Settings,
    *,
    weights: Array | None = None,
    external: Sequence[ExternalRecognizer] = (),
    turns: Callable[[jax.Array, int, float], tuple[jax.Array, jax.Array]] = draw_turns,
) -> Loss:
    """The loss of stage 1 for a network that a text prior guides: the sum over its stages.

    Each stage adds what `super_resolution_loss` has for its images, and `prior` x the distance of
    its prior from the one that the teacher gives for the HR images. With masks, the images' error
    is that of four channels. All words are turned at random by up to `turn` degrees, and each stage
    adds `structure` x (1 - likeness). `metrics.tri_ssim` compares its images, those of the words
    turned back, turned again, and the HR images for it. `frozen` is that of
    `super_resolution_loss`, and under "teacher" the teacher's variables, which are read only where
    `prior` is not 0.

    Args:
      sr: what is trained, its module a `models.text_prior.GuidedResolver`.
      focus, config, weights, external: as for `super_resolution_loss`.
      teacher: a CRNN.
      turns: draws what `turn` takes, from a key, the number of words and the largest angle.
    """
    compare = comparison(focus, config, weights, external)

    def loss(
        variables: Variables, frozen: Variables, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, tuple[Parts, Any]]:
        of_dropout, of_turns = jax.random.split(key)
        lr, others = to_float(batch.lr), None
        if config.turn or config.structure:
            angles, shapes = turns(of_turns, len(lr), config.turn)
            lr, hr = (
                turn(with_mask(images), angles, shapes) for images in (lr, to_float(batch.hr))
            )
            others = turn(lr, -angles, shapes)
            # As pixels, like other batches; and attention to HR images as they were is of no use.
            batch = batch.replace(hr=255 * hr, attention=None)
        rngs = nnx.Rngs(dropout=of_dropout)
        made, stats = sr.train(variables, lr, others, rngs=rngs, method="stages")
        compared = [compare(frozen, stage.images, batch) for stage in made]
        value, parts = _sum([value for value, _ in compared]), compared[-1][1]
        if config.structure:
            likeness = [
                metrics.tri_ssim(
                    turn(stage.others, angles, shapes),
                    stage.images,
                    true_images(stage.images, batch),
                ).mean()
                for stage in made
            ]
            value = value + config.structure * (len(made) - _sum(likeness))
            parts = parts | {"structure": 1 - likeness[-1]}
        if config.prior:
            truth = jax.nn.softmax(teacher(frozen["teacher"], to_float(batch.hr)[..., :3]))
            found = [losses.text_prior_loss(stage.prior, truth) for stage in made]
            value, parts = value + config.prior * _sum(found), parts | {"prior": found[-1]}
        return config.scale * value, ({"loss": value} | parts, stats)

    return loss


def _sum(values: list[jax.Array]) -> jax.Array:
    return jnp.stack(values).sum()
