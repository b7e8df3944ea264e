"""A running stage's files: checkpoints to go on from, and the best models, in one order."""

import pathlib
from collections.abc import Mapping
from typing import Any

from textsr_jax.models import Variables
from textsr_jax.storage import checkpoints
from textsr_jax.storage.checkpoints import Checkpoints
from textsr_jax.train import trained_on
from textsr_jax.train.best import BestModels
from textsr_jax.train.goodput import Goodput
from textsr_jax.train.state import TrainState
from textsr_jax.train.validation import Validation

# In the record of a checkpoint whose validation was stopped, or whose best model is lost: the run
# that goes on validates that step first.
UNVALIDATED = "unvalidated"

# What a checkpoint says beside its arrays; JSON-able.
Record = dict[str, Any]


class StageFiles:
    """The folders `checkpoints` and `best` of a stage.

    One save runs at a time. Orbax names the barriers of several processes by the step alone, so two
    folders that are written at once could wait for each other for ever.

    Args:
      folder: the stage's folder, in the workdir.
      data: fingerprints of what the stage is trained on, by what that is called.
      goodput: the account of the stage's time, which restoring and saving take a part of.
    """

    def __init__(self, folder: pathlib.Path, data: Mapping[str, str], goodput: Goodput):
        self._folder, self._data, self._goodput = folder, data, goodput
        self._saved = Checkpoints(folder / "checkpoints")
        self._best = BestModels(folder.parent, folder.name)

    def restore(
        self, template: TrainState, shardings: Any
    ) -> tuple[int, TrainState, Record] | None:
        """Takes up the last checkpoint and deletes what came after it.

        Args:
          template: the state's shapes and dtypes.
          shardings: where its arrays go.

        Returns:
          The checkpoint's step, state and record; None without a checkpoint.

        Raises:
          UserError: it was trained on other data, or no checkpoint can be read.
        """
        with self._goodput.during("restoring"):
            restored = self._restore(template, shardings)
        self._goodput.go_on(0 if restored is None else restored[0])
        return restored

    def new_record(self) -> Record:
        """The record of a stage that begins."""
        return {
            "best_score": None,
            "best_step": 0,
            "drawn": 0,
            "waited": 0,
            "stopped_early": False,
            trained_on.KEY: dict(self._data),
        }

    def save(self, step: int, state: TrainState, record: Record) -> None:
        """Saves a checkpoint in the background."""
        with self._goodput.during("saving"):
            self._goodput.mark(step)
            self._best.wait()
            self._saved.save(step, state, record)

    def save_best(self, step: int, variables: Variables, result: Validation) -> None:
        """Saves a model that is better than all before it, in the background."""
        with self._goodput.during("saving"):
            self.wait()
            self.prune()
            self._best.save(step, variables, {"score": result.score, "scalars": result.scalars})

    def prune(self) -> None:
        """Deletes the best models that no run will need again."""
        self._best.prune(self._saved)

    def wait(self) -> None:
        """Waits for a save in the background."""
        with self._goodput.during("saving"):
            self._saved.wait()
            self._best.wait()

    def _restore(
        self, template: TrainState, shardings: Any
    ) -> tuple[int, TrainState, Record] | None:
        restored = self._saved.restore(checkpoints.abstract(template, shardings))
        step, _, record = restored or (0, None, {})
        if restored is not None:
            trained_on.check(self._folder, record, self._data)
            record[trained_on.KEY] = dict(self._data)
        self._saved.discard_after(step)
        if restored is None:
            self._best.discard_after(0)
            return None
        validated = step - 1 if record.get(UNVALIDATED) else step
        if self._best.go_back(validated, record, checkpoints.abstract(template.variables)):
            record[UNVALIDATED] = True
        return restored

    def close(self) -> None:
        """Waits, and closes both folders."""
        try:
            self._best.close()
        finally:
            self._saved.close()
