"""What a training refuses before anything is written."""

import pytest

from tests.conftest import micro_config
from textsr_jax.errors import UserError
from textsr_jax.train import runner

pytestmark = pytest.mark.slow


def test_photographs_do_not_lie_on_devices(data_root, tmp_path):
    config = micro_config(data_root, tmp_path / "data")
    config.stages, config.stage0.on_device = "stage0", True
    with pytest.raises(UserError, match=r"stage0\.on_device=True: photographs are cropped anew"):
        runner.train(config, tmp_path / "w", "again")


def test_a_text_prior_is_not_trained_in_the_joint_stage(data_root, tmp_path):
    config = micro_config(data_root, tmp_path / "data")
    config.stages, config.sr.name = "joint", "tpgsr"
    with pytest.raises(UserError, match="joint has no loss for the recogniser of tpgsr; take"):
        runner.train(config, tmp_path / "w", "again")
