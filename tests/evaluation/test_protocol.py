"""The protocol's figures against a direct computation, and rows whose words are known."""

import numpy as np
import pytest

from tests.conftest import WORDS
from textsr_jax import metrics
from textsr_jax.errors import UserError
from textsr_jax.evaluation import protocol, workdirs
from textsr_jax.images import to_float


@pytest.fixture(scope="module")
def opened(trained):
    return workdirs.open_workdir(trained)


def test_rows_are_bicubic_sr_before_and_after_fine_tuning_and_hr(opened):
    rows, images = workdirs.evaluate(*opened)
    assert [(row.sr, row.ocr) for row in rows] == [
        ("bicubic", "pretrained"),
        ("edsr", "pretrained"),
        ("edsr", "fine-tuned"),
        ("HR", "pretrained"),
    ]
    assert set(images) == {"bicubic", "edsr", "HR"}
    for row in rows:
        assert list(row.splits) == ["easy", "hard"]
        assert [scores["n"] for scores in row.splits.values()] == [9, 9]
        assert row.mean["n"] == 18
    assert rows[-1].splits["easy"]["psnr"] is None
    assert rows[-1].splits["easy"]["ssim"] == pytest.approx(1)
    assert rows[1].splits["easy"]["psnr"] == rows[2].splits["easy"]["psnr"]


def test_scores_are_those_of_single_images_whatever_the_batch(opened):
    _, evaluation = opened
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


def test_the_published_psnr_pools_sixteen_images(opened, monkeypatch):
    _, evaluation = opened
    monkeypatch.setattr(protocol, "REFERENCE_BATCH", 4)
    images = evaluation.bicubic()
    row = evaluation.row("bicubic", "", images, evaluation.labels)
    sr, hr = to_float(images["easy"]), to_float(evaluation.hr["easy"])
    parts = [float(metrics.psnr_batch(sr[i : i + 4], hr[i : i + 4])) for i in (0, 4, 8)]
    assert row.splits["easy"]["psnr_batch"] == pytest.approx(np.mean(parts), rel=1e-5)


def test_case_and_punctuation_do_not_count(opened):
    _, evaluation = opened
    loud = {
        name: [f"{word.upper()}!" for word in words] for name, words in evaluation.labels.items()
    }
    row = evaluation.row("HR", "", evaluation.hr, loud)
    assert row.mean["accuracy"] == 100


def test_a_workdir_without_a_recogniser_is_named(trained, tmp_path):
    (tmp_path / "config.json").write_bytes((trained / "config.json").read_bytes())
    with pytest.raises(UserError, match="holds no recogniser yet"):
        workdirs.open_workdir(tmp_path)
