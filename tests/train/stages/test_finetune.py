"""Fine-tuning of quantised models: what is rounded, and who judges."""

import jax
import numpy as np
import pytest

from tests.conftest import same
from textsr_jax.images import to_float
from textsr_jax.models import build_ocr
from textsr_jax.storage import workdirs
from textsr_jax.storage.models import Models
from textsr_jax.train.stages import finetune
from textsr_jax.train.training import open_training

pytestmark = pytest.mark.slow


def test_an_stn_that_runs_in_training_only_is_not_rounded():
    variables = {
        "params": {"stn": {"w": np.array([1.5])}, "edsr": {"w": np.array([2.5])}},
        "stats": {"stn": {"mean": np.array([3.5])}},
    }
    spared = finetune.sparing_stn(lambda tree: jax.tree.map(np.floor, tree))(variables)
    assert same(spared["stats"], variables["stats"])
    assert same(spared["params"], {"stn": {"w": np.array([1.5])}, "edsr": {"w": np.array([2.0])}})
    # An SR model without one.
    bare = {"params": {"w": np.array([2.5])}, "stats": {}}
    floored = finetune.sparing_stn(lambda tree: jax.tree.map(np.floor, tree))(bare)
    assert same(floored, {"params": {"w": np.array([2.0])}, "stats": {}})


def test_the_quantised_recogniser_judges(trained):
    config = workdirs.load_config(trained)
    zeroed = build_ocr(config.ocr).through(lambda tree: jax.tree.map(jax.numpy.zeros_like, tree))
    training, plain = open_training(config, trained, ocr=zeroed), open_training(config, trained)
    variables = Models.load(trained).pretrained
    images = to_float(np.stack([training.words.data_set.validation[0].hr]))
    expected = plain.read(jax.tree.map(np.zeros_like, variables), images).log_probability
    assert np.allclose(training.read(variables, images).log_probability, expected)
    assert not np.allclose(plain.read(variables, images).log_probability, expected)
