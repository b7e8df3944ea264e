"""What stages of words share: images that lie on the devices train the same bits."""

import shutil

import jax
import numpy as np
import pytest

from tests.conftest import micro_config, same
from tests.train.last_states import last_state
from textsr_jax.models import build_ocr, build_sr
from textsr_jax.storage import parameter_files
from textsr_jax.storage.parameter_files import ParameterFile
from textsr_jax.train import runner

pytestmark = pytest.mark.slow


def config_of(data_root, tmp_path, stage, augment):
    config = micro_config(data_root, tmp_path / "data")
    config.stages, config[stage].augment = stage, augment
    return config


def trained_with(config, workdir, on_device):
    """The last state of the one stage of a config whose images lie on the devices, or do not."""
    stage = config.stages
    config[stage].on_device = on_device
    runner.train(config, workdir, "again")
    network = build_sr(config.sr) if stage == "stage1" else build_ocr(config.ocr)
    step, state, _ = last_state(workdir, stage, network, config[stage])
    assert step == config[stage].steps
    return state


@pytest.mark.parametrize("augment", [False, True])
def test_pairs_on_the_devices_train_the_same_bits(trained, data_root, tmp_path, augment):
    config = config_of(data_root, tmp_path, "stage1", augment)
    for name in ("plain", "held"):
        for before in ("pretrain_ocr", "pretrain_focus"):
            shutil.copytree(trained / before, tmp_path / name / before)
    held = trained_with(config, tmp_path / "held", on_device=True)
    # With augmentation the plain training is the one that `trained` did.
    whole = last_state(trained, "stage1", build_sr(config.sr), config.stage1)[1]
    assert same(whole, held) == augment
    if not augment:
        assert same(trained_with(config, tmp_path / "plain", on_device=False), held)


@pytest.mark.parametrize("augment", [False, True])
def test_images_on_the_devices_fine_tune_to_the_same_bits(trained, data_root, tmp_path, augment):
    config = config_of(data_root, tmp_path, "stage2", augment)
    config.stage2.images, config.ocr.name = "both", "crnn"
    config.init.ocr, config.init.sr = str(tmp_path / "crnn.params"), str(trained)
    network = build_ocr(config.ocr)
    start = jax.tree.map(np.asarray, network.init(jax.random.key(1)))
    file = ParameterFile("crnn", "ocr", config.ocr.to_dict(), start)
    parameter_files.save(config.init.ocr, file)
    states = [
        trained_with(config, tmp_path / f"{on_device}", on_device) for on_device in (False, True)
    ]
    assert same(*states)
    assert not same(start["params"], states[0].params)
