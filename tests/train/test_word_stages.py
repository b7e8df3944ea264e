"""What stages of words share: images that lie on the devices train the same bits."""

import shutil

import pytest

from tests.conftest import micro_config, same
from tests.train.last_states import last_state
from textsr_jax.models import build_ocr, build_sr
from textsr_jax.storage import checkpoints
from textsr_jax.train import runner

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("augment", [False, True])
@pytest.mark.parametrize("stage", ["stage1", "stage2"])
def test_images_on_the_devices_train_the_same_bits(trained, data_root, tmp_path, stage, augment):
    config = micro_config(data_root, tmp_path / "data")
    config.stages, config.stage2.images = stage, "both"
    settings, network = config[stage], build_sr(config.sr)
    if stage == "stage2":
        network = build_ocr(config.ocr)
    settings.augment = augment
    states = {}
    for on_device in (False, True):
        settings.on_device, workdir = on_device, tmp_path / f"{on_device}"
        for before in ("pretrain_ocr", "pretrain_focus", *(["stage1"] * (stage == "stage2"))):
            shutil.copytree(trained / before, workdir / before)
        runner.train(config, workdir, "again")
        states[on_device] = last_state(workdir, stage, network, settings)
    (step, plain, _), (_, held, _) = states.values()
    assert step == settings.steps
    assert same(plain, held)
    start = checkpoints.load_best(trained, stage, checkpoints.abstract(network.template))[0]
    # With augmentation this is the training that `trained` did.
    assert same(start["params"], held.params) == (augment and stage == "stage1")
