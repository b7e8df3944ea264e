"""The loss of stage 1 for LEMMA, whose recogniser is trained with it.

As published with "Towards robust scene text image super-resolution via explicit location
enhancement" (Guo et al., 2023).
"""

from collections.abc import Sequence
from typing import Any

import jax
from flax import nnx

from textsr_jax import losses, text
from textsr_jax.config.settings import Stage1Settings
from textsr_jax.data.batching import Batch
from textsr_jax.images import Array, to_float
from textsr_jax.models import ExternalRecognizer, Network, Variables
from textsr_jax.models.abinet import targets
from textsr_jax.train.comparison import Parts, comparison
from textsr_jax.train.steps import Loss


def located_loss(
    sr: Network,
    focus: Network,
    config: Stage1Settings,
    *,
    weights: Array | None = None,
    external: Sequence[ExternalRecognizer] = (),
) -> Loss:
    """The loss of `super_resolution_loss`, and `reading` x that of the recogniser inside.

    The recogniser's loss is the sum of its vision and its language branch's. With masks, the
    images' error is that of four channels.

    Args:
      sr: what is trained, its module a `models.located.LocatedResolver`.
      focus, config, weights, external: as for `super_resolution_loss`.
    """
    compare = comparison(focus, config, weights, external)

    def loss(
        variables: Variables, frozen: Variables, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, tuple[Parts, Any]]:
        (images, found), stats = sr.train(
            variables, to_float(batch.lr), rngs=nnx.Rngs(dropout=key), method="enlarge"
        )
        value, parts = compare(frozen, images, batch)
        if config.reading:
            words = targets(text.to_alphanumeric(batch.characters))
            vision, language = (
                losses.reading_loss(logits, words, softmax_twice=config.softmax_twice)
                for logits in (found.seen, found.read)
            )
            reading = vision + language
            value, parts = value + config.reading * reading, parts | {"reading": reading}
        return config.scale * value, ({"loss": value} | parts, stats)

    return loss
