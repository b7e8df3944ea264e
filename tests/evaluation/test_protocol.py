"""The protocol's figures against a direct computation, and its options for punctuation."""

import numpy as np
import pytest

from tests.conftest import WORDS, record, write_lmdb
from textsr_jax import metrics, reading
from textsr_jax.errors import UserError
from textsr_jax.evaluation import protocol
from textsr_jax.images import to_float
from textsr_jax.storage import workdirs
from textsr_jax.storage.models import Models
from textsr_jax.storage.shipped import SHIPPED


@pytest.fixture(scope="module")
def config(trained):
    return workdirs.load_config(trained)


@pytest.fixture(scope="module")
def evaluation(config):
    return protocol.Evaluation.open(config)


@pytest.fixture(scope="module")
def punctuated(tmp_path_factory):
    """A data root whose one test split has three plain words and two with punctuation."""
    root = tmp_path_factory.mktemp("punctuated")
    words = ["open", "St.", "Exit", "don't", "taxi"]
    write_lmdb(root / "test" / "easy", [record(word) for word in words])
    return root


def test_scores_are_those_of_single_images_whatever_the_batch(evaluation):
    images = evaluation.bicubic()
    words = {"easy": WORDS[:9], "hard": ["wrong"] * 8 + WORDS[11:]}
    row = evaluation.row("bicubic", "pretrained", images, words)
    for name, scores in row.splits.items():
        sr, hr = to_float(images[name]), to_float(evaluation.hr[name])
        psnr = [float(metrics.psnr(sr[i : i + 1], hr[i : i + 1])[0]) for i in range(len(hr))]
        assert scores["psnr"] == pytest.approx(np.mean(psnr), rel=1e-5)
        assert scores["psnr_batch"] == pytest.approx(float(metrics.psnr_batch(sr, hr)), rel=1e-5)
        assert scores["ssim"] == pytest.approx(float(metrics.ssim(sr, hr).mean()), rel=1e-5)
    assert row.splits["easy"]["accuracy"] == 100
    assert row.splits["hard"]["accuracy"] == pytest.approx(100 / 9)
    assert row.mean["accuracy"] == pytest.approx((100 + 100 / 9) / 2)
    assert row.splits["easy"]["as_written"] == 100
    assert row.mean["as_written"] == pytest.approx((100 + 100 / 9) / 2)


def test_the_published_psnr_pools_as_many_images_as_the_config_says(config):
    evaluation = protocol.Evaluation.open(config.replace(evaluation={"psnr_batch": 4}))
    images = evaluation.bicubic()
    row = evaluation.row("bicubic", "", images, evaluation.labels)
    sr, hr = to_float(images["easy"]), to_float(evaluation.hr["easy"])
    parts = [float(metrics.psnr_batch(sr[i : i + 4], hr[i : i + 4])) for i in (0, 4, 8)]
    assert row.splits["easy"]["psnr_batch"] == pytest.approx(np.mean(parts), rel=1e-5)


def test_case_and_punctuation_do_not_count(evaluation):
    loud = {
        name: [f"{word.upper()}!" for word in words] for name, words in evaluation.labels.items()
    }
    row = evaluation.row("HR", "", evaluation.hr, loud)
    assert row.mean["accuracy"] == 100
    # Beside it they do.
    assert row.mean["as_written"] == 0


@pytest.mark.slow
def test_a_second_look_reads_as_a_reader_does(data_root):
    changed = workdirs.load_config(SHIPPED).replace(
        evaluation={"batch_size": 4}, decoding={"second_look": 1.0}
    )
    evaluation = protocol.Evaluation.open(changed, str(data_root))
    models = Models.load(SHIPPED, changed)
    images = {"hard": evaluation.bicubic()["hard"]}
    (found,) = evaluation.read(models.ocr, models.fine_tuned, images).values()
    reader = reading.load(SHIPPED, config=changed)
    # Nine words in batches of four, in one of 32, and a few at a time.
    assert found == [one.text for one in reader.read_enhanced(images["hard"])]
    few = [reader.read_enhanced(images["hard"][start : start + 3]) for start in (0, 3, 6)]
    assert found == [one.text for part in few for one in part]
    assert len(set(found)) > 5


@pytest.mark.parametrize(
    ("option", "count", "accuracy"), [("strip", 5, 100), ("skip", 3, 100), ("keep", 5, 60)]
)
def test_words_with_punctuation(config, punctuated, option, count, accuracy):
    changed = config.replace(evaluation={"punctuation": option})
    evaluation = protocol.Evaluation.open(changed, str(punctuated))
    plain = {"open": "open", "St.": "st", "Exit": "exit", "don't": "dont", "taxi": "taxi"}
    words = {"easy": [plain[label] for label in evaluation.labels["easy"]]}
    row = evaluation.row("HR", "", evaluation.hr, words)
    assert (row.mean["n"], row.mean["accuracy"]) == (count, accuracy)


def test_a_split_of_punctuated_words_alone_cannot_be_skipped(config, tmp_path):
    write_lmdb(tmp_path / "test" / "easy", [record("St.")])
    changed = config.replace(evaluation={"punctuation": "skip"})
    with pytest.raises(UserError, match="every label of test/easy holds punctuation"):
        protocol.Evaluation.open(changed, str(tmp_path))
