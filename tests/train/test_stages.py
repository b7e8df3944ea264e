"""The stages end to end on a micro config: resume, stages alone, the best model, the SR cache."""

import os
import shutil
import signal

import jax
import numpy as np
import pytest
import tensorboardX

from tests.conftest import micro_config, same
from textsr_jax import checkpoints, data, parameter_files, reading
from textsr_jax.checkpoints import Checkpoints
from textsr_jax.errors import Stopped, UserError
from textsr_jax.evaluation import workdirs
from textsr_jax.images import to_float, to_uint8
from textsr_jax.models import build_sr
from textsr_jax.models.bicubic import enlarge
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


@pytest.mark.parametrize("name", ["tbsrn", "tsrn"])
def test_every_sr_network_trains_as_edsr_does(trained, data_root, tmp_path, name):
    config = micro_config(data_root, tmp_path / "data")
    config.stages, config.sr.name = "stage1", name
    config.init.focus = str(trained)
    stages.train(config, tmp_path / "w", "again")
    network = build_sr(config.sr)
    template = checkpoints.abstract(network.template)
    best, _ = checkpoints.load_best(tmp_path / "w", "stage1", template)
    assert set(best["params"]) == {"stn", name}
    fresh = network.init(jax.random.fold_in(jax.random.key(config.seed), 2))
    moved = jax.tree.map(lambda a, b: not np.array_equal(a, b), best["params"], fresh["params"])
    assert all(jax.tree.leaves(moved))
    sr = network(best, np.full((1, 16, 64, 3), 0.5, np.float32))
    assert np.isfinite(sr).all()


def test_bicubic_trains_a_recogniser_alone_crnn_too(data_root, tmp_path, capsys):
    config = micro_config(data_root, tmp_path / "data")
    config.sr.name, config.sr.apply_stn, config.ocr.name = "bicubic", "never", "crnn"
    workdir = tmp_path / "w"
    stages.train(config, workdir, "again")
    assert "stage1: bicubic has nothing to train" in capsys.readouterr().out
    stage_folders = {path.name for path in workdir.iterdir() if (path / "checkpoints").is_dir()}
    assert stage_folders == {"pretrain_ocr", "stage2"}
    models = reading.load_models(workdir)
    assert not same(models.pretrained, models.fine_tuned)
    evaluation = workdirs.open_data(config)
    rows, images = workdirs.evaluate(models, evaluation)
    assert [(row.sr, row.ocr) for row in rows] == [
        ("bicubic", "pretrained"),
        ("bicubic", "fine-tuned"),
        ("HR", "pretrained"),
    ]
    made = evaluation.enhance(models.sr, models.sr_variables)
    assert all((made[name] == images["bicubic"][name]).all() for name in made)
    cached = np.load(workdir / "stage2" / "sr_train.npy")
    train = data.load(config.data).train
    expected = np.asarray(to_uint8(enlarge(to_float(train[3].lr[None]))))[0]
    assert np.abs(cached[3].astype(int) - expected).max() <= 1


def test_stages_start_from_parameter_files(trained, data_root, tmp_path):
    config = micro_config(data_root, tmp_path / "data")
    models = reading.load_models(trained)
    # As EDSR's published file: without an STN.
    lone = {"params": {"edsr": models.sr_variables["params"]["edsr"]}, "stats": {}}
    for part, variables in (("sr", lone), ("ocr", models.pretrained)):
        name = config[part].name
        settings = {"name": name, name: config[part][name].to_dict()}
        config.init[part] = str(tmp_path / f"{part}.safetensors")
        file = parameter_files.ParameterFile(name, part, settings, variables)
        parameter_files.save(config.init[part], file)
    config.init.focus = str(trained)
    # Steps of no length leave every stage at its start.
    config.stage1.learning_rate = config.stage2.learning_rate = 0.0
    workdir = tmp_path / "w"
    stages.train(config, workdir, "again")
    assert not (workdir / "pretrain_ocr").exists()
    loaded = reading.load_models(workdir)
    assert same(loaded.sr_variables["params"]["edsr"], lone["params"]["edsr"])
    # The STN is a fresh one: zero weights, and points that the image does not move.
    fresh = loaded.sr.init(jax.random.key(0))["params"]["stn"]
    assert same(loaded.sr_variables["params"]["stn"]["fc2"], fresh["fc2"])
    assert not same(models.sr_variables["params"]["stn"]["fc2"], fresh["fc2"])
    assert same(loaded.fine_tuned["params"], models.pretrained["params"])

    # Without a stage 1 of its own, stage 2 reads the images of the file's SR model.
    config.stages = "stage2"
    stages.train(config, tmp_path / "alone", "again")
    made = np.load(tmp_path / "alone" / "stage2" / "sr_train.npy")
    assert (made == np.load(trained / "stage2" / "sr_train.npy")).all()


def test_an_stn_that_runs_in_training_only_is_not_rounded():
    variables = {
        "params": {"stn": {"w": np.array([1.5])}, "edsr": {"w": np.array([2.5])}},
        "stats": {"stn": {"mean": np.array([3.5])}},
    }
    spared = stages.sparing_stn(lambda tree: jax.tree.map(np.floor, tree))(variables)
    assert same(spared["stats"], variables["stats"])
    assert same(spared["params"], {"stn": {"w": np.array([1.5])}, "edsr": {"w": np.array([2.0])}})
    # An SR model without one.
    bare = {"params": {"w": np.array([2.5])}, "stats": {}}
    floored = stages.sparing_stn(lambda tree: jax.tree.map(np.floor, tree))(bare)
    assert same(floored, {"params": {"w": np.array([2.0])}, "stats": {}})
