"""The training step, pure, and the loss of each stage that it is made with.

A loss is a function of (variables, frozen variables, batch, key) that returns the value to
minimise, its parts for the log, and the batch statistics after the batch.
"""

from collections.abc import Callable
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from ml_collections import ConfigDict

from textsr_jax import decoding, losses, text
from textsr_jax.data.batching import Batch
from textsr_jax.data.photograph_folders import Crops
from textsr_jax.images import to_float
from textsr_jax.models import Network, Variables, join, part_of
from textsr_jax.models.layers.pixels import to_gray
from textsr_jax.train.state import TrainState

Parts = dict[str, jax.Array]
# Of words a batch is a `Batch`, of photographs `Crops`.
Loss = Callable[
    [Variables, Variables, Batch | Crops, jax.Array], tuple[jax.Array, tuple[Parts, Any]]
]


def make_step(
    loss: Loss,
    optimizer: optax.GradientTransformation,
    *,
    accumulate: int = 1,
    decay: float = 0.0,
    axis_name: str | None = None,
) -> Callable[[TrainState, Variables, Batch], tuple[TrainState, Parts]]:
    """The pure step: (state, frozen variables, batch) to (state, scalars for the log).

    Among the scalars `finite` says whether the loss, its gradient and the update all are.

    Args:
      loss: what is minimised.
      optimizer: makes updates of gradients.
      accumulate: into how many parts a batch is split, which run one after another to need less
        memory; it divides the batch. The gradient and the log are those of the whole batch, also
        where its parts hold unequal numbers of characters (`Batch.whole`), but for BatchNorm and
        dropout: they see one part at a time.
      decay: of the weights' moving average, in a state that has one: average x decay + weights x
        (1 - decay). The first steps use (1 + step) / (10 + step) where that is less, so that the
        average soon forgets where the weights began.
      axis_name: of `jax.pmap`, under which each device gets its part of the batch and the same
        state; the loss takes it too. None under jit, which sees the whole batch.
    """

    def gradient_of(
        params: dict[str, Any], stats: Any, frozen: Variables, batch: Batch, key: jax.Array
    ) -> tuple[Any, Any, Parts]:
        def objective(params: dict[str, Any]) -> tuple[jax.Array, tuple[Parts, Any]]:
            return loss({"params": params, "stats": stats}, frozen, batch, key)

        (value, (parts, new)), gradient = jax.value_and_grad(objective, has_aux=True)(params)
        return gradient, new, parts | {"finite": value}

    def accumulated(
        params: dict[str, Any], stats: Any, frozen: Variables, batch: Batch, key: jax.Array
    ) -> tuple[Any, Any, Parts]:
        # Each part takes samples from all over the batch, so that every device has some of each.
        split = jax.tree.map(
            lambda a: a.reshape(-1, accumulate, *a.shape[1:]).swapaxes(0, 1), batch
        )
        whole = {"whole": batch.characters} if isinstance(batch, Batch) else {}

        def add(carry: tuple[Any, Any], part: tuple[Batch, jax.Array]) -> Any:
            total, stats = carry
            samples, number = part
            part_key = jax.random.fold_in(key, number)
            samples = samples.replace(**whole)
            gradient, stats, parts = gradient_of(params, stats, frozen, samples, part_key)
            return (jax.tree.map(jnp.add, total, gradient), stats), parts

        zero = jax.tree.map(jnp.zeros_like, params)
        (total, stats), parts = jax.lax.scan(add, (zero, stats), (split, jnp.arange(accumulate)))
        gradient = jax.tree.map(lambda leaf: leaf / accumulate, total)
        return gradient, stats, jax.tree.map(lambda values: values.mean(0), parts)

    def step(state: TrainState, frozen: Variables, batch: Batch) -> tuple[TrainState, Parts]:
        key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
        if axis_name is not None:
            key = jax.random.fold_in(key, jax.lax.axis_index(axis_name))
        compute = gradient_of if accumulate == 1 else accumulated
        made = compute(state.params, state.stats, frozen, batch, key)
        gradient, stats, parts = made if axis_name is None else jax.lax.pmean(made, axis_name)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        norm = optax.global_norm(gradient)
        finite = jnp.isfinite(jnp.stack([parts["finite"], norm, optax.global_norm(updates)])).all()
        parts = parts | {"gradient_norm": norm, "finite": finite}
        keep = jnp.minimum(decay, (1 + state.step) / (10 + state.step))
        state = state.replace(
            step=state.step + 1,
            params=params,
            average=jax.tree.map(
                lambda old, new: keep * old + (1 - keep) * new,
                state.average,
                params if state.average else {},
            ),
            stats=stats,
            opt_state=opt_state,
        )
        return state, parts

    return step


