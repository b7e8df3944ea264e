"""Tables on the screen hold the figures; JSON files are written in whole or not at all."""

import json

import pytest

from textsr_jax.errors import UserError
from textsr_jax.evaluation.photographs import PhotographRow
from textsr_jax.evaluation.protocol import Row
from textsr_jax.report import tables

SCORES = {"psnr": 21.417, "psnr_batch": 20.9, "ssim": 0.7951, "accuracy": 71.28, "n": 1619}
ROW = Row("edsr", "fine-tuned", {"easy": SCORES}, SCORES | {"psnr": None}, {})


def test_rows_are_printed_with_their_figures(capsys):
    tables.print_rows([ROW], "results")
    printed = capsys.readouterr().out
    for expected in (
        "results",
        "edsr",
        "fine-tuned",
        "21.42",
        "20.90",
        "0.795",
        "71.3",
        "-",
        "1619",
    ):
        assert expected in printed


def test_json_is_strict_and_in_whole(tmp_path):
    path = tmp_path / "new" / "results.json"
    tables.write_json(path, {"rows": [ROW.as_json()]})
    assert json.loads(path.read_text())["rows"][0]["splits"]["easy"]["psnr"] == 21.417
    with pytest.raises(ValueError, match="not JSON compliant"):
        tables.write_json(path, {"psnr": float("inf")})
    assert json.loads(path.read_text())["rows"]
    assert [file.name for file in path.parent.iterdir()] == ["results.json"]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/results.json: cannot write it"):
        tables.write_json(tmp_path / "file" / "results.json", {})


def test_ways_to_halve_and_enlarge_are_printed_with_their_figures(capsys):
    scores = {"psnr": 38.941, "ssim": 0.96581, "n": 5}
    perfect = {"psnr": None, "ssim": 1.0, "n": 14}
    row = PhotographRow("resampler", "edsr", {"Set5": scores, "Set14": perfect})
    tables.print_photographs([row], "photographs")
    printed = capsys.readouterr().out
    for expected in ("resampler", "edsr", "Set14", "38.94", "0.9658", "5 images", "1.0000", " - "):
        assert expected in printed
