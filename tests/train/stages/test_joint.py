"""The joint stage on a micro config: its models serve as those of stages 1 and 2 do."""

import jax
import numpy as np
import pytest

from tests.conftest import micro_config, same
from textsr_jax import data, decoding, metrics, reading, text
from textsr_jax.config import variants
from textsr_jax.data import records
from textsr_jax.errors import UserError
from textsr_jax.evaluation import comparison, named_models, protocol
from textsr_jax.images import to_float, to_uint8
from textsr_jax.models import part_of, together
from textsr_jax.storage import checkpoints
from textsr_jax.storage.models import Models
from textsr_jax.train import runner

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def jointly(trained, data_root, tmp_path_factory):
    """A workdir in which the joint stage of the micro config ran from the trained recogniser."""
    folder = tmp_path_factory.mktemp("jointly")
    config = joint_config(trained, data_root, folder / "data")
    runner.train(config, folder / "w", "again")
    return folder / "w"


def joint_config(trained, data_root, data_dir):
    config = micro_config(data_root, data_dir)
    config.stages = "joint"
    config.init.ocr = config.init.focus = str(trained)
    return config


def test_a_workdir_of_the_joint_stage_serves_as_any_other(trained, jointly):
    models = Models.load(jointly)
    before = Models.load(trained)
    assert same(models.pretrained, before.pretrained)
    for tuned, start in (
        (models.fine_tuned, models.pretrained),
        (models.sr_variables, models.sr.init(jax.random.key(0))),
    ):
        assert jax.tree.structure(tuned) == jax.tree.structure(start)
        assert not same(tuned["params"], start["params"])
        assert not same(tuned["stats"], start["stats"])
    rows, images = comparison.compare(models, protocol.Evaluation.open(models.config))
    assert [(row.sr, row.ocr) for row in rows] == [
        ("bicubic", "pretrained"),
        ("edsr", "pretrained"),
        ("edsr", "fine-tuned"),
        ("HR", "pretrained"),
    ]
    reader = reading.load(jointly)
    lr = protocol.Evaluation.open(models.config).lr["easy"]
    assert np.abs(reader.enhance(list(lr)).astype(int) - images["edsr"]["easy"]).max() <= 1
    # As an SR model and as a judge in the table of another workdir.
    assert same(named_models.load_sr(str(jointly), models.config).variables, models.sr_variables)
    assert same(named_models.load_judge(str(jointly), models.config).variables, models.fine_tuned)


def test_the_best_joint_model_is_the_one_that_reads_sr_validation_words_best(jointly):
    models = Models.load(jointly)
    template = checkpoints.abstract(together(sr=models.sr, ocr=models.ocr).template)
    best, record = checkpoints.load_best(jointly, "joint", template)
    assert same(part_of(best, "sr"), models.sr_variables)
    source = data.load(models.config.data).validation
    lr = to_float(np.stack([source[index].lr for index in range(len(source))]))
    hr = to_float(np.stack([source[index].hr for index in range(len(source))]))
    sr = to_float(to_uint8(models.sr(models.sr_variables, lr)))
    psnr = float(metrics.psnr(sr, hr).mean())
    assert record["scalars"]["psnr"] == pytest.approx(psnr, abs=0.01)
    read = decoding.recognizer(models.ocr, beam=1, steps=models.config.max_length + 1)
    words = text.ALPHANUMERIC.decode_tokens(read(models.fine_tuned, sr).tokens)
    accuracy = 100 * metrics.word_accuracy(words, records.labels(source))
    assert record["scalars"]["accuracy"] == pytest.approx(accuracy)
    assert record["score"] == [record["scalars"]["accuracy"], record["scalars"]["psnr"]]


def test_joint_and_two_steps_do_not_share_a_workdir(trained, jointly, data_root, tmp_path):
    config = micro_config(data_root, tmp_path / "data")
    config.stages = "pretrain,stage1,joint"
    with pytest.raises(UserError, match="joint stands in place of stage1 and stage2, but stage1"):
        runner.train(config, tmp_path / "w", "again")
    config = joint_config(trained, data_root, tmp_path / "data")
    config.stages = "stage2"
    with pytest.raises(UserError, match="but joint is chosen or was run there too"):
        runner.train(config, jointly, "again")
    config.stages = "joint"
    with pytest.raises(UserError, match="but stage1 is chosen or was run there too"):
        runner.train(config, trained, "again")
    config = variants.bicubic(config)
    with pytest.raises(UserError, match="bicubic has nothing to train, so that joint would be sta"):
        runner.train(config, tmp_path / "w", "again")
