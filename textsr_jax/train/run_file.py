"""A workdir's run.json: its config, and the code and machine of every start of train.py.

A result can be traced by it long after: versions, commit, devices, command.
"""

import datetime
import importlib.metadata
import json
import pathlib
import platform
from typing import Any

import jax

from textsr_jax.config.differences import plain
from textsr_jax.config.settings import Experiment
from textsr_jax.errors import UserError, fix_for
from textsr_jax.runtime import atomic, provenance

FILE = "run.json"
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


def note_start(workdir: pathlib.Path, config: Experiment, command: str) -> None:
    """Adds a start to the file, which is made if it is missing.

    The file is {"config": the experiment, "starts": [{"time": UTC, "command", "version" and
    "commit" of this package, "python", "packages": their versions, "processes", "devices": how many
    of each kind}]}.

    Args:
      workdir: where the file is.
      config: the experiment.
      command: the command that started the training.

    Raises:
      UserError: the file cannot be read or written.
    """
    path = workdir / FILE
    starts: list[dict[str, Any]] = []
    if path.exists():
        try:
            starts = json.loads(path.read_text())["starts"]
        except (OSError, ValueError, KeyError) as error:
            fix = fix_for(error, "move it away") if isinstance(error, OSError) else "move it away"
            raise UserError(f"{path}: cannot read it ({error}); {fix}") from error
    kinds = [device.device_kind for device in jax.devices()]
    starts.append(
        {
            "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "command": command,
            **provenance.code(),
            "python": platform.python_version(),
            "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
            "processes": jax.process_count(),
            "devices": {kind: kinds.count(kind) for kind in sorted(set(kinds))},
        }
    )
    content = {"config": plain(config), "starts": starts}
    atomic.write_text(path, json.dumps(content, indent=2) + "\n")
