"""The stages end to end on a micro config: resume, stages alone, the best model, the SR cache."""

import os
import shutil
import signal

import jax
import numpy as np
import pytest
import tensorboardX

from tests.conftest import micro_config, same
from textsr_jax import checkpoints, data
from textsr_jax.checkpoints import Checkpoints
from textsr_jax.errors import Stopped, UserError
from textsr_jax.images import to_float, to_uint8
from textsr_jax.models import build_sr
from textsr_jax.train import loop, stages
from textsr_jax.train import state as states

pytestmark = pytest.mark.slow


def last_state(workdir, stage, network, settings):
    template = jax.eval_shape(
        lambda: states.create(
            network.init(jax.random.key(0)), states.make_optimizer(settings), jax.random.key(0)
        )
    )
    saved = Checkpoints(workdir / stage / "checkpoints")
    step, state, record = saved.restore(checkpoints.abstract(template))
    saved.close()
    return step, state, record


def test_every_stage_leaves_its_best_model_and_logs(trained):
    for stage in ("pretrain_ocr", "pretrain_focus", "stage1", "stage2"):
        assert loop.is_finished(trained, stage, 6)
        assert Checkpoints(checkpoints.best_directory(trained, stage)).steps()
        assert list((trained / stage / "logs").glob("events*"))


@pytest.mark.slow
def test_a_stopped_run_goes_on_to_the_same_bits(trained, data_root, tmp_path, monkeypatch):
    config = micro_config(data_root, tmp_path / "data")
    workdir = tmp_path / "w"
    shutil.copytree(trained / "pretrain_focus", workdir / "pretrain_focus")
    config.stages = "stage1"

    # SIGTERM arrives while step 3 is logged as the validation of that step.
    class Writer(tensorboardX.SummaryWriter):
        def add_scalar(self, tag, value, step=None, *rest, **named):
            if step == 3 and tag == "validation/psnr" and not stopped:
                stopped.append(step)
                os.kill(os.getpid(), signal.SIGTERM)
            return super().add_scalar(tag, value, step, *rest, **named)

    stopped = []
    monkeypatch.setattr(loop, "SummaryWriter", Writer)
    with pytest.raises(Stopped, match=r"stage1: stopped and saved at step 3; go on with: python"):
        stages.train(config, workdir, "python train.py")
    assert not loop.is_finished(workdir, "stage1", 6)
    stages.train(config, workdir, "python train.py")

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


def test_stage_2_reads_the_images_of_the_frozen_stage_1_model(trained, data_root, tmp_path):
    config = micro_config(data_root, tmp_path / "data")
    network = build_sr(config.sr)
    variables, _ = checkpoints.load_best(trained, "stage1", checkpoints.abstract(network.template))
    train = data.load(config.data).train
    lr = np.stack([train[index].lr for index in range(len(train))])
    expected = np.asarray(to_uint8(network(variables, to_float(lr))))
    cached = np.load(trained / "stage2" / "sr_train.npy")
    assert cached.shape == (len(train), 32, 128, 3)
    # Batches of another size may round a level differently.
    assert np.abs(cached.astype(int) - expected).max() <= 1
    assert np.load(trained / "stage2" / "sr_synthetic.npy").shape == (24, 32, 128, 3)


def test_a_finished_run_does_nothing(trained, data_root, tmp_path, capsys):
    config = micro_config(data_root, tmp_path / "data")
    before = sorted(trained.rglob("*"))
    stages.train(config, trained, "again")
    assert capsys.readouterr().out.count("done already") == 4
    assert sorted(trained.rglob("*")) == before


def test_a_stage_without_its_start_says_which_to_run(data_root, tmp_path):
    config = micro_config(data_root, tmp_path / "data")
    config.stages = "stage1"
    with pytest.raises(UserError, match=r"w: pretrain_focus has not run to its end there"):
        stages.train(config, tmp_path / "w", "again")


def test_bad_configs_are_named(data_root, tmp_path):
    config = micro_config(data_root, tmp_path / "data")
    config.stages = "stage1,stagee2"
    with pytest.raises(UserError, match=r"no stage 'stagee2'; did you mean 'stage2'\?"):
        stages.train(config, tmp_path / "w", "again")
    config.stages = "stage1"
    config.stage2.steps = 0
    with pytest.raises(UserError, match=r"config.stage2.steps=0: must be at least 1"):
        stages.train(config, tmp_path / "w", "again")
    assert not (tmp_path / "w").exists()


def test_a_loss_that_is_not_finite_stops_the_run(data_root, tmp_path):
    config = micro_config(data_root, tmp_path / "data")
    config.stages = "pretrain"
    config.pretrain.ocr.learning_rate = float("inf")
    with pytest.raises(UserError, match=r"pretrain_ocr: the loss is not finite at step \d"):
        stages.train(config, tmp_path / "w", "again")
