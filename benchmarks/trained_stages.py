"""What the training benchmark trains: a stage of the paper, the same in JAX and in PyTorch."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from benchmarks import torch_training
from benchmarks.golden import reference_tensors
from textsr_jax import convert, text
from textsr_jax.convert import stn
from textsr_jax.convert.table import NameTable, to_state_dict
from textsr_jax.data.batching import Batch
from textsr_jax.images import to_float
from textsr_jax.models import Network, Variables, build_focus, build_ocr, build_sr
from textsr_jax.models.layers.pixels import to_gray
from textsr_jax.train import state as states
from textsr_jax.train import steps

SEED = 0
STAGES = {"stage1": "STN + EDSR-32x256, text-focus loss", "stage2": "CDistNet, cross-entropy"}


@dataclasses.dataclass(frozen=True)
class Work:
    """What a stage trains, with stand-in weights: the same ones for both sides.

    Attributes:
      stage: a key of `STAGES`.
      settings: the stage's part of the config.
      network: what is trained.
      loss: of `steps`.
      variables: to start from.
      frozen: variables that the loss reads.
      twin: the same in PyTorch: the module that computes the loss.
      dtype: the compute dtype.
      attend: of stage 1: the attention to the HR images of a batch.
    """

    stage: str
    settings: ConfigDict
    network: Network
    loss: steps.Loss
    variables: Variables
    frozen: Variables
    twin: torch_training.Loss
    dtype: str
    attend: Callable[[Variables, Batch], jax.Array] | None = None


def work(stage: str, config: ConfigDict) -> Work:
    """The stage of a config like `configs.paper`; STN and recognisers have their published sizes.

    Dropout and augmentation are left out on both sides, since they cannot draw alike.
    """
    config = config.copy_and_resolve_references()
    settings = config[stage]
    if stage == "stage2":
        config.ocr.cdistnet.dropout = 0.0
        network = build_ocr(config.ocr)
        variables = stand_in("cdistnet", network)
        tensors = convert.export_variables("cdistnet", variables)
        twin = torch_training.RecognizerLoss(tensors)
        loss = steps.recognizer_loss(network)
        return Work(stage, settings, network, loss, variables, {}, twin, config.ocr.dtype)
    network, focus = build_sr(config.sr), build_focus(config.focus)
    variables, frozen = stand_in("edsr", network), stand_in("text_focus", focus)
    loss = steps.super_resolution_loss(network, focus, settings)
    twin = torch_training.SuperResolutionLoss(
        edsr=convert.export_variables("edsr", variables),
        stn={
            name.removeprefix("stn_head."): tensor
            for name, tensor in to_state_dict(_STN, _only(variables, "stn")).items()
        },
        focus=convert.export_variables("text_focus", frozen),
        config=config,
    )
    return Work(
        stage, settings, network, loss, variables, frozen, twin, config.sr.dtype, attention(focus)
    )


def attention(focus: Network) -> Callable[[Variables, Batch], jax.Array]:
    """What stage 1 keeps of a batch's HR images, from the recogniser's variables."""

    @jax.jit
    def attend(frozen: Variables, batch: Batch) -> jax.Array:
        inputs, _, _ = text.focus_tokens(batch.characters)
        return focus(frozen, to_gray(to_float(batch.hr)), inputs)[1]

    return attend


_STN = NameTable(renames=stn.RENAMES)


def _only(variables: Variables, name: str) -> Variables:
    return {kind: {name: tree[name]} for kind, tree in variables.items() if name in tree}


def stand_in(model: str, network: Network) -> Variables:
    """Weights drawn from the published names, as those of the parity vectors; of any size."""
    table = convert.TABLES[model]
    if model == "edsr":
        blocks = len(network.template["params"]["edsr"]["blocks"])
        renames = (*stn.RENAMES, *table.renames)
        table = dataclasses.replace(table, renames=renames, blocks=blocks)
    tensors = {
        name: reference_tensors.tensor(name, shape, SEED)
        for name, shape in table.published(network.template).items()
    }
    return convert.to_tree(table, tensors, network.template)


def pure_step(work: Work) -> steps.Step:
    """JAX's step as the training loop makes it."""
    settings = work.settings
    return steps.make_step(
        work.loss,
        states.make_optimizer(settings),
        accumulate=settings.accumulate,
        decay=settings.average,
    )


def step_functions(work: Work) -> tuple[Callable[..., Any], states.TrainState]:
    """The step as the training loop compiles it, and the state before the first."""
    # A step takes its state's arrays over.
    variables = jax.tree.map(jnp.array, work.variables)
    optimizer = states.make_optimizer(work.settings)
    state = states.create(variables, optimizer, jax.random.key(SEED))
    return jax.jit(pure_step(work), donate_argnums=0), state


def rates(settings: ConfigDict, count: int) -> list[float]:
    """The learning rates of the first steps."""
    # A constant schedule gives one number for all steps.
    return np.broadcast_to(states.schedule(settings)(np.arange(count)), count).tolist()
