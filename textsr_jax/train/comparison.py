"""How SR images are compared with HR images in a step of stage 1 or of the joint stage."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from textsr_jax import losses, text
from textsr_jax.config.settings import Stage1Settings
from textsr_jax.data.batching import Batch
from textsr_jax.images import Array, to_float
from textsr_jax.models import ExternalRecognizer, Network, Variables
from textsr_jax.models.layers.pixels import MASKED, to_gray, with_mask

# Where the frozen variables of the recognisers of `config.init.external` are, by their places.
EXTERNAL = "external"

# Scalars for the log, by name.
Parts = dict[str, jax.Array]


def whole_mask(batch: Batch) -> jax.Array | None:
    """The mask of `text.focus_tokens` for the whole batch; None if this is not a part of one."""
    return None if batch.whole is None else text.focus_tokens(batch.whole)[2]


def true_images(images: jax.Array, batch: Batch) -> jax.Array:
    """The HR images of a batch, float, with a mask where `images` have one.

    The batch may hold masks too, as pixels of a fourth channel.
    """
    hr = to_float(batch.hr)
    if images.shape[-1] != MASKED:
        return hr[..., :3]
    return hr if hr.shape[-1] == MASKED else with_mask(hr)


def has_text_focus(config: Stage1Settings) -> bool:
    """Whether the SR loss with these weights, those of `stage1`, reads a recogniser."""
    return bool(config.position or config.recognition)


def comparison(
    focus: Network,
    config: Stage1Settings,
    weights: Array | None,
    external: Sequence[ExternalRecognizer] = (),
) -> Callable[[Variables, jax.Array, Batch], tuple[jax.Array, Parts]]:
    """A function of (frozen variables, SR images, batch) to stage 1's unscaled loss and parts.

    The images may have masks, which the HR images are given too. The external recognisers' frozen
    variables are under `EXTERNAL`, by their places.
    """
    image_error = losses.IMAGE_ERRORS[config.error]

    def error_alone(frozen: Variables, images: jax.Array, batch: Batch) -> tuple[jax.Array, Parts]:
        hr = true_images(images, batch)
        return image_error(images, hr), {"mse": losses.mse(images, hr)}

    def text_focus(frozen: Variables, images: jax.Array, batch: Batch) -> tuple[jax.Array, Parts]:
        inputs, targets, mask = text.focus_tokens(batch.characters)
        recognizer = focus.module(frozen)
        return losses.text_focus_loss(
            images,
            true_images(images, batch),
            lambda images, inputs: recognizer(to_gray(images[..., :3]), inputs),
            inputs,
            targets,
            mask,
            weights,
            hr_attention=batch.attention,
            image_error=image_error,
            position_weight=config.position,
            recognition_weight=config.recognition,
            whole=whole_mask(batch),
        )

    compare = text_focus if has_text_focus(config) else error_alone

    def with_others(frozen: Variables, images: jax.Array, batch: Batch) -> tuple[jax.Array, Parts]:
        value, parts = compare(frozen, images, batch)
        seen = images[..., :3]
        if config.gradient:
            gradient = losses.gradient_prior_loss(seen, to_float(batch.hr)[..., :3])
            value, parts = value + config.gradient * gradient, parts | {"gradient": gradient}
        if external:
            # They read pictures, so what is beyond black and white does not count.
            shown = seen + jax.lax.stop_gradient(jnp.clip(seen, 0, 1) - seen)
            lost = [
                losses.ctc_loss(
                    recognizer(frozen[EXTERNAL][str(place)], shown),
                    batch.characters,
                    whole=batch.whole,
                )
                for place, recognizer in enumerate(external)
            ]
            read = jnp.stack(lost).mean()
            value, parts = value + config.external * read, parts | {"external": read}
        return value, parts

    return with_others if config.gradient or external else compare
