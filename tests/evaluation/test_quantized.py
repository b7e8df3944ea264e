"""Quantised rows: sizes by the account, little loss at 8 bits, and the choice of Table 2."""

import pytest

from textsr_jax import reading
from textsr_jax.evaluation import quantized, workdirs
from textsr_jax.evaluation.protocol import Row
from textsr_jax.evaluation.quantized import Setting


def setting(target, bits, size, psnr, accuracy):
    row = Row("edsr", "fine-tuned", {}, {"psnr": psnr, "accuracy": accuracy}, {})
    return Setting(target, bits, "laplace", size, row)


def test_table_2_takes_the_smallest_without_a_major_loss():
    plain = setting("none", None, 100.0, 21.4, 70.0)
    settings = [
        plain,
        setting("SR", 2, 50.0, 20.9, 70.0),  # loses too much PSNR
        setting("SR", 4, 60.0, 21.3, 69.5),
        setting("SR", 8, 80.0, 21.4, 70.0),
        setting("OCR", 2, 40.0, 21.4, 12.0),
        setting("OCR", 3, 45.0, 21.4, 50.0),  # all lose too much: the most accurate stands
    ]
    chosen = quantized.table2(settings)
    assert [(row.target, row.bits) for row in chosen] == [("none", None), ("SR", 4), ("OCR", 3)]


@pytest.mark.slow
def test_the_grid_evaluates_each_setting_like_a_model(trained):
    models = reading.load_models(trained)
    evaluation = workdirs.open_data(models.config)
    settings = quantized.grid(models, evaluation, quantized.TARGETS, [2, 8], ["laplace", "minmax"])
    assert len(settings) == 1 + 3 * 2 * 2
    plain = settings[0]
    by_key = {(row.target, row.bits, row.prior): row for row in settings[1:]}
    for prior in ("laplace", "minmax"):
        fine = by_key["SR", 8, prior]
        assert fine.row.mean["psnr"] == pytest.approx(plain.row.mean["psnr"], abs=0.1)
        # Only the recogniser changes in OCR rows.
        assert by_key["OCR", 2, prior].row.mean["psnr"] == plain.row.mean["psnr"]
        both = by_key["SR + OCR", 8, prior]
        saved = 2 * plain.size_mbit - fine.size_mbit - by_key["OCR", 8, prior].size_mbit
        assert both.size_mbit == pytest.approx(plain.size_mbit - saved)
        assert both.size_mbit < fine.size_mbit < plain.size_mbit
    assert set(settings[1].as_json()) >= {"target", "bits", "prior", "size_mbit", "splits", "mean"}
