"""The training step, pure, and the loss of each stage that it is made with.

A loss is a function of (variables, frozen variables, batch, key) that returns the value to
minimise, its parts for the log, and the batch statistics after the batch.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from ml_collections import ConfigDict

from textsr_jax import decoding, losses, text
from textsr_jax.data.batching import Batch
from textsr_jax.images import to_float
from textsr_jax.models import Network, Variables
from textsr_jax.models.text_focus import to_gray
from textsr_jax.train.state import TrainState

Parts = dict[str, jax.Array]
Loss = Callable[[Variables, Variables, Batch, jax.Array], tuple[jax.Array, tuple[Parts, Any]]]


def make_step(
    loss: Loss, optimizer: optax.GradientTransformation
) -> Callable[[TrainState, Variables, Batch], tuple[TrainState, Parts]]:
    """The pure step: (state, frozen variables, batch) to (state, scalars for the log)."""

    def step(state: TrainState, frozen: Variables, batch: Batch) -> tuple[TrainState, Parts]:
        key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)

        def objective(params: dict[str, Any]) -> tuple[jax.Array, tuple[Parts, Any]]:
            return loss({"params": params, "stats": state.stats}, frozen, batch, key)

        (_, (parts, stats)), gradient = jax.value_and_grad(objective, has_aux=True)(state.params)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        parts = parts | {"gradient_norm": optax.global_norm(gradient)}
        state = state.replace(step=state.step + 1, params=params, stats=stats, opt_state=opt_state)
        return state, parts

    return step


def recognizer_loss(ocr: Network) -> Loss:
    """The recogniser's own loss on `batch.hr`: CDistNet's cross-entropy, or CTC for CRNN.

    CDistNet is trained by teacher forcing with label smoothing 0.1. Stage 2 is this loss on batches
    whose `hr` holds SR images.
    """

    def cross_entropy(
        variables: Variables, frozen: Variables, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, tuple[Parts, Any]]:
        tokens = text.cdistnet_tokens(batch.characters)
        logits, stats = ocr.train(
            variables, to_float(batch.hr), tokens[:, :-1], rngs=nnx.Rngs(dropout=key)
        )
        targets = tokens[:, 1:]
        value = losses.cross_entropy(logits, targets, smoothing=0.1)
        present = targets != text.PAD
        right = (jnp.argmax(logits, -1) == targets) & present
        return value, ({"loss": value, "characters_right": right.sum() / present.sum()}, stats)

    def ctc(
        variables: Variables, frozen: Variables, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, tuple[Parts, Any]]:
        logits, stats = ocr.train(variables, to_float(batch.hr))
        value = losses.ctc_loss(logits, batch.characters)
        return value, ({"loss": value}, stats)

    return cross_entropy if decoding.writes_tokens(ocr.skeleton()) else ctc


def focus_loss(focus: Network) -> Loss:
    """Cross-entropy of the text-focus recogniser on grey HR images, mean over characters."""

    def loss(
        variables: Variables, frozen: Variables, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, tuple[Parts, Any]]:
        inputs, targets, mask = text.focus_tokens(batch.characters)
        (logits, _), stats = focus.train(variables, to_gray(to_float(batch.hr)), inputs)
        value = losses.weighted_cross_entropy(logits, targets, mask)
        right = ((jnp.argmax(logits, -1) == targets) * mask).sum() / mask.sum()
        return value, ({"loss": value, "characters_right": right}, stats)

    return loss


def super_resolution_loss(sr: Network, focus: Network, config: ConfigDict) -> Loss:
    """The text-focus loss of stage 1; `frozen` holds the text-focus recogniser's variables."""

    def loss(
        variables: Variables, frozen: Variables, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, tuple[Parts, Any]]:
        images, stats = sr.train(variables, to_float(batch.lr))
        inputs, targets, mask = text.focus_tokens(batch.characters)
        recognizer = focus.module(frozen)
        value, parts = losses.text_focus_loss(
            images,
            to_float(batch.hr),
            lambda images, inputs: recognizer(to_gray(images), inputs),
            inputs,
            targets,
            mask,
            position_weight=config.position,
            recognition_weight=config.recognition,
        )
        return config.scale * value, ({"loss": value} | parts, stats)

    return loss
