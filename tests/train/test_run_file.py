"""run.json: what it says of a run, and that later starts are added to it."""

import importlib.metadata
import json

import jax
import pytest

from configs import tiny
from textsr_jax.errors import UserError
from textsr_jax.train import run_file


def test_every_start_is_noted(tmp_path):
    config = tiny.get_config()
    run_file.note_start(tmp_path, config, "python train.py --first")
    run_file.note_start(tmp_path, config, "python train.py --second")
    content = json.loads((tmp_path / "run.json").read_text())
    assert content["config"]["sr"]["edsr"]["blocks"] == 4
    first, second = content["starts"]
    assert (first["command"], second["command"]) == (
        "python train.py --first",
        "python train.py --second",
    )
    assert first["packages"]["jax"] == jax.__version__
    assert first["version"] == importlib.metadata.version("textsr_jax")
    assert first["commit"] is None or len(first["commit"].removesuffix("+changes")) == 40
    assert sum(first["devices"].values()) == jax.device_count()
    assert first["processes"] == 1 and first["time"] <= second["time"]


def test_a_damaged_file_is_one_line(tmp_path):
    (tmp_path / "run.json").write_text('{"starts": [')
    with pytest.raises(UserError, match=r"run\.json: cannot read it .*; move it away"):
        run_file.note_start(tmp_path, tiny.get_config(), "again")
