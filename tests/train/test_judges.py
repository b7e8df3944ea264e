"""Judges: the SR model by what is read in its images, the mean over validation splits."""

import numpy as np
import pytest

from tests.conftest import micro_config, record, write_lmdb
from textsr_jax import decoding, text
from textsr_jax.config.checks import checked
from textsr_jax.data import records
from textsr_jax.storage.models import Models
from textsr_jax.train.stages import stage1
from textsr_jax.train.training import open_training

pytestmark = pytest.mark.slow


@pytest.fixture
def two_folders(tmp_path):
    """A data root: 40 words "open" in a train folder, 20 words, two in five "open", in another."""
    root = tmp_path / "two"
    write_lmdb(root / "train1", [record("open")] * 40)
    write_lmdb(
        root / "train2", [record(word) for word in ("open", "taxi", "Open", "2nd", "a1") * 4]
    )
    write_lmdb(root / "test" / "easy", [record("open")])
    return root


def test_the_sr_model_is_chosen_by_the_mean_accuracy_over_validation_splits(
    trained, two_folders, tmp_path, monkeypatch, capsys
):
    config = micro_config(two_folders, tmp_path / "data")
    config.data.validation_fraction = 0.5
    config.init.focus = str(trained)
    training = open_training(checked(config), tmp_path)
    stage = stage1.SPEC.make(training, stage1.SPEC)
    assert "stage1: there is no recogniser" in capsys.readouterr().err
    variables = Models.load(trained).sr_variables
    alone = stage.judge.run(variables)
    assert alone.score == [0.0, alone.scalars["psnr"]] and "accuracy" not in alone.scalars

    config.init.ocr = str(trained)
    training = open_training(checked(config), tmp_path)
    # A recogniser that reads "open" everywhere.
    tokens = text.cdistnet_tokens(text.ALPHANUMERIC.encode(["open"], config.max_length))

    def read(variables, images):
        count = len(images)
        return np.repeat(tokens, count, axis=0), np.zeros(count, int), np.zeros(count)

    monkeypatch.setattr(decoding, "recognizer", lambda *arguments, **settings: read)
    found = stage1.SPEC.make(training, stage1.SPEC).judge.run(variables)
    splits = training.words.data_set.validation_splits
    share = {
        name: 100 * np.mean([label.lower() == "open" for label in records.labels(source)])
        for name, source in splits.items()
    }
    assert sum(map(len, splits.values())) == 30 and len(splits["train1"]) > len(splits["train2"])
    assert share["train1"] == 100 and 0 < share["train2"] < 100
    assert found.scalars["accuracy_train2"] == pytest.approx(share["train2"])
    assert found.scalars["accuracy"] == pytest.approx(np.mean(list(share.values())))
    assert found.score == [found.scalars["accuracy"], found.scalars["psnr"]]
    assert found.scalars["psnr"] == pytest.approx(alone.scalars["psnr"])