@flax.struct.dataclass
class AtHand:
    """What a step reads and nobody changes, on every device: a pytree.

    Attributes:
      frozen: variables, as the loss takes them.
      lr, hr: all the images of training, uint8 (records, height, width, 3), by their number; None
        for those that the loss does not read.
    """

    frozen: Variables
    lr: jax.Array | None
    hr: jax.Array


def taking_images(loss: Loss) -> Loss:
    """`loss` for batches without images, which takes them out of an `AtHand` by their index."""

    def taken(
        variables: Variables, at_hand: AtHand, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, tuple[Parts, Any]]:
        lr, hr = jax.tree.map(lambda images: images[batch.index], (at_hand.lr, at_hand.hr))
        return loss(variables, at_hand.frozen, batch.replace(lr=lr, hr=hr), key)

    return taken


def changing(loss: Loss, change: Callable[[Batch, jax.Array], Batch]) -> Loss:
    """`loss` of batches whose images `change` has changed at random (`train.augmentation`)."""

    def changed(
        variables: Variables, frozen: Variables, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, tuple[Parts, Any]]:
        of_change, of_loss = jax.random.split(key)
        return loss(variables, frozen, change(batch, of_change), of_loss)

    return changed


def recognizer_loss(ocr: Network, axis_name: str | None = None) -> Loss:
    """The recogniser's own loss on `batch.hr`: CDistNet's cross-entropy, or CTC for CRNN.

    CDistNet is trained by teacher forcing with label smoothing 0.1. Stage 2 is this loss on batches
    whose `hr` holds SR images. `axis_name` is that of `make_step`.
    """
    read = _reading(ocr, axis_name)

    def loss(
        variables: Variables, frozen: Variables, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, tuple[Parts, Any]]:
        value, parts, stats = read(variables, to_float(batch.hr), batch, key)
        return value, ({"loss": value} | parts, stats)

    return loss


def _reading(ocr: Network, axis_name: str | None) -> Callable[..., tuple[jax.Array, Parts, Any]]:
    """(variables, images, batch, key) to the recogniser's loss, more for the log, statistics.

    Images are float (batch, 32, 128, 3), RGB in [0, 1], and gradients reach them. Of the batch the
    labels are read.
    """
    ocr = ocr.synchronized(axis_name)

    def cross_entropy(
        variables: Variables, images: jax.Array, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, Parts, Any]:
        tokens = text.cdistnet_tokens(batch.characters)
        logits, stats = ocr.train(variables, images, tokens[:, :-1], rngs=nnx.Rngs(dropout=key))
        targets = tokens[:, 1:]
        whole = None if batch.whole is None else text.cdistnet_tokens(batch.whole)[:, 1:]
        value = losses.cross_entropy(
            logits, targets, smoothing=0.1, whole=whole, axis_name=axis_name
        )
        present = targets != text.PAD
        all_present = None if whole is None else whole != text.PAD
        right = ((jnp.argmax(logits, -1) == targets) & present).sum()
        right = right / losses.share_of_count(present, all_present, axis_name)
        return value, {"characters_right": right}, stats

    def ctc(
        variables: Variables, images: jax.Array, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, Parts, Any]:
        logits, stats = ocr.train(variables, images)
        value = losses.ctc_loss(logits, batch.characters, whole=batch.whole, axis_name=axis_name)
        return value, {}, stats

    return cross_entropy if decoding.writes_tokens(ocr.skeleton()) else ctc


def focus_loss(focus: Network, axis_name: str | None = None) -> Loss:
    """Cross-entropy of the text-focus recogniser on grey HR images, mean over characters.

    `axis_name` is that of `make_step`.
    """
    focus = focus.synchronized(axis_name)

    def loss(
        variables: Variables, frozen: Variables, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, tuple[Parts, Any]]:
        inputs, targets, mask = text.focus_tokens(batch.characters)
        gray, rngs = to_gray(to_float(batch.hr)), nnx.Rngs(dropout=key)
        (logits, _), stats = focus.train(variables, gray, inputs, rngs=rngs)
        whole = _whole_mask(batch)
        value = losses.weighted_cross_entropy(
            logits, targets, mask, whole=whole, axis_name=axis_name
        )
        right = ((jnp.argmax(logits, -1) == targets) * mask).sum()
        right = right / losses.share_of_count(mask, whole, axis_name)
        return value, ({"loss": value, "characters_right": right}, stats)

    return loss


def _whole_mask(batch: Batch) -> jax.Array | None:
    """The mask of `text.focus_tokens` for the batch that this one is a part of, if it is."""
    return None if batch.whole is None else text.focus_tokens(batch.whole)[2]


def has_text_focus(config: ConfigDict) -> bool:
    """Whether the SR loss whose weights these are needs the text-focus recogniser."""
    return bool(config.position or config.recognition)


