"""What a workdir holds that its page shows: the files of train.py, evaluate.py and quantize.py."""

import dataclasses
import json
import pathlib
from typing import Any

from textsr_jax.errors import StoreError, UserError, escaped
from textsr_jax.report.page import event_files, word_file
from textsr_jax.runtime import paths

# By the key of `Run.files`: the file that the commands write, whose content the page shows.
FILES = {
    "config": "config.json",
    "run": "run.json",
    "results": "results.json",
    "words": word_file.NAME,
    "photographs": "photographs.json",
    "quantized": "quantized.json",
    "search": "search.json",
    "sensitivity": "sensitivity.json",
    "ablation": "ablation.json",
    "finetuned": "finetuned.json",
}


@dataclasses.dataclass(frozen=True)
class Stage:
    """A stage of training.

    Attributes:
      name: its folder's.
      curves: (step, value) by name, as `event_files.read_scalars` returns them.
      goodput: the content of its goodput.json; None for an older stage.
    """

    name: str
    curves: dict[str, event_files.Points]
    goodput: dict[str, Any] | None


@dataclasses.dataclass(frozen=True)
class Run:
    """A workdir.

    Attributes:
      name: the folder's name.
      files: the contents of those of `FILES` that are there.
      stages: in the order in which they began.
      notes: what could not be read, a line each.
    """

    name: str
    files: dict[str, Any]
    stages: list[Stage]
    notes: list[str]


def read(folder: str | pathlib.Path) -> Run:
    """Reads what a workdir holds. What is damaged is left out, with a note.

    Raises:
      UserError: there is no such folder, or it holds nothing that a page shows.
    """
    folder = paths.named(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; name a workdir of train.py")
    notes: list[str] = []
    files = {key: _json(folder / name, notes) for key, name in FILES.items()}
    files = {key: content for key, content in files.items() if content is not None}
    stages = _stages(folder, notes)
    if not files and not stages and not notes:
        raise UserError(
            f"{folder}: holds nothing to show; name a workdir of train.py, or run evaluate.py there"
        )
    name = folder.name if paths.is_url(folder) else folder.resolve().name
    return Run(name, files, stages, notes)


def _stages(folder: pathlib.Path, notes: list[str]) -> list[Stage]:
    logs = {
        events[0].parent: int(events[0].name.split(".")[3])
        for place in sorted(folder.glob("*/logs"))
        # events.out.tfevents.SECONDS.HOST.PROCESS
        if (events := sorted(place.glob("events.out.tfevents.[0-9]*")))
    }
    stages = []
    for place in sorted(logs, key=lambda place: (logs[place], place)):
        name = place.parent.name
        curves: dict[str, event_files.Points] = {}
        try:
            curves = event_files.read_scalars(place)
        except StoreError:
            raise
        except UserError as error:
            notes.append(f"{name}: its curves are left out; {error}")
        stages.append(Stage(name, curves, _json(place.parent / "goodput.json", notes)))
    return stages


def _json(path: pathlib.Path, notes: list[str]) -> Any:
    """The object of a JSON file; None where there is no file, or none that can be read."""
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_bytes())
        if not isinstance(content, dict):
            raise ValueError("it is no object")
        return content
    except (OSError, RecursionError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        notes.append(escaped(f"{path.name} is left out: cannot read it ({reason})"))
        return None
