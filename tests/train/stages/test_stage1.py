"""Stage 1 on a micro config: it goes on to the same bits, with every SR network."""

import os
import shutil
import signal

import jax
import numpy as np
import pytest

from tests.conftest import micro_config, same
from tests.train.last_states import last_state
from textsr_jax.config import variants
from textsr_jax.config.checks import checked
from textsr_jax.errors import Stopped, UserError
from textsr_jax.models import build_prior, build_sr
from textsr_jax.storage import checkpoints, parameter_files
from textsr_jax.storage.parameter_files import ParameterFile
from textsr_jax.train import loop, reports, runner
from textsr_jax.train.logs import Logs
from textsr_jax.train.stages import stage1
from textsr_jax.train.training import open_training

pytestmark = pytest.mark.slow


def stop_at(monkeypatch, step):
    """SIGTERM arrives, once, while a step is logged as the validation of that step."""

    class Stopping(Logs):
        def scalars(self, values, number):
            if number == step and "validation/psnr" in values and not stopped:
                stopped.append(step)
                os.kill(os.getpid(), signal.SIGTERM)
            super().scalars(values, number)

    stopped = []
    monkeypatch.setattr(reports, "Logs", Stopping)


@pytest.mark.slow
def test_a_stopped_run_goes_on_to_the_same_bits(trained, data_root, tmp_path, monkeypatch):
    config = micro_config(data_root, tmp_path / "data")
    workdir = tmp_path / "w"
    for stage in ("pretrain_ocr", "pretrain_focus"):
        shutil.copytree(trained / stage, workdir / stage)
    config.stages = "stage1"
    stop_at(monkeypatch, step=3)
    with pytest.raises(Stopped, match=r"stage1: stopped and saved at step 3; go on with: python"):
        runner.train(config, workdir, "python train.py")
    assert not loop.is_finished(workdir, "stage1", 6)
    runner.train(config, workdir, "python train.py")

    network = build_sr(config.sr)
    step, state, record = last_state(workdir, "stage1", network, config.stage1)
    whole_step, whole_state, whole_record = last_state(trained, "stage1", network, config.stage1)
    assert step == whole_step == 6
    assert same(state, whole_state)
    assert record == whole_record
    best = checkpoints.load_best(workdir, "stage1", checkpoints.abstract(network.template))
    whole = checkpoints.load_best(trained, "stage1", checkpoints.abstract(network.template))
    assert same(best[0], whole[0])
    assert best[1] == whole[1]


@pytest.mark.parametrize("name", ["tbsrn", "tsrn"])
def test_every_sr_network_trains_as_edsr_does(data_root, tmp_path, name):
    config = micro_config(data_root, tmp_path / "data")
    config.stages, config.sr.name = "stage1", name
    # The squared error alone reaches every weight.
    config.stage1.position = config.stage1.recognition = 0.0
    runner.train(config, tmp_path / "w", "again")
    network = build_sr(config.sr)
    template = checkpoints.abstract(network.template)
    best, _ = checkpoints.load_best(tmp_path / "w", "stage1", template)
    assert set(best["params"]) == {"stn", name}
    fresh = network.init(jax.random.fold_in(jax.random.key(config.seed), 2))
    moved = jax.tree.map(lambda a, b: not np.array_equal(a, b), best["params"], fresh["params"])
    assert all(jax.tree.leaves(moved))
    sr = jax.jit(network)(best, np.full((1, 16, 64, 3), 0.5, np.float32))
    assert np.isfinite(sr).all()


def test_a_guided_network_starts_with_its_teacher_in_every_stage(data_root, tmp_path):
    config = variants.tpgsr3(micro_config(data_root, tmp_path / "data"))
    config.stages, config.sr.apply_stn = "stage1", "never"
    with pytest.raises(
        UserError, match=r"stage1\.prior=1 needs a recogniser .* config\.init\.prior"
    ):
        runner.train(config, tmp_path / "w", "again")
    rng = np.random.default_rng(0)
    teacher = jax.tree.map(
        lambda leaf: rng.random(leaf.shape, np.float32), build_prior(config.sr).template
    )
    path = tmp_path / "crnn.params"
    parameter_files.save(path, ParameterFile("crnn", "ocr", {"name": "crnn"}, teacher))
    config.init.prior = str(path)
    training = open_training(checked(config), tmp_path / "w")
    stage = stage1.SPEC.make(training, stage1.SPEC)
    assert same(stage.frozen["teacher"], teacher)
    start = stage.initial(jax.random.key(0))
    assert start["params"].keys() == {"tpgsr", "prior"}
    for number in "01":
        assert same(start["params"]["prior"][number], teacher["params"])
        assert same(start["stats"]["prior"][number], teacher["stats"])
    outline = stage1.SPEC.outline(training, stage1.SPEC)
    assert jax.tree.structure(outline.frozen) == jax.tree.structure(stage.frozen)


def test_lemma_starts_from_a_recogniser_that_its_loss_trains_too(data_root, tmp_path, monkeypatch):
    config = variants.lemma(micro_config(data_root, tmp_path / "data"))
    config.stages, config.sr.apply_stn = "stage1", "never"
    rng = np.random.default_rng(0)

    def drawn(network):
        return jax.tree.map(lambda leaf: rng.random(leaf.shape, np.float32), network.template)

    reader = drawn(build_prior(config.sr))
    config.init.prior = str(tmp_path / "abinet.params")
    parameter_files.save(config.init.prior, ParameterFile("abinet", "prior", {}, reader))
    training = open_training(checked(config), tmp_path / "w")
    # Nothing is compiled here. The parity vectors hold the loss, and the optimiser has its tests.
    monkeypatch.setattr(training.sr, "init", lambda key: drawn(training.sr))
    start = stage1.initial_sr(training)(jax.random.key(0))
    assert same({part: tree["reader"] for part, tree in start.items()}, reader)
    outline = stage1.SPEC.outline(training, stage1.SPEC)
    _, (parts, stats) = jax.eval_shape(
        outline.loss, start, outline.frozen, outline.batch, jax.random.key(0)
    )
    assert parts.keys() == {"loss", "mse", "position", "recognition", "reading"}
    assert jax.tree.structure(stats) == jax.tree.structure(start["stats"])


def test_without_text_focus_its_recogniser_is_neither_trained_nor_needed(
    trained, data_root, tmp_path
):
    config = variants.no_text_focus(micro_config(data_root, tmp_path / "data"))
    config.stages, config.sr.apply_stn = "pretrain,stage1", "never"
    config.init.ocr = str(trained)
    runner.train(config, tmp_path / "w", "again")
    assert not (tmp_path / "w" / "pretrain_focus").exists()
    assert loop.is_finished(tmp_path / "w", "stage1", 6)
