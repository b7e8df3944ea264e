"""Stage 2 on a micro config: which images it learns from, and which ones judge it."""

import numpy as np
import pytest

from tests.conftest import micro_config, same
from textsr_jax import data
from textsr_jax.config import variants
from textsr_jax.config.checks import checked
from textsr_jax.data.batching import Concatenated
from textsr_jax.evaluation import comparison, protocol
from textsr_jax.images import to_float, to_uint8
from textsr_jax.models.bicubic import enlarge
from textsr_jax.storage.models import Models
from textsr_jax.train import runner
from textsr_jax.train.stages import stage2
from textsr_jax.train.training import open_training

pytestmark = pytest.mark.slow


def test_bicubic_trains_a_recogniser_alone_crnn_too(data_root, tmp_path, capsys):
    config = micro_config(data_root, tmp_path / "data")
    config.sr.name, config.sr.apply_stn, config.ocr.name = "bicubic", "never", "crnn"
    workdir = tmp_path / "w"
    runner.train(config, workdir, "again")
    assert "stage1: bicubic has nothing to train" in capsys.readouterr().out
    stage_folders = {path.name for path in workdir.iterdir() if (path / "checkpoints").is_dir()}
    assert stage_folders == {"pretrain_ocr", "stage2"}
    models = Models.load(workdir)
    assert not same(models.pretrained, models.fine_tuned)
    evaluation = protocol.Evaluation.open(config)
    rows, images = comparison.compare(models, evaluation)
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


def test_fine_tuning_on_hr_images_reads_them_and_is_judged_by_sr_images(
    trained, data_root, tmp_path
):
    config = variants.hr(micro_config(data_root, tmp_path / "data"))
    config.init.sr = config.init.ocr = str(trained)

    def made():
        training = open_training(checked(config), tmp_path)
        return training, stage2.SPEC.make(training, stage2.SPEC)

    training, stage = made()
    words = training.words.for_fine_tuning().sources
    assert len(words) == 2
    everything = Concatenated(list(words.values()))
    batch = next(stage.batches)
    for image, index in zip(batch.hr, batch.index, strict=True):
        assert np.array_equal(image, everything[int(index)].hr)
    files = {path.name for path in (tmp_path / "stage2").iterdir()}
    assert files == {"sr_validation_train1.npy"}
    shown = stage.judge.run(Models.load(trained).pretrained).pictures["images"]
    sr = np.load(tmp_path / "stage2" / "sr_validation_train1.npy")
    assert np.array_equal(shown, np.concatenate(sr[:8]))

    config.stage2.images = "sr"
    batch = next(made()[1].batches)
    cached = {name: np.load(tmp_path / "stage2" / f"sr_{name}.npy") for name in words}
    images = np.concatenate(list(cached.values()))
    assert np.array_equal(batch.hr, images[batch.index])

    config.stage2.images = "both"
    training, stage = made()
    batch = next(stage.batches)
    both = []
    for name, source in words.items():
        both.extend([*cached[name], *(source[index].hr for index in range(len(source)))])
    assert stage2.SPEC.outline(training, stage2.SPEC).records == len(both) == 2 * len(everything)
    assert np.array_equal(batch.hr, np.stack(both)[batch.index])
