"""What a training would take, stage by stage, without training: train.py --dry_run.

Parameters, memory, arithmetic, and the time an epoch takes at least.
"""

import dataclasses
import math
import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict
from rich.console import Console
from rich.table import Table

from textsr_jax import checkpoints
from textsr_jax.models import count_parameters
from textsr_jax.models.convolution import counted
from textsr_jax.report.tables import print_table
from textsr_jax.train import stages
from textsr_jax.train import state as states
from textsr_jax.train.mesh import Layout
from textsr_jax.train.steps import make_step

# Large enough that a chip's matrix units are busy.
_MATRIX = {"cpu": 2048, "gpu": 8192, "tpu": 8192}


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A stage before it is trained.

    Attributes:
      stage: its folder.
      parameters: how many are trained.
      records: how many are trained on.
      steps: of the whole stage.
      batch_size: of all devices together.
      state_bytes: of parameters, statistics and optimiser on each device.
      peak_bytes: what the compiled step needs on each device, by XLA's plan.
      flop: of a step on all devices together: XLA's count of the step as it is written, twice for
        a multiplication and its addition.
      epoch_s: the least time of an epoch: its arithmetic at `matrix_flops`.
      matrix_flops: a second, of all devices together: large matrix products in the stage's compute
        dtype, measured here.
    """

    stage: str
    parameters: int
    records: int
    steps: int
    batch_size: int
    state_bytes: int
    peak_bytes: int
    flop: float
    epoch_s: float
    matrix_flops: float


def report(config: ConfigDict) -> list[Estimate]:
    """Prints the estimates of the stages that `config.stages` names, as a table; returns them.

    Raises:
      UserError: the config or its data cannot be trained.
    """
    outlines, layout = stages.outlines(config)
    console = Console(stderr=True)
    peaks: dict[str, float] = {}
    found = []
    for outline in outlines:
        with console.status(f"{outline.name}: compiling"):
            dtype = _compute_dtype(config, outline.name)
            if dtype not in peaks:
                peaks[dtype] = layout.mesh.size * _matrix_flops(dtype)
            found.append(_estimate(outline, layout, peaks[dtype]))
    table = Table(title=f"{layout.mesh.size} x {jax.devices()[0].device_kind}, not trained")
    for name in (
        *("stage", "parameters\n10^6", "records", "steps", "batch", "epochs"),
        *("state\nGB a device", "peak\nGB a device", "step\nGFLOP", "epoch\nat least"),
    ):
        table.add_column(name, justify="left" if name == "stage" else "right")
    for one in found:
        table.add_row(
            one.stage,
            f"{one.parameters / 1e6:.2f}",
            f"{one.records:,}",
            f"{one.steps:,}",
            str(one.batch_size),
            f"{one.steps * one.batch_size / one.records:.1f}",
            f"{one.state_bytes / 1e9:.3f}",
            f"{one.peak_bytes / 1e9:.3f}",
            f"{one.flop / 1e9:,.1f}",
            _duration(one.epoch_s),
        )
    print_table(table)
    rates = ", ".join(f"{rate / 1e12:.3f} TFLOP/s in {name}" for name, rate in peaks.items())
    print(
        f"At least: the arithmetic at the rate of large matrix products, measured here: {rates}.\n"
        "Training reaches a part of it: docs/performance.md."
    )
    return found


def _compute_dtype(config: ConfigDict, stage: str) -> str:
    if stage == stages.PRETRAIN_FOCUS:
        return config.focus.dtype
    return config.ocr.dtype if stage in (stages.PRETRAIN_OCR, stages.STAGE2) else config.sr.dtype


def _estimate(outline: stages.Outline, layout: Layout, matrix_flops: float) -> Estimate:
    settings = outline.settings
    optimizer = states.make_optimizer(settings)
    template = jax.eval_shape(
        lambda: states.create(
            jax.tree.map(jnp.zeros_like, outline.network.template),
            optimizer,
            jax.random.key(0),
            averaged=settings.average > 0,
        )
    )

    def step(accumulate: int) -> Any:
        return make_step(outline.loss, optimizer, accumulate=accumulate, decay=settings.average)

    # A loop over parts of the batch would be counted once.
    with counted():
        cost = jax.jit(step(1)).lower(template, outline.frozen, outline.batch).cost_analysis()
    shardings = layout.shardings(template)
    state = checkpoints.abstract(template, shardings)
    frozen = checkpoints.abstract(outline.frozen, layout.shardings(outline.frozen))
    split = layout.batch_sharding
    batch = checkpoints.abstract(outline.batch, jax.tree.map(lambda _: split, outline.batch))
    function = jax.jit(step(settings.accumulate), donate_argnums=0, out_shardings=(shardings, None))
    compiled = function.lower(state, frozen, batch).compile()
    memory = compiled.memory_analysis()
    held = memory.argument_size_in_bytes + memory.output_size_in_bytes
    state_bytes = sum(
        leaf.dtype.itemsize * math.prod(sharding.shard_shape(leaf.shape))
        for leaf, sharding in zip(
            jax.tree.leaves(template), jax.tree.leaves(shardings), strict=True
        )
    )
    steps_an_epoch = outline.records / settings.batch_size
    return Estimate(
        stage=outline.name,
        parameters=count_parameters(outline.network.template),
        records=outline.records,
        steps=settings.steps,
        batch_size=settings.batch_size,
        state_bytes=state_bytes,
        peak_bytes=held + memory.temp_size_in_bytes - memory.alias_size_in_bytes,
        flop=cost["flops"],
        epoch_s=steps_an_epoch * cost["flops"] / matrix_flops,
        matrix_flops=matrix_flops,
    )


def _matrix_flops(dtype: str) -> float:
    """Arithmetic a second of one device in a large matrix product; the median of five."""
    size = _MATRIX.get(jax.default_backend(), 2048)
    left, right = jax.random.normal(jax.random.key(0), (2, size, size)).astype(dtype)
    multiply = jax.jit(jnp.matmul)
    multiply(left, right).block_until_ready()
    times = []
    for _ in range(5):
        start = time.perf_counter()
        multiply(left, right).block_until_ready()
        times.append(time.perf_counter() - start)
    return 2 * size**3 / statistics.median(times)


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"
