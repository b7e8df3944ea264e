"""The calibration report: figures, picture, and a packed file that a reader takes."""

import math

import jax
import numpy as np
import pytest
from PIL import Image

from tests import forked
from tests.conftest import micro_config
from textsr_jax import reading
from textsr_jax.config.checks import checked
from textsr_jax.config.portable import portable
from textsr_jax.errors import UserError
from textsr_jax.evaluation.calibration import Sample
from textsr_jax.experiments import draw_plots, fit_temperature
from textsr_jax.models import build_ocr, build_sr
from textsr_jax.reading.abstention import threshold
from textsr_jax.report import reader_plots
from textsr_jax.storage import packed_files


def parts():
    rng = np.random.default_rng(0)
    made = {}
    for name, n in (
        (fit_temperature.VALIDATION, 1500),
        (fit_temperature.DRAWN, 2500),
        (fit_temperature.TEST, 2000),
    ):
        log_probability = 2 * np.log(rng.uniform(0.1, 0.999, n))
        made[name] = Sample(log_probability, rng.random(n) < np.exp(log_probability / 2))
    return made


def test_the_temperature_comes_from_validation_and_drawn_words():
    sound = parts()
    results = fit_temperature.measure(sound)
    assert results["temperature"] == pytest.approx(2, rel=0.1)
    broken = Sample(sound["test"].log_probability, ~sound["test"].right)
    assert (
        fit_temperature.measure(sound | {"test": broken})["temperature"] == results["temperature"]
    )
    for name in (fit_temperature.VALIDATION, fit_temperature.DRAWN):
        less_sure = Sample(2 * sound[name].log_probability, sound[name].right)
        other = fit_temperature.measure(sound | {name: less_sure})
        assert other["temperature"] > 1.2 * results["temperature"]
    errors = {(row["words"], row["when"]): row["calibration_error"] for row in results["rows"]}
    for words in ("validation", "drawn", "test"):
        assert errors[words, "before"] > 0.1
        assert errors[words, "after"] < 0.04


def test_the_picture_has_two_panels(tmp_path):
    rows = fit_temperature.measure(parts())["rows"]
    draw_plots.write(tmp_path / "plot.png", reader_plots.reliability(rows, "words"))
    picture = np.asarray(Image.open(tmp_path / "plot.png").convert("RGB")).astype(int)
    assert picture.shape[1] > 1.5 * picture.shape[0]
    # Bars left and right: both panels are there, and they differ.
    blue = (np.abs(picture - (0x56, 0xB4, 0xE9)).sum(axis=2) < 30).sum(axis=0)
    left, right = np.split(blue[: len(blue) // 2 * 2], 2)
    assert left.sum() > 1000
    assert right.sum() > 1000
    assert (left != right).any()


@pytest.fixture(scope="module")
def packed(data_root, tmp_path_factory):
    """Untrained models, neither of them quantised."""
    folder = tmp_path_factory.mktemp("calibration")
    config = micro_config(data_root, folder)
    pair = packed_files.PackedModels(
        config=portable(checked(config)),
        rules={"sr": (), "ocr": ()},
        fine_tuned=True,
        provenance={"commit": "c"},
        sr=build_sr(config.sr).init(jax.random.key(0)),
        ocr=build_ocr(config.ocr).init(jax.random.key(1)),
    )
    packed_files.save(folder / "model", pair)
    return folder / "model"


@pytest.mark.slow
def test_a_packed_file_is_written_again(packed, data_root, tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    words, name = fit_temperature.words(packed, str(data_root), drawn=70)
    found = fit_temperature.read(packed, words)
    assert len(found["drawn"][1]) == 70
    assert name == data_root.name
    # An untrained pair reads nothing rightly; so half the words are said to be right.
    samples = {
        part: Sample(Sample.of(*read).log_probability, np.arange(len(read[1])) % 2 == 0)
        for part, read in found.items()
    }
    results = {"data": "realwords", "model": "m", **fit_temperature.measure(samples)}
    fitted = fit_temperature.held_out(found)
    pair = packed_files.load(packed)
    packed_files.save(tmp_path / "new", fit_temperature.calibrated(pair, results, fitted))
    again = packed_files.load(tmp_path / "new")
    assert again.experiment("new").decoding.temperature == results["temperature"]
    kept = again.experiment("new").held_out
    assert kept.words == len(found["validation"][1]) + 70
    assert [*kept.wrong_words] == fitted.wrong_words()
    assert [*kept.wrong_letters] == fitted.wrong_letters()
    assert again.provenance["calibration"] == {
        "data": "realwords",
        "words": len(found["validation"][1]),
        "drawn": 70,
    }
    assert again.provenance["commit"] == "c"
    assert {**again.config["decoding"], "temperature": 0} == {
        **pair.config["decoding"],
        "temperature": 0,
    }
    # A reader of the new file leaves out what is too unsure, and none of the old one does.
    images = [record.lr for record in words["test"]]
    plain = reading.load(tmp_path / "new").read(images)
    careful = reading.load(tmp_path / "new", abstain=0.5).read(images)
    bound = threshold(0.5, kept.words, kept.wrong_words)
    for one, other in zip(plain, careful, strict=True):
        sure = results["temperature"] * math.log(one.confidence)
        left_out = bool(one.text) and sure <= bound
        assert other.abstained == left_out or sure == pytest.approx(bound, rel=1e-6)
        assert other.text == ("" if other.abstained else one.text)
    with pytest.raises(UserError, match="does not say which held-out words it misread"):
        reading.load(packed, abstain=0.5)
    config = again.experiment("new").replace(decoding={"beam": 2})
    with pytest.raises(UserError, match=r"read with another config\.decoding"):
        reading.load(tmp_path / "new", config=config, abstain=0.5)


@pytest.mark.slow
def test_data_without_words_to_fit_on(packed, data_root, tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "easy").symlink_to(data_root / "test" / "easy")
    with pytest.raises(UserError, match="has no validation words"):
        fit_temperature.words(packed, str(tmp_path), drawn=1)


@pytest.mark.slow
def test_a_missing_folder_is_one_line_before_anything_is_read(tmp_path):
    command = ["-m", "textsr_jax.experiments.fit_temperature", "--model=none.safetensors"]
    run = forked.run([*command, f"--out={tmp_path}/no/file"])
    assert run.returncode == 2
    assert run.stderr.count("\n") == 1
    assert "there is no such folder" in run.stderr
