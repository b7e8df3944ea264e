"""Where a running stage tells its progress: event files, a progress bar, standard error."""

import pathlib
import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import jax

from textsr_jax.config.settings import Optimization
from textsr_jax.runtime.progress import Progress
from textsr_jax.train import state as states
from textsr_jax.train.goodput import Goodput
from textsr_jax.train.logs import Logs
from textsr_jax.train.profiling import StepTrace, Window
from textsr_jax.train.speed import Speed
from textsr_jax.train.validation import Validation


class StageReports:
    """The reports of one stage; a context manager that closes them.

    Args:
      name: the stage's name.
      folder: gets the event files.
      step: the step that the stage goes on from.
      settings: the stage's `optimization` config.
      goodput: the account of the stage's time.
      speed: the stage's arithmetic.
      profile: the steps to trace; None for none.
    """

    def __init__(
        self,
        name: str,
        folder: pathlib.Path,
        step: int,
        settings: Optimization,
        goodput: Goodput,
        speed: Speed,
        profile: Window | None,
    ):
        self._name, self._goodput, self._speed = name, goodput, speed
        self._learning_rate = states.schedule(settings)
        self._logs = Logs(folder, step + 1)
        self._bar = Progress(
            total=settings.steps,
            initial=step,
            desc=name,
            unit="step",
            mininterval=0.5 if sys.stderr.isatty() else 15,
            disable=jax.process_index() != 0,
        )
        self._trace = StepTrace(
            name, folder, profile, step=step, steps=settings.steps, say=self.say
        )
        self._begun = False
        self.restart_clock(step)

    def __enter__(self) -> "StageReports":
        self._logs.__enter__()
        self._bar.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._trace.close()
        self._bar.__exit__(kind, error, traceback)
        self._logs.__exit__(kind, error, traceback)

    def restart_clock(self, step: int) -> None:
        """Measures the speed from this step on."""
        self._clock, self._counted = time.perf_counter(), step
        self._waited = self._goodput.seconds["waiting"]

    def before(self, step: int, *arguments: Any) -> None:
        """Tells that a step comes now, and what it takes: a state, what is frozen, a batch."""
        self._speed.count(*arguments)
        self._trace.before(step, arguments)

    def advance(self, step: int, state: object) -> None:
        """Moves the bar on to a step that was begun, and that returns `state`."""
        self._bar.update()
        with self._goodput.during("saving"):
            traced = self._trace.after(step, state)
        if traced or not self._begun:
            # The first step compiles, which tells nothing of the speed.
            self._begun = True
            self.restart_clock(step)

    def go_back(self, step: int) -> None:
        """Moves the bar back to a step."""
        self._bar.n = step

    def scalars(self, step: int, parts: Mapping[str, jax.Array]) -> None:
        """Logs a step's scalars, its learning rate, the speed since the clock was restarted, and
        what the stage's time went into.
        """
        scalars = {name: float(value) for name, value in parts.items() if name != "finite"}
        scalars["learning_rate"] = float(self._learning_rate(step - 1))
        seconds = time.perf_counter() - self._clock
        rates = self._speed.rates(step - self._counted, seconds)
        waited = self._goodput.seconds["waiting"] - self._waited
        self.restart_clock(step)
        logged = scalars | rates | {"data_wait": waited / seconds}
        shares = self._goodput.shares()
        self._logs.scalars({f"train/{name}": value for name, value in logged.items()}, step)
        self._logs.scalars({f"goodput/{name}": share for name, share in shares.items()}, step)
        self._bar.set_postfix_str(_listed(scalars | rates), refresh=False)
        self._goodput.tick()

    def validation(self, step: int, result: Validation) -> None:
        """Logs a validation and prints its scalars."""
        scalars = {f"validation/{name}": value for name, value in result.scalars.items()}
        self._logs.scalars(scalars, step)
        for name, picture in result.pictures.items():
            self._logs.image(name, picture, step)
        for name, text in result.texts.items():
            self._logs.text(name, text, step)
        self._logs.flush()
        self.say(f"{self._name} step {step}: " + _listed(result.scalars))

    def ends_early(self, step: int, record: Mapping[str, Any]) -> None:
        """Tells that the stage's patience is at its end, by the record of its checkpoint."""
        self.say(
            f"{self._name}: ends early at step {step}: {record['waited']} validations without a "
            f"better score than that of step {record['best_step']}"
        )

    def end(self, step: int) -> None:
        """Tells what the stage's time went into, and its speed in the steps that were kept."""
        facts, counted = self._goodput.facts, self._goodput.steps_counted(step)
        self.say(f"{self._name}: {self._goodput.summary()}")
        seconds = self._goodput.seconds["steps"]
        if not counted or not seconds:
            return
        rates = self._speed.rates(counted, seconds, wait=True)
        facts["in_steps"] = rates
        line = f"{self._name}: in steps {rates['images_per_s']:.4g} images/s"
        if "of_peak" in rates:
            line += (
                f", {rates['tflops_per_s']:.4g} TFLOP/s, {100 * rates['of_peak']:.1f} % of the "
                f"{facts['peak_tflops_per_s']:.4g} of {facts['devices']} in {facts['dtype']} "
                f"({facts['peak_from']})"
            )
        self.say(line)

    def say(self, message: str) -> None:
        """Prints a line beside the bar, in the first of several processes only."""
        if jax.process_index() == 0:
            self._bar.write(message, file=sys.stderr)


def _listed(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())
