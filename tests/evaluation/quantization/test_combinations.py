"""Quantised rows: sizes by the account, little loss at 8 bits, the choice of Table 2, packing."""

import dataclasses

import numpy as np
import pytest

import textsr_jax
from tests.conftest import WORDS, same, word_image
from textsr_jax import quantization, reading
from textsr_jax.decoding.word_search import WordSearch
from textsr_jax.errors import UserError
from textsr_jax.evaluation import protocol
from textsr_jax.evaluation.protocol import Row
from textsr_jax.evaluation.quantization import combinations as quantized
from textsr_jax.evaluation.quantization.baseline import Baseline
from textsr_jax.evaluation.quantization.combinations import Setting
from textsr_jax.quantization.rules import from_config
from textsr_jax.reading.engine import JaxEngine
from textsr_jax.storage import packed_files
from textsr_jax.storage.models import Models


@pytest.fixture(scope="module")
def baseline(trained):
    models = Models.load(trained)
    return Baseline(models, protocol.Evaluation.open(models.config))


def setting(target, bits, size, psnr, accuracy):
    row = Row("edsr", "fine-tuned", {}, {"psnr": psnr, "accuracy": accuracy}, {})
    return Setting(target, bits, "laplace", size, None, row)


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


def test_the_grid_evaluates_each_setting_like_a_model_and_keeps_it(baseline, tmp_path, monkeypatch):
    chosen = (quantized.TARGETS, [2, 8], ["laplace", "minmax"], tmp_path)
    settings = quantized.score_combinations(baseline, *chosen)
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

    # A second run measures nothing.
    monkeypatch.setattr(baseline, "score", None)
    again = quantized.score_combinations(baseline, *chosen)
    assert [row.as_json() for row in again] == [row.as_json() for row in settings]


def test_stored_sizes_are_those_of_packed_files(baseline, tmp_path):
    row = Row("edsr", "fine-tuned", {}, {}, {})
    settings = [
        Setting(target, 4, "laplace", 0.0, None, row) for target in ("none", *quantized.TARGETS)
    ]
    none, sr, ocr, both = (row.stored_bytes for row in quantized.with_stored(baseline, settings))
    rules = {part: baseline.rules(part, bits=4, prior="laplace") for part in ("sr", "ocr")}
    packed = baseline.quantize(rules)
    assert both == packed_files.save(tmp_path / "m.safetensors", packed)
    assert both < min(sr, ocr) and max(sr, ocr) < none


def test_a_packed_pair_reads_as_the_quantised_one_and_says_where_it_comes_from(baseline, tmp_path):
    rules = {
        "sr": baseline.rules("sr", bits=5, prior="auto", granularity="channel", correct=True),
        "ocr": baseline.rules("ocr", bits=3.5, granularity="channel-bits"),
    }
    path = tmp_path / "new" / "m.safetensors"
    setting = quantized.pack(baseline, rules, path, {"note": "test"})
    assert setting.target == "SR + OCR"
    assert setting.stored_bytes == path.stat().st_size
    loaded = packed_files.load(path)
    assert loaded.rules == rules
    for part in rules:
        asked, network = loaded.config["quantization"][part], loaded.config[part]["name"]
        assert from_config(asked, network, part) == rules[part]
    assert setting.ranges in repr(loaded) and "laplace at 3.5 bits" in setting.ranges
    assert same(loaded.sr, quantization.quantize(baseline.sr, rules["sr"]))
    assert same(loaded.ocr, quantization.quantize(baseline.ocr, rules["ocr"]))
    about = loaded.provenance
    assert about["scores"]["mean"]["accuracy"] == setting.row.mean["accuracy"]
    assert about["data"] == baseline.evaluation.title and about["note"] == "test"
    assert about["version"] and "commit" in about
    # The file travels: it names no folder of this machine.
    assert str(tmp_path.parent) not in path.read_bytes().decode(errors="ignore")

    models = Models.load(path)
    images = baseline.evaluation.enhance(models.sr, models.sr_variables)
    plain = baseline.images(quantization.dequantize(loaded.sr))
    for split in images:
        assert np.abs(images[split].astype(int) - plain[split]).max() <= 1
    reader = textsr_jax.load(path)
    words = [word_image(word) for word in WORDS[:3]]
    networks = models.sr, models.ocr
    engine = JaxEngine(
        WordSearch.of(models.config.decoding), lambda: networks, loaded.sr, loaded.ocr
    )
    again = reading.Reader(engine)
    np.testing.assert_array_equal(reader.enhance(words), again.enhance(words))
    assert reader.read(words) == again.read(words)


def test_a_quantised_pair_is_not_quantised_again(baseline, tmp_path):
    rules = {part: baseline.rules(part) for part in ("sr", "ocr")}
    quantized.pack(baseline, rules, tmp_path / "m.safetensors", {})
    models = Models.load(tmp_path / "m.safetensors")
    again = Baseline(models, baseline.evaluation)
    with pytest.raises(UserError, match="is quantised already"):
        again.quantize(rules)


def test_a_pair_without_a_recogniser_cannot_be_quantised(baseline):
    models = dataclasses.replace(baseline.models, pretrained=None, fine_tuned=None)
    with pytest.raises(UserError, match="needs an SR model and a recogniser"):
        Baseline(models, baseline.evaluation)


def test_the_size_of_a_file_is_known_without_making_it(baseline):
    rules = {
        "sr": baseline.rules("sr", bits=3),
        "ocr": baseline.rules("ocr", granularity="channel"),
    }
    packed = dataclasses.replace(baseline.quantize(rules), provenance={"name": "naïve"})
    content = packed_files.to_bytes(packed)
    assert packed_files.size(packed) == len(content)
    assert packed_files.to_bytes(packed) == content