def super_resolution_loss(
    sr: Network,
    focus: Network,
    config: ConfigDict,
    axis_name: str | None = None,
    *,
    weights: np.ndarray | None = None,
) -> Loss:
    """The text-focus loss of stage 1; `frozen` holds the text-focus recogniser's variables.

    Where `config`, its `error` and weights, has none for the recogniser's parts, it is the images'
    error alone, and nothing of `frozen` is read. Where the batch brings the attention maps of its
    HR images, they are not computed again. `axis_name` is that of `make_step`; `weights` are those
    of confusions, of `losses.weight_table`, None for 1 everywhere.
    """
    sr, compare = sr.synchronized(axis_name), _comparison(focus, config, weights, axis_name)

    def loss(
        variables: Variables, frozen: Variables, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, tuple[Parts, Any]]:
        images, stats = sr.train(variables, to_float(batch.lr), rngs=nnx.Rngs(dropout=key))
        value, parts = compare(frozen, images, batch)
        return config.scale * value, ({"loss": value} | parts, stats)

    return loss


def joint_loss(
    sr: Network,
    ocr: Network,
    focus: Network,
    config: ConfigDict,
    reading: float,
    axis_name: str | None = None,
    *,
    weights: np.ndarray | None = None,
) -> Loss:
    """The paper's alternative to stages 1 and 2: stage 1's loss + `reading` x the recogniser's own.

    The recogniser reads the SR images as they come, neither clipped nor rounded, and its loss
    reaches both networks.

    Args:
      sr, ocr: what is trained, under these names in the variables (`models.join`).
      focus, config, weights: as for `super_resolution_loss`.
      reading: the weight of the recogniser's loss.
      axis_name: that of `make_step`.
    """
    sr, compare = sr.synchronized(axis_name), _comparison(focus, config, weights, axis_name)
    read = _reading(ocr, axis_name)

    def loss(
        variables: Variables, frozen: Variables, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, tuple[Parts, Any]]:
        sr_variables, ocr_variables = part_of(variables, "sr"), part_of(variables, "ocr")
        rngs = nnx.Rngs(dropout=jax.random.fold_in(key, 1))
        images, sr_stats = sr.train(sr_variables, to_float(batch.lr), rngs=rngs)
        enlarged, parts = compare(frozen, images, batch)
        read_value, more, ocr_stats = read(ocr_variables, images, batch, key)
        value = config.scale * enlarged + reading * read_value
        stats = join(
            sr=sr_variables | {"stats": sr_stats}, ocr=ocr_variables | {"stats": ocr_stats}
        )
        return value, ({"loss": value, "reading": read_value} | parts | more, stats["stats"])

    return loss


def _comparison(
    focus: Network, config: ConfigDict, weights: np.ndarray | None, axis_name: str | None
) -> Callable[[Variables, jax.Array, Batch], tuple[jax.Array, Parts]]:
    """(frozen variables, SR images, batch) to the loss of stage 1, not scaled, and its parts."""
    image_error = losses.IMAGE_ERRORS[config.error]

    def error_alone(frozen: Variables, images: jax.Array, batch: Batch) -> tuple[jax.Array, Parts]:
        hr = to_float(batch.hr)
        return image_error(images, hr), {"mse": losses.mse(images, hr)}

    def text_focus(frozen: Variables, images: jax.Array, batch: Batch) -> tuple[jax.Array, Parts]:
        inputs, targets, mask = text.focus_tokens(batch.characters)
        recognizer = focus.module(frozen)
        return losses.text_focus_loss(
            images,
            to_float(batch.hr),
            lambda images, inputs: recognizer(to_gray(images), inputs),
            inputs,
            targets,
            mask,
            weights,
            hr_attention=batch.attention,
            image_error=image_error,
            position_weight=config.position,
            recognition_weight=config.recognition,
            whole=_whole_mask(batch),
            axis_name=axis_name,
        )

    return text_focus if has_text_focus(config) else error_alone


def rescaling_loss(rescaler: Network, config: ConfigDict) -> Loss:
    """The loss of stage 0: the resampler and EDSR, on `batch.hr` alone."""

    def loss(
        variables: Variables, frozen: Variables, batch: Crops, key: jax.Array
    ) -> tuple[jax.Array, tuple[Parts, Any]]:
        hr = to_float(batch.hr)
        (sr, made), stats = rescaler.train(variables, hr)
        value, parts = losses.rescaling_loss(
            sr,
            hr,
            made.kernels,
            made.offsets_h,
            made.offsets_v,
            distance_weight=config.offset_distance,
            variation_weight=config.offset_variation,
        )
        return value, ({"loss": value} | parts, stats)

    return loss
