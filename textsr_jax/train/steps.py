"""The pure training step, and the losses that stages make it with.

A loss takes (variables, frozen variables, batch, key). It returns the value to minimise, scalars
for the log, and the batch statistics after the batch.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import flax
import jax
import jax.numpy as jnp
import optax
from flax import nnx

from textsr_jax import losses, text
from textsr_jax.config.settings import Stage0Settings, Stage1Settings
from textsr_jax.data.batching import Batch
from textsr_jax.data.photograph_folders import Crops
from textsr_jax.images import Array, to_float
from textsr_jax.models import ExternalRecognizer, Network, Variables, join, part_of
from textsr_jax.models.layers.pixels import to_gray
from textsr_jax.train import pmapped
from textsr_jax.train.comparison import Parts, comparison, whole_mask
from textsr_jax.train.state import TrainState

# The second argument holds variables, or `DeviceData`; the third is a `Batch` of words, or `Crops`
# of photographs.
Loss = Callable[[Variables, Any, Any, jax.Array], tuple[jax.Array, tuple[Parts, Any]]]
# (state, what the loss reads and no step changes, batch) to (state, scalars for the log).
Step = Callable[[TrainState, Any, Any], tuple[TrainState, Parts]]


def make_step(
    loss: Loss,
    optimizer: optax.GradientTransformation,
    *,
    accumulate: int = 1,
    decay: float = 0.0,
    pmap: bool = False,
) -> Step:
    """The pure step: (state, frozen variables, batch) to (state, scalars for the log).

    The scalar `finite` says whether the loss, its gradient and the update all are.

    Args:
      loss: what is minimised.
      optimizer: turns gradients into updates.
      accumulate: how many parts a batch is split into; it divides the batch. The parts run one
        after another, which needs less memory. The gradient and the log are those of the whole
        batch, even if its parts hold unequal numbers of characters (`Batch.whole`). BatchNorm and
        dropout see one part at a time.
      decay: of the weights' moving average, in a state that has one: average x decay + weights x
        (1 - decay). The first steps use (1 + step) / (10 + step) where that is less, so that the
        average soon forgets where the weights began.
      pmap: whether the step is for `pmapped.over_devices`: each device has its rows of the batch
        and the same state. The loss stays as it is, but for BatchNorm in the network that it
        trains (`Placement.synchronized`). False under jit, which sees the whole batch.
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
        whole = {}
        if isinstance(batch, Batch):
            whole["whole"] = batch.characters if batch.whole is None else batch.whole
            batch = batch.replace(whole=None)
        # Each part takes samples from all over the batch, so that every device has some of each.
        split = jax.tree.map(
            lambda a: a.reshape(-1, accumulate, *a.shape[1:]).swapaxes(0, 1), batch
        )

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
        if pmap:
            rows = len(jax.tree.leaves(batch)[0]) // accumulate
            key = pmapped.row_key(key, jax.lax.axis_index(pmapped.DEVICES), rows)
            batch = pmapped.with_whole(batch)
        compute = gradient_of if accumulate == 1 else accumulated
        made = compute(state.params, state.stats, frozen, batch, key)
        gradient, stats, parts = jax.lax.pmean(made, pmapped.DEVICES) if pmap else made
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        norm = optax.tree.norm(gradient)
        # A norm of the updates would compute them again.
        finite = jnp.isfinite(jnp.stack([parts["finite"], norm, optax.tree.norm(params)])).all()
        parts = parts | {"gradient_norm": norm, "finite": finite}
        keep = jnp.minimum(decay, (1 + state.step) / (10 + state.step))
        state = dataclasses.replace(
            state,
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


class DeviceData(flax.struct.PyTreeNode):
    """What lies on every device while a stage runs, and no step changes: a pytree.

    Attributes:
      frozen: variables, as the loss takes them.
      lr, hr: all training images by the record's number, uint8 (records, height, width, 3); None
        where the loss does not read them.
    """

    frozen: Variables
    lr: Array | None
    hr: Array


def with_device_images(loss: Loss) -> Loss:
    """`loss` for batches without images: it takes a `DeviceData` and finds them there by index."""

    def device_loss(
        variables: Variables, held: DeviceData, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, tuple[Parts, Any]]:
        return loss(variables, held.frozen, take_images(held, batch), key)

    return device_loss


def take_images(held: DeviceData, batch: Batch) -> Batch:
    """A batch without images with those that lie on the device, by `Batch.index`."""
    lr, hr = jax.tree.map(lambda images: images[batch.index], (held.lr, held.hr))
    return batch.replace(lr=lr, hr=hr)


def with_augmentation(loss: Loss, change: Callable[[Batch, jax.Array], Batch]) -> Loss:
    """`loss` for batches whose images `change` changes first, at random (`train.augmentation`)."""

    def augmented(
        variables: Variables, frozen: Variables, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, tuple[Parts, Any]]:
        of_change, of_loss = jax.random.split(key)
        return loss(variables, frozen, change(batch, of_change), of_loss)

    return augmented


def recognizer_loss(ocr: Network) -> Loss:
    """The recogniser's own loss (`models.Recognizer`) on `batch.hr`.

    Stage 2 uses this loss with SR images in `batch.hr`.
    """
    read = _reading(ocr)

    def loss(
        variables: Variables, frozen: Variables, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, tuple[Parts, Any]]:
        value, parts, stats = read(variables, to_float(batch.hr), batch, key)
        return value, ({"loss": value} | parts, stats)

    return loss


def _reading(ocr: Network) -> Callable[..., tuple[jax.Array, Parts, Any]]:
    """A function of (variables, images, batch, key) to the loss, scalars and statistics.

    Images are float (batch, 32, 128, 3), RGB in [0, 1], and gradients reach them. The batch gives
    the labels.
    """

    def read(
        variables: Variables, images: jax.Array, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, Parts, Any]:
        words = losses.BatchLosses(batch.characters, batch.whole)
        (value, parts), stats = ocr.train(
            variables, images, words, rngs=nnx.Rngs(dropout=key), method="loss"
        )
        return value, parts, stats

    return read


def focus_loss(focus: Network) -> Loss:
    """The text-focus recogniser's cross-entropy on grey HR images, the mean over characters."""

    def loss(
        variables: Variables, frozen: Variables, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, tuple[Parts, Any]]:
        inputs, targets, mask = text.focus_tokens(batch.characters)
        gray, rngs = to_gray(to_float(batch.hr)), nnx.Rngs(dropout=key)
        (logits, _), stats = focus.train(variables, gray, inputs, rngs=rngs)
        whole = whole_mask(batch)
        value = losses.weighted_cross_entropy(logits, targets, mask, whole=whole)
        right = ((jnp.argmax(logits, -1) == targets) * mask).sum()
        right = right / losses.share_of_count(mask, whole)
        return value, ({"loss": value, "characters_right": right}, stats)

    return loss


def super_resolution_loss(
    sr: Network,
    focus: Network,
    config: Stage1Settings,
    *,
    weights: Array | None = None,
    external: Sequence[ExternalRecognizer] = (),
) -> Loss:
    """The text-focus loss of stage 1; `frozen` holds the text-focus recogniser's variables.

    `gradient` x the gradient prior is added. If both weights of the recogniser's parts are 0, the
    images' error stands in place of that loss, and `frozen` is not read. Attention maps that come
    with the batch are not computed again.

    Args:
      sr: what is trained.
      focus: the text-focus recogniser.
      config: `stage1`: the images' `error` and the weights of the parts.
      weights: of confusions between characters, from `losses.weight_table`; None for 1 everywhere.
      external: recognisers that read SR images too, with their variables in `frozen` under
        `comparison.EXTERNAL`; `external` x the mean of their CTC losses is added.
    """
    compare = comparison(focus, config, weights, external)

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
    config: Stage1Settings,
    reading: float,
    *,
    weights: Array | None = None,
    external: Sequence[ExternalRecognizer] = (),
) -> Loss:
    """The paper's alternative to stages 1 and 2: stage 1's loss + `reading` x the recogniser's own.

    The recogniser reads the SR images neither clipped nor rounded. Its loss trains both networks.

    Args:
      sr, ocr: what is trained, under these names in the variables (`models.join`).
      focus, config, weights, external: as for `super_resolution_loss`.
      reading: the weight of the recogniser's loss.
    """
    compare, read = comparison(focus, config, weights, external), _reading(ocr)

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


def rescaling_loss(rescaler: Network, config: Stage0Settings) -> Loss:
    """The loss of stage 0, of the resampler and EDSR; it reads `batch.hr`."""

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
