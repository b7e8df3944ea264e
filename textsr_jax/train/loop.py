"""The one training loop of all stages: step, log, validate, keep the best, save, resume, stop."""

import contextlib
import dataclasses
import functools
import json
import pathlib
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from textsr_jax.errors import Stopped, UserError
from textsr_jax.models import Variables
from textsr_jax.runtime.progress import Progress
from textsr_jax.storage import atomic, checkpoints, workdirs
from textsr_jax.storage.checkpoints import Checkpoints, SavedCheckpoints
from textsr_jax.train import mesh as meshes
from textsr_jax.train import state as states
from textsr_jax.train import stopping, trained_on
from textsr_jax.train.best import BestModels
from textsr_jax.train.logs import Logs
from textsr_jax.train.mesh import Layout
from textsr_jax.train.steps import AtHand, Loss, make_step

_LOG_EVERY = 20

# In the record of a checkpoint whose step is still to be validated: that was stopped or is lost.
_UNVALIDATED = "unvalidated"


@dataclasses.dataclass(frozen=True)
class Validation:
    """A model's result on the validation words.

    Of two scores the higher is better; of two lists, that with the higher number where they first
    differ.
    """

    score: float | list[float]
    scalars: dict[str, float]
    pictures: dict[str, np.ndarray]  # uint8 (height, width, 3)
    texts: dict[str, str] = dataclasses.field(default_factory=dict)  # Markdown


@dataclasses.dataclass(frozen=True)
class Stage:
    """One training: what is trained, on what, and how it is judged.

    Attributes:
      name: the stage's folder in the workdir.
      initial: makes the variables to start from, from a key.
      loss: see `steps`.
      frozen: variables that the loss reads and nobody changes, or a `steps.AtHand` of them.
      settings: the stage's `optimization` config.
      batches: an endless iterator of `data.Batch` with `get_state` and `set_state`; this process's
        part of each batch.
      key_of: the key of the record that has a number in `Batch.index`.
      validate: judges variables.
      data: fingerprints of what it is trained on, by what that is called; a run goes on with the
        same alone.
    """

    name: str
    initial: Callable[[jax.Array], Variables]
    loss: Loss
    frozen: Variables | AtHand
    settings: ConfigDict
    batches: Any
    key_of: Callable[[int], str]
    validate: Callable[[Variables], Validation]
    data: Mapping[str, str] = dataclasses.field(default_factory=dict)


def is_finished(workdir: pathlib.Path, name: str, steps: int) -> bool:
    """Whether a stage has run all its steps in this workdir, or was stopped early.

    Its best model has to be there too: a run without it makes it again.
    """
    saved = SavedCheckpoints(workdir / name / "checkpoints")
    record = saved.last_record()
    if not record or record.get(_UNVALIDATED):
        return False
    best = SavedCheckpoints(workdirs.best_directory(workdir, name)).steps()
    ended = saved.steps()[-1] >= steps or record.get("stopped_early", False)
    return ended and record["best_step"] in best


def run(stage: Stage, workdir: pathlib.Path, layout: Layout, key: jax.Array, again: str) -> None:
    """Runs a stage from its last checkpoint, or from the beginning, to its end.

    Where the loss, its gradient or the update is not finite, the run goes back to its last
    checkpoint and leaves out the batch that made it so; `skipped.json` in the stage's folder
    remembers such batches, and a run that goes on leaves them out too.

    A validation that is stopped is made up for by the run that goes on, to the same bits.

    After `settings.patience` validations in a row without a better score the stage ends early; the
    count goes into the checkpoints.

    Args:
      stage: what to train.
      workdir: the stage's folder is made there.
      layout: where arrays lie on the devices.
      key: of all that is random in the stage.
      again: the command that goes on with the run, for the message when it is stopped.

    Raises:
      Stopped: after Ctrl-C or SIGTERM; everything is saved.
      UserError: more than `settings.skip_at_most` batches would have to be left out, the disk is
        full, or its checkpoints were trained on other data.
    """
    with stopping.listening(again) as stop:
        _run(stage, workdir, layout, key, again, stop)


