"""The `--config` flag: overrides without a Python file, and hints for misspelt fields."""

import sys

import pytest
from ml_collections import ConfigDict

from configs import tiny
from textsr_jax.cli import config_flag
from textsr_jax.config.checks import checked
from textsr_jax.errors import UserError
from textsr_jax.storage import workdirs
from textsr_jax.storage.shipped import PRINTABLE


def test_a_misspelt_override_gets_the_nearest_name(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "--config.stage1.stepz=3"])
    error = AttributeError('\'stepz\'\nDid you mean "steps" instead of "stepz"?')
    expected = "config.stage1.stepz: there is no field 'stepz'; did you mean 'steps'?"
    assert config_flag.explain(error) == expected


def test_a_misspelt_field_in_the_file_gets_the_nearest_name(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "--config=mine.py"])
    config = tiny.get_config()
    with pytest.raises(AttributeError) as caught:
        config.stage1.stepz = 3
    expected = "--config: the file sets 'stepz', which is no field; did you mean 'steps'?"
    assert config_flag.explain(caught.value) == expected


@pytest.mark.parametrize("form", ["--workdir={}", "-workdir={}", "--workdir {}"])
def test_overrides_beside_a_workdir_alone_change_its_own_config(tmp_path, form):
    workdirs.save_config(checked(tiny.get_config()), tmp_path)
    argv = ["evaluate.py", *form.format(tmp_path).split(), "--config.decoding.beam=3"]
    filled = config_flag.fill_in(argv)
    assert filled == [argv[0], f"--config={config_flag.__file__}:{tmp_path}", *argv[1:]]
    config = config_flag.get_config(str(tmp_path))
    assert isinstance(config, ConfigDict) and checked(config) == workdirs.load_config(tmp_path)


def test_nothing_is_filled_in_without_overrides_or_beside_a_config(tmp_path):
    for rest in (["--out=x"], ["--config=c.py", "--config.decoding.beam=3"]):
        argv = ["evaluate.py", f"--workdir={tmp_path}", *rest]
        assert config_flag.fill_in(argv) == argv
    with pytest.raises(UserError, match="is not a workdir"):
        config_flag.fill_in(["evaluate.py", f"--workdir={tmp_path}", "--config.seed=1"])


def test_overrides_beside_the_name_of_a_model_change_its_config():
    argv = ["read.py", "--model=printable", "--config.decoding.beam=3"]
    filled = config_flag.fill_in(argv)
    assert filled == [argv[0], f"--config={config_flag.__file__}:{PRINTABLE}", *argv[1:]]
