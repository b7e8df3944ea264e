"""SR networks trained alike: in what their configs differ, and a small run from end to end."""

import json

import jax
import pytest

from configs import tiny
from tests.conftest import micro_config
from tests.evaluation.test_comparison import write_file
from tests.experiments.test_table1 import differing
from textsr_jax.config.checks import checked
from textsr_jax.evaluation import word_readers
from textsr_jax.experiments import judges, sr_networks
from textsr_jax.models import build_prior


def test_networks_differ_in_their_names_and_their_prior_alone(tmp_path):
    base = checked(tiny.get_config()).replace(seed=7, init={"sr": "x", "ocr": "y", "focus": "z"})
    plan = sr_networks.plan(base, tmp_path)
    assert list(plan) == ["crnn", *(f"{n}_{s}" for s in (7, 8, 9) for n in sr_networks.NETWORKS)]
    assert differing(plan["crnn"], base) == {
        "stages": "pretrain",
        "sr.name": "bicubic",
        "sr.apply_stn": "never",
        "ocr.name": "crnn",
        "init.sr": "",
        "init.ocr": "",
    }
    first = plan["edsr_7"]
    assert differing(first, base) == {
        "stages": "stage1",
        "init.sr": "",
        "init.ocr": "",
        "init.focus": "",
        "init.prior": str(tmp_path / "crnn"),
        "stage1.position": 0.0,
        "stage1.recognition": 0.0,
        "stage1.gradient": 1e-4,
    }
    assert differing(plan["tbsrn_8"], first) == {"sr.name": "tbsrn", "seed": 8}
    assert differing(plan["tatt_9"], first) == {
        "sr.name": "tatt",
        "sr.tatt.queries": "columns",
        "seed": 9,
        "stage1.prior": 1.0,
    }


def test_a_crnn_that_the_config_names_is_taken(tmp_path):
    base = checked(tiny.get_config()).replace(init={"prior": "crnn.params"})
    plan = sr_networks.plan(base, tmp_path)
    assert list(plan) == [f"{name}_{seed}" for seed in range(3) for name in sr_networks.NETWORKS]
    assert {config.init.prior for config in plan.values()} == {"crnn.params"}


@pytest.mark.slow
def test_a_run_goes_on_after_a_stop_and_gives_the_same_table(
    data_root, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(sr_networks, "NETWORKS", {"edsr": {}})
    monkeypatch.setattr(sr_networks, "SEEDS", 1)
    asked = []

    def read(image):
        # Stopped while SR images are judged; the second time it goes on.
        asked.append(image)
        if len(asked) == 30:
            raise KeyboardInterrupt
        return "open"

    monkeypatch.setattr(word_readers, "ours", lambda model: [])
    always = word_readers.WordReader("always", read, 1.0)
    monkeypatch.setattr(word_readers, "peers", lambda threads: ([always], []))
    config = micro_config(data_root, tmp_path / "data")
    crnn = build_prior(config.sr).init(jax.random.key(0))
    # Compiles less.
    config.sr.apply_stn, config.stage1.augment = "never", False
    config.ocr.name = "crnn"
    config.init.prior = write_file(tmp_path / "crnn.safetensors", config, "ocr", crnn)
    base, folder = checked(config), tmp_path / "networks"

    evaluation = judges.open_words(base.data)

    def run():
        trained = sr_networks.train(base, folder, "again")
        assert trained == [folder / "edsr_0"]
        files = [base.init.prior]
        return judges.report(list(map(str, trained)), files, evaluation, folder / judges.FILE)

    with pytest.raises(KeyboardInterrupt):
        run()
    words = folder / "judges_words.json"
    assert [len(images) for images in json.loads(words.read_text()).values()] == [3, 1]
    capsys.readouterr()
    results = run()
    # The SR model was trained, and the second judge had read bicubic images.
    assert capsys.readouterr().out.count("done already") == 1
    assert [len(images) for images in json.loads(words.read_text()).values()] == [3, 3]
    assert len(asked) == 30 + 2 * 18
    assert run() == results

    rows = {(row["judge"], row["sr"], row["source"]): row for row in results["rows"]}
    images = [("bicubic", ""), ("edsr", "edsr_0"), ("HR", "")]
    assert list(rows) == [(judge, *one) for judge in ("crnn", "always") for one in images]
    # One of nine easy words is "open"; the hard ones begin behind it.
    for one in images:
        assert rows["always", *one]["splits"] == {"easy": pytest.approx(100 / 9), "hard": 0}
    assert [(row["judge"], row["sr"], row["trainings"]) for row in results["networks"]] == [
        ("crnn", "edsr", 1),
        ("always", "edsr", 1),
    ]
    assert (results["networks"][1]["gain"], results["networks"][1]["error"]) == (0, 0)
    psnr = [row["psnr"] for row in results["quality"]]
    assert psnr[0] != psnr[1] and psnr[2] is None
