"""The batches of a stage whose loss is not finite: left out, and remembered in a file."""

import dataclasses
import json
import pathlib
from collections.abc import Callable

import jax

from textsr_jax.errors import UserError
from textsr_jax.runtime import atomic
from textsr_jax.train import mesh as meshes


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a step.

    Attributes:
      step: its number.
      drawn: the number of its batch since the stage began, from 1.
      index: the numbers of the batch's records.
      parts: the step's scalars, `finite` among them.
    """

    step: int
    drawn: int
    index: jax.Array
    parts: dict[str, jax.Array]

    @property
    def finite(self) -> bool:
        """Whether the loss, its gradient and the update are finite; waits for the step."""
        return bool(self.parts["finite"])


class SkippedBatches:
    """The batches that a stage leaves out, in memory and in a JSON file.

    Args:
      path: the file, a list of {"step", "batch", "records"}: the step whose loss was not finite,
        its batch's number since the stage began, from 1, and the keys of the batch's records.
      stage: the stage's name, for messages.
      limit: how many batches may be left out.
      key_of: the key of the record with a number.

    Raises:
      UserError: the file cannot be read.
    """

    def __init__(self, path: pathlib.Path, stage: str, limit: int, key_of: Callable[[int], str]):
        self.path = path
        self._stage, self._limit, self._key_of = stage, limit, key_of
        try:
            self._entries = json.loads(path.read_text()) if path.exists() else []
            self._batches = {entry["batch"] for entry in self._entries}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path}: cannot read it ({error}); restore or delete it") from error

    def __contains__(self, drawn: int) -> bool:
        return drawn in self._batches

    def add(self, outcome: Outcome) -> None:
        """Leaves the batch of a step out from now on.

        Raises:
          UserError: as many as allowed are left out already.
        """
        if len(self._entries) >= self._limit:
            left_out = f"{len(self._entries)} batches are left out already ({self.path}); " * (
                len(self._entries) > 0
            )
            raise UserError(
                f"{self._stage}: the loss is not finite at step {outcome.step}; {left_out}the "
                "checkpoints before it are kept; lower the learning_rate of this stage"
            )
        numbers = meshes.gather(outcome.index).tolist()
        keys = [self._key_of(number) for number in numbers]
        self._entries.append({"step": outcome.step, "batch": outcome.drawn, "records": keys})
        self._batches.add(outcome.drawn)
        if jax.process_index() == 0:
            atomic.write_text(self.path, json.dumps(self._entries, indent=1))
