"""Workdirs of train.py: the config that each of them keeps, and the places of its models.

Packed files and .json files hold configs too; `load_config` reads all three.
"""

import json
import pathlib

from textsr_jax.config import checks, differences
from textsr_jax.config.settings import Experiment
from textsr_jax.errors import UserError, fix_for
from textsr_jax.runtime import atomic, paths
from textsr_jax.storage.shipped import SHIPPED

CONFIG_FILE = "config.json"

# The shipped file was named small.safetensors once.
_SHIPPED_NAMES = ("small.safetensors", SHIPPED.name)

# Every config is far smaller.
_MOST_BYTES = 2**20


def save_config(config: Experiment, workdir: pathlib.Path) -> None:
    """Writes the config into a new workdir, or compares it with that of an old workdir.

    Raises:
      UserError: the workdir was made with another config; the message names the first field that
        differs. Or the file cannot be written.
    """
    path = workdir / CONFIG_FILE
    if not path.exists():
        content = json.dumps(differences.plain(config), indent=2) + "\n"
        atomic.write_text(path, content, parents=True, fix="name another --workdir")
        return
    if difference := differences.first_difference(load_config(workdir), config):
        name, old, new = difference
        raise UserError(
            f"{workdir} was made with another config: {name} is {old!r} there and {new!r} here; "
            "take another --workdir or the same config"
        )


def load_config(source: str | pathlib.Path) -> Experiment:
    """Returns the config that a workdir was made with, or that a packed or .json file holds.

    A start that was the shipped file of another installation, or has the name that the file had
    before, is the shipped file of this one.

    Raises:
      UserError: `source` is none of these; or its config cannot be read, has an unknown field, or a
        value that the field cannot have.
    """
    path = paths.named(source)
    if path.suffix == ".json" and not path.is_dir():
        return _checked(path, fix="correct the file")
    if path.is_file():
        # Imports JAX, which `--help` does without.
        from textsr_jax.storage import packed_files

        return packed_files.load(path).experiment(path)
    if not path.is_dir():
        raise UserError(f"{path}: no such workdir; make one with train.py --workdir={path}")
    if not (path / CONFIG_FILE).is_file():
        raise UserError(f"{path} holds no {CONFIG_FILE}, so it is not a workdir of train.py")
    return _checked(path / CONFIG_FILE, fix="restore the file")


def best_directory(workdir: str | pathlib.Path, stage: str) -> pathlib.Path:
    """Returns the folder of a stage's best model, by validation."""
    return paths.named(workdir) / stage / "best"


def _checked(path: pathlib.Path, fix: str) -> Experiment:
    config = checks.checked(_read(path), f"{path}: ", fix=fix)
    return config.replace(
        init={part: _of_this_installation(config.init[part]) for part in ("sr", "ocr")}
    )


def _of_this_installation(start: str) -> str:
    """Returns `SHIPPED` for a start that is that file elsewhere or by its old name; else `start`.

    A file that is still there and has other content is kept.
    """
    path = pathlib.Path(start)
    if path.parts[-3:-1] != SHIPPED.parts[-3:-1] or path.name not in _SHIPPED_NAMES:
        return start
    try:
        same = path.read_bytes() == SHIPPED.read_bytes()
    except OSError:
        same = True
    return str(SHIPPED) if same else start


def _read(path: pathlib.Path) -> object:
    try:
        with path.open("rb") as stream:
            content = stream.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise ValueError("larger than any config")
        return json.loads(content)
    except OSError as error:
        fix = fix_for(error, "name another file")
        raise UserError(f"{path}: cannot read the config ({error.strerror}); {fix}") from error
    except (RecursionError, ValueError) as error:
        raise UserError(f"{path}: cannot read the config ({error}); restore the file") from error
