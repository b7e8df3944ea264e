"""What data a run was trained on: their fingerprints in its checkpoints, compared when it goes on.

Data that were exchanged under a stopped run would otherwise end in a model of both.
"""

import pathlib
import sys
from collections.abc import Mapping
from typing import Any

import jax

from textsr_jax.errors import UserError
from textsr_jax.storage.checkpoints import Checkpoints

# In a checkpoint's record.
KEY = "trained_on"


def check(directory: pathlib.Path, record: Mapping[str, Any], data: Mapping[str, str]) -> None:
    """Compares a stage's checkpoint with the data that are there now.

    A checkpoint of an older version does not say what it was trained on; a line says so.

    Args:
      directory: the stage's folder.
      record: of the checkpoint.
      data: the fingerprints of those data that there are, by what they are called.

    Raises:
      UserError: the checkpoint was trained on other data.
    """
    known = record.get(KEY)
    if known is None:
        if jax.process_index() == 0 and data:
            print(
                f"{directory}: its checkpoints are of an older version, which did not note what "
                f"they were trained on; the data are not compared",
                file=sys.stderr,
            )
        return
    for kind, fingerprint in data.items():
        if known.get(kind) != fingerprint:
            raise UserError(
                f"{directory}: was trained on other {kind} ({known.get(kind)}) than are there now "
                f"({fingerprint}); put those back, or take another --workdir"
            )


def check_stages(workdir: pathlib.Path, stages: tuple[str, ...], data: Mapping[str, str]) -> None:
    """Compares the last checkpoint of each of these stages that has one, as `check` does."""
    for stage in stages:
        directory = workdir / stage
        if (directory / "checkpoints").is_dir():
            saved = Checkpoints(directory / "checkpoints")
            try:
                record = saved.last_record() if saved.steps() else {}
            finally:
                saved.close()
            if KEY in record:
                check(directory, record, data)
