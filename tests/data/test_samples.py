"""LR images of training words: evenly spread, and never those of test words."""

import numpy as np
import pytest

from tests.conftest import WORDS, micro_config, record, write_lmdb
from textsr_jax.config.checks import checked
from textsr_jax.data.samples import training_images
from textsr_jax.errors import UserError


def test_they_are_spread_over_the_training_words(data_root, tmp_path):
    config = checked(micro_config("", tmp_path)).data
    images = training_images(config, str(data_root), 5)
    assert images.shape == (5, 16, 64, 3)
    assert images.dtype == np.uint8
    assert len({image.tobytes() for image in images}) > 1
    assert len(training_images(config, str(data_root), 10**6)) >= len(WORDS)


def test_nothing_to_train_on(tmp_path):
    write_lmdb(tmp_path / "test" / "easy", [record("exit")])
    with pytest.raises(UserError, match="has no training words, and test words may not be used"):
        training_images(checked(micro_config("", tmp_path)).data, str(tmp_path), 5)
