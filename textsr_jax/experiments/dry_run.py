"""What a training would take, stage by stage, without training: train.py --dry_run.

Parameters, memory, arithmetic, and the time an epoch takes at least. Steps are traced, not
compiled: at the paper's sizes compiling takes many minutes on a CPU.
"""

import dataclasses
import math
import sys
from typing import Any

import jax
import jax.numpy as jnp

from textsr_jax.config.settings import Experiment
from textsr_jax.models import Variables, count_parameters
from textsr_jax.models.layers.convolution import counted
from textsr_jax.report.tables import new_table, print_table
from textsr_jax.train import peaks, runner
from textsr_jax.train import state as states
from textsr_jax.train.mesh import Placement
from textsr_jax.train.specs import Outline


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A stage before it is trained.

    Attributes:
      stage: its folder.
      parameters: how many are trained.
      records: how many are trained on; 0 where all words are drawn in the steps.
      steps: of the whole stage.
      batch_size: of all devices together.
      drawn: how many words of a batch are drawn in the step.
      state_bytes: of parameters, statistics and optimiser on each device.
      step_bytes: of a step on each device, about: the state, what is frozen or lies there beside
        it, a gradient, the batch, and what the forward pass keeps for the gradient as the step is
        written. XLA may keep less, and takes working space. What drawing words takes is left out.
      flop: of a step's loss and gradient on all devices together: XLA's count of the step as it is
        written, twice for a multiplication and its addition.
      epoch_s: the least time of an epoch: its arithmetic at `matrix_flops`. None without records.
      matrix_flops: a second, of all devices together: large matrix products in the stage's compute
        dtype, measured here.
    """

    stage: str
    parameters: int
    records: int
    steps: int
    batch_size: int
    drawn: int
    state_bytes: int
    step_bytes: int
    flop: float
    epoch_s: float | None
    matrix_flops: float


@dataclasses.dataclass(frozen=True)
class _Cost:
    """Of a word in a step: arithmetic, and bytes kept from the forward pass for the gradient."""

    flop: float
    kept_bytes: float


def report(config: Experiment) -> list[Estimate]:
    """Prints the estimates of the stages that `config.stages` names, as a table; returns them.

    What goes on is told on standard error. Nothing is drawn, compiled or written.

    Raises:
      UserError: the config or its data cannot be trained.
    """
    _say("dry run: building the networks' shapes and counting the words")
    outlines, placement = runner.outlines(config)
    rates: dict[str, float] = {}
    costs: dict[tuple[int, bool, bool, bool], _Cost] = {}
    found = []
    for number, outline in enumerate(outlines, 1):
        _say(f"{outline.name} ({number} of {len(outlines)}): tracing a step")
        dtype = outline.dtype
        if dtype not in rates:
            rates[dtype] = placement.mesh.size * peaks.matrix_flops(dtype)
        # Two stages may train the same network by the same loss, and tracing takes seconds.
        settings = outline.settings
        kind = id(outline.network), settings.augment, settings.on_device, bool(outline.drawn)
        if kind not in costs:
            costs[kind] = _cost(outline)
        found.append(_estimate(outline, placement, costs[kind], rates[dtype]))
    table = new_table(
        f"{placement.mesh.size} x {jax.devices()[0].device_kind}, not trained",
        ["stage"],
        [
            *("parameters\n10^6", "records", "steps", "batch", "epochs"),
            *("state\nGB a\ndevice", "step\nGB a\ndevice", "step\nGFLOP", "epoch\nat least"),
        ],
    )
    for one in found:
        table.add_row(
            one.stage,
            f"{one.parameters / 1e6:.2f}",
            f"{one.records:,}" if one.records else "drawn",
            f"{one.steps:,}",
            str(one.batch_size),
            f"{one.steps * (one.batch_size - one.drawn) / one.records:.1f}" if one.records else "-",
            f"{one.state_bytes / 1e9:.3f}",
            f"{one.step_bytes / 1e9:.3f}",
            f"{one.flop / 1e9:,.1f}",
            "-" if one.epoch_s is None else _duration(one.epoch_s),
        )
    print_table(table)
    told = ", ".join(f"{rate / 1e12:.3f} TFLOP/s in {name}" for name, rate in rates.items())
    print(
        "step, GB: the state, a gradient, the batch and what the forward pass keeps for the\n"
        "gradient, as the step is written. XLA may keep less, and takes working space.\n"
        f"at least: the arithmetic at the rate of large matrix products, here {told}.\n"
        "Training reaches a part of it: docs/results/speed.md."
    )
    if any(one.drawn for one in found):
        print("What drawing words in the steps takes is left out.")
    return found


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _state(outline: Outline) -> states.TrainState:
    settings = outline.settings
    optimizer = states.make_optimizer(settings)
    return jax.eval_shape(
        lambda: states.create(
            jax.tree.map(jnp.zeros_like, outline.network.template),
            optimizer,
            jax.random.key(0),
            averaged=settings.average > 0,
        )
    )


def _cost(outline: Outline) -> _Cost:
    """Traces the loss and its gradient once, on a whole batch."""

    def gradient(
        params: Variables, stats: Variables, frozen: Any, batch: Any, key: jax.Array
    ) -> tuple[Variables, list[jax.Array]]:
        def objective(params: Variables) -> jax.Array:
            return outline.loss({"params": params, "stats": stats}, frozen, batch, key)[0]

        value, pull_back = jax.vjp(objective, params)
        return pull_back(jnp.ones_like(value)), jax.tree.leaves(pull_back)

    state = _state(outline)
    arguments = state.params, state.stats, outline.frozen, outline.batch, jax.random.key(0)
    with counted():
        traced = jax.jit(gradient).trace(*arguments)
    jaxpr = traced.jaxpr.jaxpr
    made = {id(var): var for var in jaxpr.outvars[len(jax.tree.leaves(state.params)) :]}
    # What the gradient needs of its arguments lies there already.
    kept = [made[key] for key in made.keys() - set(map(id, jaxpr.invars))]
    words = outline.settings.batch_size
    return _Cost(
        flop=traced.lower().cost_analysis()["flops"] / words,
        kept_bytes=sum(_bytes(var.aval) for var in kept) / words,
    )


def _estimate(outline: Outline, placement: Placement, cost: _Cost, matrix_flops: float) -> Estimate:
    settings, state = outline.settings, _state(outline)
    shardings = placement.shardings(state)
    state_bytes = _placed_bytes(state, shardings)
    held = outline.frozen, outline.beside
    frozen_bytes = _placed_bytes(held, placement.shardings(held))
    gradient_bytes = _placed_bytes(state.params, shardings.params)
    # Words of a step that a device looks at, and of them those that it has at a time.
    here = settings.batch_size / placement.mesh.size
    batch_bytes = sum(map(_bytes, jax.tree.leaves(outline.batch))) / placement.mesh.size
    kept_bytes = here / settings.accumulate * cost.kept_bytes
    flop = settings.batch_size * cost.flop
    read, epoch_s = settings.batch_size - outline.drawn, None
    if outline.records:
        epoch_s = outline.records / read * flop / matrix_flops
    return Estimate(
        stage=outline.name,
        parameters=count_parameters(outline.network.template),
        records=outline.records,
        steps=settings.steps,
        batch_size=settings.batch_size,
        drawn=outline.drawn,
        state_bytes=state_bytes,
        step_bytes=round(state_bytes + frozen_bytes + gradient_bytes + batch_bytes + kept_bytes),
        flop=flop,
        epoch_s=epoch_s,
        matrix_flops=matrix_flops,
    )


def _placed_bytes(tree: object, shardings: object) -> int:
    """What a tree of shapes takes on each device."""
    pairs = zip(jax.tree.leaves(tree), jax.tree.leaves(shardings), strict=True)
    return sum(leaf.dtype.itemsize * math.prod(s.shard_shape(leaf.shape)) for leaf, s in pairs)


def _bytes(leaf: jax.ShapeDtypeStruct) -> int:
    return leaf.dtype.itemsize * math.prod(leaf.shape)


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"