def _run(
    stage: Stage,
    workdir: pathlib.Path,
    layout: Layout,
    key: jax.Array,
    again: str,
    stop: stopping.Stop,
) -> None:
    directory = workdir / stage.name
    saved = Checkpoints(directory / "checkpoints")
    best = BestModels(workdir, stage.name)
    steps = stage.settings.steps

    optimizer = states.make_optimizer(stage.settings)
    create = functools.partial(states.create, averaged=stage.settings.average > 0)
    template = jax.eval_shape(
        lambda: create(stage.initial(jax.random.key(0)), optimizer, jax.random.key(0))
    )
    shardings = layout.shardings(template)
    first_batch = stage.batches.get_state()

    def begin() -> tuple[int, states.TrainState, dict[str, Any]]:
        """The last checkpoint's step, state and record, or those of the beginning."""
        restored = saved.restore(checkpoints.abstract(template, shardings))
        if restored is None:
            state = create(stage.initial(jax.random.fold_in(key, 0)), optimizer, key)
            stage.batches.set_state(first_batch)
            saved.discard_after(0)
            best.discard_after(0)
            record = {"best_score": None, "best_step": 0, "drawn": 0}
            record |= {"waited": 0, "stopped_early": False, trained_on.KEY: dict(stage.data)}
            # Copies: a step takes its state's arrays over, and these may be needed again.
            return 0, layout.place(state), record
        step, state, record = restored
        trained_on.check(directory, record, stage.data)
        record[trained_on.KEY] = dict(stage.data)
        stage.batches.set_state(record.pop("data"))
        saved.discard_after(step)
        validated = step - 1 if record.get(_UNVALIDATED) else step
        if best.go_back(validated, record, checkpoints.abstract(template.variables)):
            record[_UNVALIDATED] = True
        return step, state, record

    step, state, record = begin()
    first_process = jax.process_index() == 0
    if step and first_process:
        print(f"{stage.name}: resumed at step {step}", file=sys.stderr)
    skipped = _Skipped(directory / "skipped.json", stage)

    pure_step = make_step(
        stage.loss,
        optimizer,
        accumulate=stage.settings.accumulate,
        decay=stage.settings.average,
    )
    step_function = jax.jit(pure_step, donate_argnums=0, out_shardings=(shardings, None))
    frozen = layout.place(stage.frozen)
    learning_rate = states.schedule(stage.settings)

    # One save at a time: Orbax names the barriers of several processes by the step alone, so that
    # two folders that are written at once could wait for each other for ever.
    def save(step: int) -> None:
        best.wait()
        saved.save(step, state, record | {"data": stage.batches.get_state()})

    def wait() -> None:
        saved.wait()
        best.wait()

    def validate(step: int) -> bool:
        """Judges the model and keeps the best; returns whether it was not stopped meanwhile."""
        try:
            with stop.at_once():
                result = stage.validate(state.variables)
        except KeyboardInterrupt:
            if stop.insisted:
                raise
            record[_UNVALIDATED] = True
            return False
        record.pop(_UNVALIDATED, None)
        record["waited"] += 1
        # Of two equal ones the earlier stays.
        if record["best_score"] is None or result.score > record["best_score"]:
            record.update(best_score=result.score, best_step=step, waited=0)
            wait()
            best.prune(saved)
            best.save(step, state.variables, {"score": result.score, "scalars": result.scalars})
        record["stopped_early"] = 0 < stage.settings.patience <= record["waited"]
        logs.scalars({f"validation/{name}": value for name, value in result.scalars.items()}, step)
        for name, picture in result.pictures.items():
            logs.image(name, picture, step)
        for name, text in result.texts.items():
            logs.text(name, text, step)
        logs.flush()
        say(f"{stage.name} step {step}: " + _listed(result.scalars))
        return True

    def make_up_for_validation() -> None:
        if record.get(_UNVALIDATED):
            if not validate(step):
                raise stopped("stopped, its checkpoint still to be validated,")
            save(step)

    def stopped(how: str) -> Stopped:
        return Stopped(f"{stage.name}: {how} at step {step}; go on with: {again}")

    def say(message: str) -> None:
        if first_process:
            bar.write(message, file=sys.stderr)

    logs = Logs(directory / "logs", step + 1)
    bar = Progress(
        total=steps,
        initial=step,
        desc=stage.name,
        unit="step",
        mininterval=0.5 if sys.stderr.isatty() else 15,
        disable=not first_process,
    )
    with stop.deferred(), contextlib.closing(saved), contextlib.closing(best), logs, bar:
        make_up_for_validation()
        clock, counted = time.perf_counter(), step
        # A step's outcome is looked at when the next is under way, so that devices need not wait.
        unseen: list[_Outcome] = []
        # Whether to stop is one answer for all processes, and asked of them a step ahead.
        asked: list[jax.Array] = []
        while step < steps and not record["stopped_early"]:
            batch = next(stage.batches)
            record["drawn"] += 1
            if record["drawn"] in skipped:
                continue
            batch = layout.shard_batch(batch)
            state, parts = step_function(state, frozen, batch)
            step += 1
            unseen.append(_Outcome(step, record["drawn"], batch.index, parts))
            log = step % _LOG_EVERY == 0 or step == steps
            judge = step % stage.settings.validate_every == 0 or step == steps
            asked_to_stop = bool(stop)
            if jax.process_count() > 1:
                asked.append(layout.any(asked_to_stop))
                asked_to_stop = len(asked) > 1 and bool(asked.pop(0))
            keep = step % stage.settings.checkpoint_every == 0 or step == steps
            seen = len(unseen) if log or judge or keep or asked_to_stop else len(unseen) - 1
            bad = next((outcome for outcome in unseen[:seen] if not outcome.finite), None)
            del unseen[:seen]
            if bad is not None:
                wait()
                skipped.add(bad)
                step, state, record = begin()
                unseen.clear()
                say(
                    f"{stage.name}: the loss is not finite at step {bad.step}; going on from step "
                    f"{step} without that batch ({skipped.path})"
                )
                bar.n = step
                make_up_for_validation()
                clock, counted = time.perf_counter(), step
                continue
            if log:
                scalars = {name: float(value) for name, value in parts.items() if name != "finite"}
                now = time.perf_counter()
                rate = (step - counted) * stage.settings.batch_size / (now - clock)
                clock, counted = now, step
                scalars |= {"learning_rate": float(learning_rate(step - 1)), "images_per_s": rate}
                logs.scalars({f"train/{name}": value for name, value in scalars.items()}, step)
                bar.set_postfix_str(_listed(scalars), refresh=False)
            bar.update()
            if judge:
                # Validation may take long: a stop meanwhile ends it.
                asked_to_stop = not validate(step) or bool(layout.any(bool(stop)))
                clock, counted = time.perf_counter(), step
            if keep or asked_to_stop or record["stopped_early"]:
                save(step)
            if asked_to_stop:
                wait()
                raise stopped("stopped and saved")
            if record["stopped_early"] and step < steps:
                say(
                    f"{stage.name}: ends early at step {step}: {record['waited']} validations "
                    f"without a better score than that of step {record['best_step']}"
                )
        wait()
        best.prune(saved)
        if stop.agreed():
            raise stopped("stopped after its end")


