"""Where stages start: a file, another workdir, a smaller recogniser, an earlier stage."""

import shutil

import jax
import numpy as np
import pytest

from tests.conftest import micro_config, same
from textsr_jax.errors import UserError
from textsr_jax.models import build_ocr
from textsr_jax.storage import checkpoints, parameter_files
from textsr_jax.storage.models import Models
from textsr_jax.train import loop, runner

pytestmark = pytest.mark.slow


def test_a_stage_without_its_start_says_which_to_run(data_root, tmp_path):
    config = micro_config(data_root, tmp_path / "data")
    config.stages = "stage1"
    with pytest.raises(UserError, match=r"w: pretrain_focus has not run to its end there"):
        runner.train(config, tmp_path / "w", "again")


def test_a_smaller_recogniser_grows(trained, data_root, tmp_path, monkeypatch):
    config = micro_config(data_root, tmp_path / "data")
    config.stages, config.init.sr, config.init.ocr = "stage2", str(trained), str(trained)
    cdistnet = config.ocr.cdistnet
    cdistnet.depths = tuple(depth + 1 for depth in cdistnet.depths)
    begun = []
    monkeypatch.setattr(loop, "run", lambda stage, *rest: begun.append(stage))
    with pytest.raises(UserError, match="pretrain_ocr/best: another network was saved"):
        runner.train(config, tmp_path / "w", "again")
    config.init.grow = True
    shutil.rmtree(tmp_path / "w")
    runner.train(config, tmp_path / "w", "again")
    start = begun[-1].initial(jax.random.key(0))
    small = build_ocr(micro_config(data_root, tmp_path / "data").ocr)
    before = checkpoints.load_best(trained, "pretrain_ocr", checkpoints.abstract(small.template))[0]
    images = np.random.default_rng(0).random((2, 32, 128, 3)).astype(np.float32)
    np.testing.assert_allclose(
        build_ocr(config.ocr)(start, images, method="encode"),
        small(before, images, method="encode"),
        atol=1e-5,
    )
    cdistnet.heads *= 2
    with pytest.raises(UserError, match=r"needs a CDistNet of as many heads as config\.ocr"):
        runner.train(config, tmp_path / "v", "again")


def test_stages_start_from_parameter_files(trained, data_root, tmp_path, monkeypatch):
    config = micro_config(data_root, tmp_path / "data")
    models = Models.load(trained)
    # As EDSR's published file: without an STN.
    lone = {"params": {"edsr": models.sr_variables["params"]["edsr"]}, "stats": {}}
    for part, variables in (("sr", lone), ("ocr", models.pretrained)):
        name = config[part].name
        settings = {"name": name, name: config[part][name].to_dict()}
        config.init[part] = str(tmp_path / f"{part}.safetensors")
        file = parameter_files.ParameterFile(name, part, settings, variables)
        parameter_files.save(config.init[part], file)
    # Steps of no length leave every stage at its start, and need no recogniser in their loss.
    config.stage1.learning_rate = config.stage2.learning_rate = 0.0
    config.stage1.position = config.stage1.recognition = 0.0
    workdir = tmp_path / "w"
    runner.train(config, workdir, "again")
    assert not (workdir / "pretrain_ocr").exists()
    loaded = Models.load(workdir)
    assert same(loaded.sr_variables["params"]["edsr"], lone["params"]["edsr"])
    # The STN is a fresh one: zero weights, and points that the image does not move.
    fresh = loaded.sr.init(jax.random.key(0))["params"]["stn"]
    assert same(loaded.sr_variables["params"]["stn"]["fc2"], fresh["fc2"])
    assert not same(models.sr_variables["params"]["stn"]["fc2"], fresh["fc2"])
    assert same(loaded.fine_tuned["params"], models.pretrained["params"])

    # Pre-training goes on from a recogniser instead of being replaced by it.
    config.stages, config.init.pretrain, config.init.ocr = "pretrain", config.init.ocr, ""
    config.pretrain.ocr.learning_rate = 0.0
    runner.train(config, tmp_path / "further", "again")
    further = Models.load(tmp_path / "further").pretrained
    assert same(further["params"], models.pretrained["params"])
    config.init.ocr, config.init.pretrain = config.init.pretrain, ""

    # Without a stage 1 of its own, stage 2 reads the images of the file's SR model.
    config.stages = "stage2"
    monkeypatch.setattr(loop, "run", lambda *_: None)
    runner.train(config, tmp_path / "alone", "again")
    made = np.load(tmp_path / "alone" / "stage2" / "sr_train.npy")
    assert (made == np.load(trained / "stage2" / "sr_train.npy")).all()
