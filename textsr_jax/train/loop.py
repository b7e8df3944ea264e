"""The one training loop of all stages: step, log, validate, keep the best, save, resume, stop."""

import contextlib
import dataclasses
import functools
import pathlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

import jax

from textsr_jax.config.settings import Optimization
from textsr_jax.errors import Stopped
from textsr_jax.models import Variables
from textsr_jax.storage import workdirs
from textsr_jax.storage.checkpoints import SavedCheckpoints
from textsr_jax.train import mesh as meshes
from textsr_jax.train import state as states
from textsr_jax.train import stopping
from textsr_jax.train.goodput import Goodput
from textsr_jax.train.mesh import Placement
from textsr_jax.train.profiling import Window
from textsr_jax.train.reports import StageReports
from textsr_jax.train.skipped import Outcome, SkippedBatches
from textsr_jax.train.speed import Speed, step_flops
from textsr_jax.train.stage_files import UNVALIDATED, StageFiles
from textsr_jax.train.state import TrainState
from textsr_jax.train.steps import Loss, Step, make_step
from textsr_jax.train.validation import Judge

_LOG_EVERY = 20


@dataclasses.dataclass(frozen=True)
class Stage:
    """One training: what is trained, on what, and how it is judged.

    Attributes:
      name: the stage's folder in the workdir.
      initial: makes the variables to start from, from a key.
      loss: see `steps`.
      frozen: what steps read and do not change: variables, perhaps in a `steps.DeviceData` or in a
        `drawn_words.DrawingData`.
      settings: the stage's `optimization` config.
      batches: an endless iterator of `data.Batch` with `get_state` and `set_state`. Each process
        gets its own part of each batch.
      key_of: the key of the record that has a number in `Batch.index`.
      judge: scores variables; the best are kept.
      data: fingerprints of what it is trained on, by what that is called. A run goes on only with
        the same data.
      around: what becomes of the pure step, as `drawn_words.with_drawn_words`; None for nothing.
      dtype: the compute dtype, which decides what the devices can do at most.
    """

    name: str
    initial: Callable[[jax.Array], Variables]
    loss: Loss
    frozen: Any
    settings: Optimization
    batches: Any
    key_of: Callable[[int], str]
    judge: Judge
    data: Mapping[str, str] = dataclasses.field(default_factory=dict)
    around: Callable[[Step], Step] | None = None
    dtype: str = "float32"


def is_finished(workdir: pathlib.Path, name: str, steps: int) -> bool:
    """Whether a stage has run all its steps in this workdir, or was ended early by its patience.

    Its best model has to be there too. A run without it makes it again.
    """
    saved = SavedCheckpoints(workdir / name / "checkpoints")
    record = saved.last_record()
    if not record or record.get(UNVALIDATED):
        return False
    best = SavedCheckpoints(workdirs.best_directory(workdir, name)).steps()
    ended = saved.steps()[-1] >= steps or record.get("stopped_early", False)
    return ended and record["best_step"] in best


def run(
    stage: Stage,
    workdir: pathlib.Path,
    placement: Placement,
    key: jax.Array,
    again: str,
    begun: float | None = None,
    profile: Window | None = None,
) -> None:
    """Runs a stage from its last checkpoint, or from the beginning, to its end.

    Where the loss, its gradient or the update is not finite, the run goes back to its last
    checkpoint and leaves out the batch that made it so. `skipped.json` in the stage's folder
    remembers such batches, and a run that goes on leaves them out too.

    A validation that was stopped is done by the run that goes on, to the same bits.

    After `settings.patience` validations in a row without a better score the stage ends early. The
    checkpoints hold the count.

    `goodput.json` in the stage's folder says what the time went into, earlier starts included, and
    how fast the steps were.

    Args:
      stage: what to train.
      workdir: the stage's folder is made there.
      placement: where arrays lie on the devices.
      key: of all that is random in the stage.
      again: the command that goes on with the run, for the message when it is stopped.
      begun: when the making of the stage began, by `time.perf_counter`; None for now.
      profile: the steps to trace; None for none.

    Raises:
      Stopped: after Ctrl-C or SIGTERM; everything is saved.
      UserError: more than `settings.skip_at_most` batches would have to be left out, the disk is
        full, or its checkpoints were trained on other data.
    """
    with stopping.listening(again) as signals:
        goodput = Goodput(workdir / stage.name, begun)
        with contextlib.closing(goodput):
            _Loop(stage, workdir, placement, key, again, signals, goodput, profile).run()