class _Outcome(NamedTuple):
    """What became of a step: its number, the batch's number and records, and scalars."""

    step: int
    drawn: int
    index: jax.Array
    parts: dict[str, jax.Array]

    @property
    def finite(self) -> bool:
        return bool(self.parts["finite"])


class _Skipped:
    """The batches of a stage that are left out, in memory and in a JSON file.

    Args:
      path: the file: a list of {"step", "batch", "records"}: where the loss was not finite, the
        batch's number since the stage began, from 1, and the keys of its records.
      stage: whose name and limit are used.

    Raises:
      UserError: the file cannot be read.
    """

    def __init__(self, path: pathlib.Path, stage: Stage):
        self.path, self._stage = path, stage
        try:
            self._entries = json.loads(path.read_text()) if path.exists() else []
            self._batches = {entry["batch"] for entry in self._entries}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path}: cannot read it ({error}); restore or delete it") from error

    def __contains__(self, drawn: int) -> bool:
        return drawn in self._batches

    def add(self, outcome: _Outcome) -> None:
        """Notes one more; raises a `UserError` if that is too many."""
        name, limit = self._stage.name, self._stage.settings.skip_at_most
        if len(self._entries) >= limit:
            left_out = f"{len(self._entries)} batches are left out already ({self.path}); " * (
                len(self._entries) > 0
            )
            raise UserError(
                f"{name}: the loss is not finite at step {outcome.step}; {left_out}the checkpoints "
                "before it are kept; lower the learning_rate of this stage"
            )
        numbers = meshes.gather(outcome.index).tolist()
        keys = [self._stage.key_of(number) for number in numbers]
        self._entries.append({"step": outcome.step, "batch": outcome.drawn, "records": keys})
        self._batches.add(outcome.drawn)
        if jax.process_index() == 0:
            atomic.write_text(self.path, json.dumps(self._entries, indent=1))


def _listed(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())
