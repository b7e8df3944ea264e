"""Runs go on with the data that they were trained on, wherever these lie, and with no others."""

import json
import shutil

import pytest

from tests.conftest import WORDS, micro_config, record, stage0_config, write_lmdb
from textsr_jax.errors import UserError
from textsr_jax.storage.checkpoints import Checkpoints
from textsr_jax.train import loop, runner, trained_on


def noted(workdir, stage):
    saved = Checkpoints(workdir / stage / "checkpoints")
    try:
        return saved.last_record()[trained_on.KEY]
    finally:
        saved.close()


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "root"
    write_lmdb(root / "train1", [record(word) for word in WORDS])
    write_lmdb(root / "test" / "easy", [record(word) for word in WORDS[:3]])
    return root


def config_of(root, tmp_path):
    config = micro_config(root, tmp_path / "data")
    config.stages = "pretrain"
    config.init.ocr = "elsewhere"  # the text-focus recogniser alone is pre-trained
    config.pretrain.synthetic = False
    config.pretrain.focus.steps = 2
    return config


def exchange(root):
    """Other words in a file of the same name."""
    shutil.rmtree(root / "train1")
    write_lmdb(root / "train1", [record(word) for word in reversed(WORDS)])


@pytest.mark.slow
def test_another_lmdb_under_a_stopped_run_is_refused(root, tmp_path, monkeypatch, capsys):
    config, workdir = config_of(root, tmp_path), tmp_path / "w"
    runner.train(config, workdir, "again")
    fingerprint = noted(workdir, "pretrain_focus")["words"]
    assert len(fingerprint) == 16

    # Stopped in the middle of the stage.
    finished = loop.is_finished
    monkeypatch.setattr(loop, "is_finished", lambda *_: False)
    shutil.copytree(root, tmp_path / "kept")
    exchange(root)
    for unfinished in (True, False):
        if not unfinished:
            monkeypatch.setattr(loop, "is_finished", finished)
        with pytest.raises(UserError) as caught:
            runner.train(config, workdir, "again")
        message = str(caught.value)
        assert message.startswith(
            f"{workdir / 'pretrain_focus'}: was trained on other words ({fingerprint}) than are "
            "there now ("
        )
        assert message.endswith("put those back, or take another --workdir")

    # The same words, copied back, are the same data; so is a root with another test set.
    shutil.rmtree(root)
    shutil.copytree(tmp_path / "kept", root)
    write_lmdb(root / "test" / "hard", [record("zoo")])
    runner.train(config, workdir, "again")
    assert "done already" in capsys.readouterr().out


@pytest.mark.slow
def test_other_synthetic_words_are_refused_where_a_stage_uses_them(root, tmp_path, monkeypatch):
    config, workdir = config_of(root, tmp_path), tmp_path / "w"
    config.pretrain.synthetic = True
    runner.train(config, workdir, "again")
    data = noted(workdir, "pretrain_focus")
    assert sorted(data) == ["synthetic words", "words"]
    # A newer generator draws others by the same settings.
    monkeypatch.setattr("textsr_jax.data.synthetic.generation.VERSION", 1000)
    monkeypatch.setattr(loop, "is_finished", lambda *_: False)
    with pytest.raises(UserError, match=r"pretrain_focus: was trained on other synthetic words"):
        runner.train(config, workdir, "again")


@pytest.mark.slow
def test_other_photographs_are_refused(photographs, tmp_path, monkeypatch):
    folder, workdir = tmp_path / "photographs", tmp_path / "w"
    shutil.copytree(photographs, folder)
    config = stage0_config(folder)
    config.stage0.steps = 2
    runner.train(config, workdir, "again")
    assert sorted(noted(workdir, "stage0")) == ["photographs", "validation photographs"]
    (folder / "0003.png").write_bytes((folder / "0004.png").read_bytes())
    monkeypatch.setattr(loop, "is_finished", lambda *_: False)
    with pytest.raises(UserError, match=r"stage0: was trained on other (validation )?photographs"):
        runner.train(config, workdir, "again")


def test_a_checkpoint_of_an_older_version_goes_on_and_says_so(tmp_path, capsys):
    trained_on.check(tmp_path, {}, {"words": "0123456789abcdef"})
    assert "older version, which did not note" in capsys.readouterr().err
    trained_on.check(tmp_path, json.loads('{"trained_on": {"words": "01"}}'), {"words": "01"})
    assert capsys.readouterr().err == ""
