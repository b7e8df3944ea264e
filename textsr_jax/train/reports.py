"""Where a running stage tells its progress: event files, a progress bar, standard error."""

import pathlib
import sys
import time
from collections.abc import Mapping
from types import TracebackType

import jax
from ml_collections import ConfigDict

from textsr_jax.runtime.progress import Progress
from textsr_jax.train import state as states
from textsr_jax.train.logs import Logs
from textsr_jax.train.validation import Validation


class StageReports:
    """The reports of one stage; a context manager that closes them.

    Args:
      name: the stage's name.
      folder: gets the event files.
      step: the step that the stage goes on from.
      settings: the stage's `optimization` config.
    """

    def __init__(self, name: str, folder: pathlib.Path, step: int, settings: ConfigDict):
        self._name, self._settings = name, settings
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
        self._bar.__exit__(kind, error, traceback)
        self._logs.__exit__(kind, error, traceback)

    def restart_clock(self, step: int) -> None:
        """Measures the speed from this step on."""
        self._clock, self._counted = time.perf_counter(), step

    def advance(self) -> None:
        """Moves the bar on by a step."""
        self._bar.update()

    def go_back(self, step: int) -> None:
        """Moves the bar back to a step."""
        self._bar.n = step

    def scalars(self, step: int, parts: Mapping[str, jax.Array]) -> None:
        """Logs a step's scalars, its learning rate and the speed since the clock was restarted."""
        scalars = {name: float(value) for name, value in parts.items() if name != "finite"}
        images = (step - self._counted) * self._settings.batch_size
        scalars["learning_rate"] = float(self._learning_rate(step - 1))
        scalars["images_per_s"] = images / (time.perf_counter() - self._clock)
        self.restart_clock(step)
        self._logs.scalars({f"train/{name}": value for name, value in scalars.items()}, step)
        self._bar.set_postfix_str(_listed(scalars), refresh=False)

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

    def say(self, message: str) -> None:
        """Prints a line beside the bar, in the first of several processes only."""
        if jax.process_index() == 0:
            self._bar.write(message, file=sys.stderr)


def _listed(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())
