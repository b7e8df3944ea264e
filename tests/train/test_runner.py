"""Whole trainings of the micro config: what they leave, how they go on, what they refuse."""

import os
import re
import signal

import numpy as np
import pytest

from tests.conftest import micro_config
from textsr_jax.errors import Stopped, UserError
from textsr_jax.storage import locks, workdirs
from textsr_jax.storage.checkpoints import Checkpoints
from textsr_jax.train import loop, runner, stopping
from textsr_jax.train import state as states

pytestmark = pytest.mark.slow


def test_every_stage_leaves_its_best_model_and_logs(trained):
    for stage in ("pretrain_ocr", "pretrain_focus", "stage1", "stage2"):
        assert loop.is_finished(trained, stage, 6)
        assert Checkpoints(workdirs.best_directory(trained, stage)).steps()
        assert list((trained / stage / "logs").glob("events*"))


def test_a_finished_run_does_nothing(trained, data_root, tmp_path, capsys):
    config = micro_config(data_root, tmp_path / "data")
    before = sorted(trained.rglob("*"))
    runner.train(config, trained, "again")
    assert capsys.readouterr().out.count("done already") == 4
    assert sorted(trained.rglob("*")) == before


def test_a_second_training_in_a_workdir_says_so(data_root, tmp_path):
    config = micro_config(data_root, tmp_path / "data")
    with locks.held(tmp_path / "w"), pytest.raises(UserError, match=r"w: process .* trains there"):
        runner.train(config, tmp_path / "w", "again")
    assert [path.name for path in (tmp_path / "w").iterdir()] == [locks.FILE]


def test_a_stop_between_stages_is_obeyed(data_root, tmp_path, monkeypatch):
    config, begun = micro_config(data_root, tmp_path / "data"), []

    def ends_while_asked_to_stop(stage, *rest):
        begun.append(stage.name)
        with stopping.listening("") as stop, stop.deferred():
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(loop, "run", ends_while_asked_to_stop)
    with pytest.raises(Stopped, match=r"^stopped; go on with: python train.py$"):
        runner.train(config, tmp_path / "w", "python train.py")
    assert begun == ["pretrain_ocr"]


def test_bad_configs_are_named(data_root, tmp_path):
    config = micro_config(data_root, tmp_path / "data")
    config.stages = "stage1,stagee2"
    with pytest.raises(UserError, match=r"config.stages='stage1,stagee2': .*mean 'stage2'\?"):
        runner.train(config, tmp_path / "w", "again")
    config.stages = "stage1"
    config.stage2.steps = 0
    with pytest.raises(UserError, match=r"config.stage2.steps=0: must be a whole number"):
        runner.train(config, tmp_path / "w", "again")
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize(
    ("part", "field", "value", "message"),
    [
        ("stage2", "images", "lr", "config.stage2.images='lr': must be one of 'sr', 'hr', "),
        ("stage2", "patience", -1, "config.stage2.patience=-1: must be a whole number from 0"),
        ("stage1", "error", "psnr", "config.stage1.error='psnr': must be one of 'mse', "),
        ("stage1", "position", -1.0, "config.stage1.position=-1.0: must be a number from 0"),
        ("joint", "reading", 0.0, "config.joint.reading=0.0: must be a number above 0"),
        ("joint", "steps", 0, "config.joint.steps=0: must be a whole number from 1"),
    ],
)
def test_values_that_are_none_are_named(data_root, tmp_path, part, field, value, message):
    config = micro_config(data_root, tmp_path / "data")
    config[part][field] = value
    with pytest.raises(UserError, match=re.escape(message)):
        runner.train(config, tmp_path / "w", "again")
    assert not (tmp_path / "w").exists()


def test_a_loss_that_is_not_finite_stops_the_run(data_root, tmp_path, monkeypatch):
    config = micro_config(data_root, tmp_path / "data")
    config.stages, config.ocr.name = "pretrain", "crnn"
    config.pretrain.synthetic = False
    # No config may ask for it.
    monkeypatch.setattr(states, "schedule", lambda settings: lambda step: np.inf)
    with pytest.raises(UserError, match=r"pretrain_ocr: the loss is not finite at step \d"):
        runner.train(config, tmp_path / "w", "again")
