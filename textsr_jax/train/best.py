"""The best models of a stage: which are kept, and which one a run goes back to."""

import logging
import pathlib
from typing import Any

from textsr_jax.errors import StoreError, UserError
from textsr_jax.models import Variables
from textsr_jax.storage import workdirs
from textsr_jax.storage.agreement import from_first
from textsr_jax.storage.checkpoints import Checkpoints, SavedCheckpoints

_logger = logging.getLogger(__name__)


class BestModels(Checkpoints):
    """The models in a stage's `best` folder, each saved when it was better than all before it.

    The newest one counts. The one before it takes its place if it is damaged. Models that a
    checkpoint of the run names as its best are kept too, since the run may go back to it.
    """

    def __init__(self, workdir: pathlib.Path, stage: str):
        super().__init__(workdirs.best_directory(workdir, stage), keep=None)

    def prune(self, saved: SavedCheckpoints) -> None:
        """Deletes the models that no run will need again; no save may be under way.

        Args:
          saved: the checkpoints of the run, each with the `best_step` of its record.
        """
        steps = self.steps()
        wanted = {saved.record(step).get("best_step") for step in saved.steps()}
        self.discard(from_first(sorted(set(steps[:-2]) - wanted)))

    def go_back(self, step: int, record: dict[str, Any], template: Variables) -> bool:
        """Deletes models later than a checkpoint, and makes its record agree with what is left.

        A warning says if the model that the record names is lost.

        Args:
          step: the step of the last validation that the checkpoint knows of.
          record: the checkpoint's. Its `best_step` and `best_score` become those of the model that
            is left, 0 and None without one.
          template: shapes and dtypes of the variables, to read them.

        Returns:
          Whether the record named a best model and no model is left.
        """
        self.discard_after(step)
        try:
            restored = self.restore(template)
        except StoreError:  # they may be sound
            raise
        except UserError:  # none of them can be read
            restored = None
        there, _, about = restored or (0, None, {"score": None})
        if there == record["best_step"]:
            return False
        self.discard_after(there)
        _logger.warning(
            "%s: the best model, of step %d, is gone or damaged; %s",
            self.directory,
            record["best_step"],
            f"that of step {there} is taken" if there else "the next that is validated is taken",
        )
        record.update(best_step=there, best_score=about["score"])
        return not there