class _Loop:
    """A stage while it runs.

    Args:
      stage, workdir, placement, key, again: as of `run`.
      signals: whether the user asked to stop.
      goodput: the account of its time.
      profile: as of `run`.
    """

    def __init__(
        self,
        stage: Stage,
        workdir: pathlib.Path,
        placement: Placement,
        key: jax.Array,
        again: str,
        signals: stopping.Stop,
        goodput: Goodput,
        profile: Window | None,
    ):
        self._stage, self._settings, self._placement = stage, stage.settings, placement
        self._key, self._again, self._signals = key, again, signals
        self._goodput = goodput
        self._folder = workdir / stage.name
        self._files = StageFiles(self._folder, stage.data, goodput)
        self._optimizer = states.make_optimizer(stage.settings)
        self._template = jax.eval_shape(lambda: self._fresh(jax.random.key(0), jax.random.key(0)))
        self._shardings = placement.shardings(self._template)
        self._first_batch = stage.batches.get_state()
        # Steps whose outcome was not looked at: it is when the next step is under way, so that
        # devices need not wait.
        self._unseen: list[Outcome] = []
        self._stop = stopping.Vote(signals, placement.any)
        self.begin()
        if self._number:
            meshes.say(f"{stage.name}: resumed at step {self._number}", file=sys.stderr)
        self._skipped = SkippedBatches(
            self._folder / "skipped.json", stage.name, stage.settings.skip_at_most, stage.key_of
        )
        pure_step = make_step(
            stage.loss,
            self._optimizer,
            accumulate=stage.settings.accumulate,
            decay=stage.settings.average,
            pmap=placement.pmap,
        )
        pure_step = placement.over_devices(pure_step)
        if stage.around is not None:
            pure_step = stage.around(pure_step)
        self._step_function = jax.jit(
            pure_step, donate_argnums=0, out_shardings=(self._shardings, None)
        )
        self._frozen = placement.place(stage.frozen)
        count = functools.partial(step_flops, stage.loss, stage.settings, stage.around)
        speed = Speed(stage.name, stage.settings, stage.dtype, count, goodput.facts)
        logs = self._folder / "logs"
        self._reports = StageReports(
            stage.name, logs, self._number, stage.settings, goodput, speed, profile
        )

    def run(self) -> None:
        """Takes steps to the stage's end."""
        with (
            self._signals.deferred(),
            contextlib.closing(self._files),
            self._reports,
        ):
            self._validate_if_missing()
            self._reports.restart_clock(self._number)
            with self._goodput.during("steps"):
                while self._number < self._settings.steps and not self._record["stopped_early"]:
                    self.step()
            self._files.wait()
            self._files.prune()
            self._reports.end(self._number)
            if self._signals.agreed():
                raise self._stopped("stopped after its end")

    def begin(self) -> None:
        """Takes up the last checkpoint, or the stage's beginning without one."""
        restored = self._files.restore(self._template, self._shardings)
        if restored is None:
            state = self._fresh(jax.random.fold_in(self._key, 0), self._key)
            self._stage.batches.set_state(self._first_batch)
            # Copies: a step takes over its state's arrays, and these may be needed again.
            self._number, self._state = 0, self._placement.place(state)
            self._record = self._files.new_record()
            return
        self._number, self._state, self._record = restored
        self._stage.batches.set_state(self._record.pop("data"))

    def step(self) -> None:
        """Trains on one batch; logs, validates, saves and stops where that is due."""
        with self._goodput.waiting():
            batch = next(self._stage.batches)
        self._record["drawn"] += 1
        if self._record["drawn"] in self._skipped:
            return
        batch = self._placement.shard_batch(batch)
        self._reports.before(self._number + 1, self._state, self._frozen, batch)
        with self._goodput.compiling():
            self._state, parts = self._step_function(self._state, self._frozen, batch)
        self._goodput.stepped(parts["finite"])
        self._number += 1
        self._unseen.append(Outcome(self._number, self._record["drawn"], batch.index, parts))
        log, validate = self._is_due(_LOG_EVERY), self._is_due(self._settings.validate_every)
        save, stop = self._is_due(self._settings.checkpoint_every), self._stop.known()
        bad = self._first_not_finite(all_steps=log or validate or save or stop)
        if bad is not None:
            self._go_back(bad)
            return
        if log:
            self._reports.scalars(self._number, parts)
        self._reports.advance(self._number, self._state)
        if validate:
            # It may take long, so a stop ends it.
            stop = not self.validate() or bool(self._placement.any(bool(self._signals)))
            self._reports.restart_clock(self._number)
        if save or stop or self._record["stopped_early"]:
            self._save()
        if stop:
            self._files.wait()
            raise self._stopped("stopped and saved")
        if self._record["stopped_early"] and self._number < self._settings.steps:
            self._reports.ends_early(self._number, self._record)

    def validate(self) -> bool:
        """Judges the model and keeps the best; returns whether it was not stopped meanwhile."""
        try:
            with self._goodput.during("validating"), self._signals.at_once():
                result = self._stage.judge.run(self._state.variables)
        except KeyboardInterrupt:
            if self._signals.insisted:
                raise
            self._record[UNVALIDATED] = True
            return False
        record, step = self._record, self._number
        record.pop(UNVALIDATED, None)
        record["waited"] += 1
        # Of two equal scores the earlier stays.
        if record["best_score"] is None or result.score > record["best_score"]:
            record.update(best_score=result.score, best_step=step, waited=0)
            self._files.save_best(step, self._state.variables, result)
        record["stopped_early"] = 0 < self._settings.patience <= record["waited"]
        self._reports.validation(step, result)
        return True

    def _fresh(self, initial_key: jax.Array, key: jax.Array) -> TrainState:
        variables, averaged = self._stage.initial(initial_key), self._settings.average > 0
        return states.create(variables, self._optimizer, key, averaged=averaged)

    def _is_due(self, every: int) -> bool:
        return self._number % every == 0 or self._number == self._settings.steps

    def _first_not_finite(self, all_steps: bool) -> Outcome | None:
        """Looks at the steps before the last one, or at that one too: the first that went wrong."""
        seen = len(self._unseen) if all_steps else len(self._unseen) - 1
        bad = next((outcome for outcome in self._unseen[:seen] if not outcome.finite), None)
        del self._unseen[:seen]
        return bad

    def _go_back(self, bad: Outcome) -> None:
        """Leaves the batch of a step out, and goes on from the last checkpoint."""
        self._files.wait()
        self._skipped.add(bad)
        self.begin()
        self._unseen.clear()
        self._reports.say(
            f"{self._stage.name}: the loss is not finite at step {bad.step}; going on from step "
            f"{self._number} without that batch ({self._skipped.path})"
        )
        self._reports.go_back(self._number)
        self._validate_if_missing()
        self._reports.restart_clock(self._number)

    def _validate_if_missing(self) -> None:
        """Validates the checkpoint that was taken up if its validation was stopped or is lost."""
        if self._record.get(UNVALIDATED):
            if not self.validate():
                raise self._stopped("stopped, its checkpoint still to be validated,")
            self._save()

    def _save(self) -> None:
        record = self._record | {"data": self._stage.batches.get_state()}
        self._files.save(self._number, self._state, record)

    def _stopped(self, how: str) -> Stopped:
        where = f"{self._stage.name}: {how} at step {self._number}"
        return Stopped(f"{where}; go on with: {self._again}")
