"""Fingerprints of training data in checkpoints, compared when a run goes on.

Otherwise a run whose data were exchanged while it was stopped would end in a model of both.
"""

import pathlib
import sys
from collections.abc import Mapping
from typing import Any

import jax

from textsr_jax.errors import UserError
from textsr_jax.storage.checkpoints import Checkpoints

# The entry in a checkpoint's record.
KEY = "trained_on"


def check(directory: pathlib.Path, record: Mapping[str, Any], data: Mapping[str, str]) -> None:
    """Compares what a checkpoint was trained on with the data that are there now.

    A checkpoint of an older version does not say what it was trained on; a printed line says so.

    Args:
      directory: the stage's folder.
      record: the checkpoint's.
      data: fingerprints of the data that are there now, by what they are called.

    Raises:
      UserError: the checkpoint was trained on other data.
    """
    known = record.get(KEY)
    if known is None:
        if jax.process_index() == 0 and data:
            print(
                f"{directory}: its checkpoints are of an older version, which did not note what "
                "they were trained on; the data are not compared",
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
    """Compares the last checkpoint of each stage that has one; see `check`.

    Args:
      workdir: where the stages' folders are.
      stages: their names.
      data: as `check` takes it.

    Raises:
      UserError: a stage was trained on other data.
    """
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
