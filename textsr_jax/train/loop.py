"""The one training loop of all stages: step, log, validate, keep the best, save, resume, stop."""

import contextlib
import dataclasses
import functools
import pathlib
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict
from tensorboardX import SummaryWriter
from tqdm import tqdm

from textsr_jax import checkpoints
from textsr_jax.checkpoints import Checkpoints
from textsr_jax.errors import Stopped, UserError
from textsr_jax.models import Network, Variables
from textsr_jax.train import mesh as meshes
from textsr_jax.train import state as states
from textsr_jax.train.steps import Loss, make_step

_LOG_EVERY = 20


@dataclasses.dataclass(frozen=True)
class Validation:
    """A model's result on the validation words: higher `score` is better."""

    score: float
    scalars: dict[str, float]
    pictures: dict[str, np.ndarray]  # uint8 (height, width, 3)


@dataclasses.dataclass(frozen=True)
class Stage:
    """One training: what is trained, on what, and how it is judged.

    Attributes:
      name: the stage's folder in the workdir.
      network: what is trained.
      initial: makes the variables to start from, from a key.
      loss: see `steps`.
      frozen: variables that the loss reads and nobody changes.
      settings: the stage's `optimization` config.
      batches: an endless iterator of `data.Batch` with `get_state` and `set_state`.
      validate: judges variables.
    """

    name: str
    network: Network
    initial: Callable[[jax.Array], Variables]
    loss: Loss
    frozen: Variables
    settings: ConfigDict
    batches: Any
    validate: Callable[[Variables], Validation]


def is_finished(workdir: pathlib.Path, name: str, steps: int) -> bool:
    """Whether a stage has run all its steps in this workdir."""
    directory = workdir / name / "checkpoints"
    if not directory.is_dir():
        return False
    saved = Checkpoints(directory)
    try:
        return bool(saved.steps()) and saved.steps()[-1] >= steps
    finally:
        saved.close()


def run(stage: Stage, workdir: pathlib.Path, mesh: Mesh, key: jax.Array, again: str) -> None:
    """Runs a stage from its last checkpoint, or from the beginning, to its end.

    Args:
      again: the command that goes on with the run, for the message when it is stopped.

    Raises:
      Stopped: after Ctrl-C or SIGTERM; everything is saved.
      UserError: the loss is not finite.
    """
    directory = workdir / stage.name
    saved = Checkpoints(directory / "checkpoints")
    best = Checkpoints(checkpoints.best_directory(workdir, stage.name))
    steps = stage.settings.steps

    optimizer = states.make_optimizer(stage.settings)
    create = functools.partial(states.create, averaged=stage.settings.average > 0)
    template = jax.eval_shape(
        lambda: create(stage.initial(jax.random.key(0)), optimizer, jax.random.key(0))
    )
    restored = saved.restore(checkpoints.abstract(template, meshes.replicated(mesh)))
    if restored is None:
        state = create(stage.initial(jax.random.fold_in(key, 0)), optimizer, key)
        state = meshes.replicate(state, mesh)
        start, record = 0, {"best_score": None, "best_step": 0}
    else:
        start, state, record = restored
        stage.batches.set_state(record.pop("data"))
        saved.discard_after(start)
        best.discard_after(start)
        print(f"{stage.name}: resumed at step {start}", file=sys.stderr)

    pure_step = make_step(
        stage.loss,
        optimizer,
        accumulate=stage.settings.accumulate,
        decay=stage.settings.average,
    )
    step_function = jax.jit(pure_step, donate_argnums=0)
    frozen = meshes.replicate(stage.frozen, mesh)
    learning_rate = states.schedule(stage.settings)

    def save(step: int) -> None:
        saved.save(step, state, record | {"data": stage.batches.get_state()})

    def validate(step: int) -> None:
        result = stage.validate(state.variables)
        if record["best_score"] is None or result.score > record["best_score"]:
            record.update(best_score=result.score, best_step=step)
            best.save(step, state.variables, {"score": result.score, "scalars": result.scalars})
        for name, value in result.scalars.items():
            writer.add_scalar(f"validation/{name}", value, step)
        for name, picture in result.pictures.items():
            writer.add_image(name, picture, step, dataformats="HWC")
        bar.write(f"{stage.name} step {step}: " + _listed(result.scalars), file=sys.stderr)

    writer = SummaryWriter(str(directory / "logs"), purge_step=start + 1)
    bar = tqdm(
        total=steps,
        initial=start,
        desc=stage.name,
        unit="step",
        mininterval=0.5 if sys.stderr.isatty() else 15,
        disable=jax.process_index() != 0,
    )
    with contextlib.closing(saved), contextlib.closing(best), writer, bar, _stop_request() as stop:
        clock, counted = time.perf_counter(), start
        for step in range(start + 1, steps + 1):
            batch = meshes.shard_batch(next(stage.batches), mesh)
            state, parts = step_function(state, frozen, batch)
            if step % _LOG_EVERY == 0 or step == steps:
                parts = {name: float(value) for name, value in parts.items()}
                if not np.isfinite(parts["loss"]):
                    saved.wait()
                    raise UserError(
                        f"{stage.name}: the loss is not finite at step {step}; the checkpoints "
                        f"before it are kept; lower config.{stage.name}.learning_rate"
                    )
                now = time.perf_counter()
                rate = (step - counted) * stage.settings.batch_size / (now - clock)
                clock, counted = now, step
                parts |= {"learning_rate": float(learning_rate(step - 1)), "images_per_s": rate}
                for name, value in parts.items():
                    writer.add_scalar(f"train/{name}", value, step)
                bar.set_postfix_str(_listed(parts), refresh=False)
            bar.update()
            if step % stage.settings.validate_every == 0 or step == steps:
                validate(step)
                clock, counted = time.perf_counter(), step
            if step % stage.settings.checkpoint_every == 0 or step == steps or stop:
                save(step)
            if stop:
                saved.wait()
                best.wait()
                raise Stopped(
                    f"{stage.name}: stopped and saved at step {step}; go on with: {again}"
                )
        saved.wait()
        best.wait()


def _listed(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())


@contextlib.contextmanager
def _stop_request() -> Iterator[list[int]]:
    """A list that stays empty (and so false) until Ctrl-C or SIGTERM; a second one interrupts."""
    received: list[int] = []

    def note(number: int, frame: object) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)
        print("\nstopping after this step; once more to stop at once", file=sys.stderr)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
