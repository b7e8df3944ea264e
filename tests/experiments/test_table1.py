"""Table 1: which models are trained from what, what it says, and a small one from end to end."""

import json

import pytest

from configs import paper, tiny
from tests import forked
from tests.conftest import micro_config
from textsr_jax.config.checks import checked
from textsr_jax.errors import UserError
from textsr_jax.evaluation import protocol
from textsr_jax.experiments import table1
from textsr_jax.storage.models import Models
from textsr_jax.train import loop

FOLDERS = ["tbsrn_hr", "tbsrn", "edsr_hr", "edsr", "bicubic", "edsr_joint", "edsr_no_text_focus"]


def differing(config, base):
    """The fields in which a config differs from another, and what they are."""

    def fields(tree, prefix=""):
        for name, value in tree.items():
            if isinstance(value, dict):
                yield from fields(value, f"{prefix}{name}.")
            else:
                yield prefix + name, value

    old = dict(fields(base.to_dict()))
    new = dict(fields(config.to_dict()))
    assert old.keys() == new.keys()
    return {name: value for name, value in new.items() if value != old[name]}


def test_every_ablation_differs_from_the_paper_by_its_fields_alone():
    base = paper.get_config()
    assert differing(paper.get_config("joint"), base) == {"stages": "pretrain,joint"}
    assert differing(paper.get_config("hr"), base) == {"stage2.images": "hr"}
    assert differing(paper.get_config("no_text_focus"), base) == {
        "stage1.position": 0.0,
        "stage1.recognition": 0.0,
    }
    assert differing(paper.get_config("tbsrn"), base) == {"sr.name": "tbsrn"}
    assert differing(paper.get_config("bicubic"), base) == {
        "sr.name": "bicubic",
        "sr.apply_stn": "never",
    }


def test_pairs_share_recognisers_and_sr_models(tmp_path):
    base = checked(tiny.get_config())
    plan = table1.plan(base, tmp_path)
    assert sorted(plan) == sorted(["recognizers", *FOLDERS])
    assert differing(plan.pop("recognizers"), base) == {"stages": "pretrain"}
    shared = {
        "init.ocr": str(tmp_path / "recognizers"),
        "init.focus": str(tmp_path / "recognizers"),
    }
    two, hr = {"stages": "stage1,stage2"} | shared, {"stages": "stage2", "stage2.images": "hr"}
    without = {"stage1.position": 0.0, "stage1.recognition": 0.0}
    expected = {
        "edsr": two,
        "edsr_hr": hr | shared | {"init.sr": str(tmp_path / "edsr")},
        "edsr_joint": {"stages": "joint"} | shared,
        "edsr_no_text_focus": two | without,
        "tbsrn": two | {"sr.name": "tbsrn"},
        "tbsrn_hr": hr | shared | {"sr.name": "tbsrn", "init.sr": str(tmp_path / "tbsrn")},
        "bicubic": shared | {"stages": "stage2", "sr.name": "bicubic", "sr.apply_stn": "never"},
    }
    assert {name: differing(config, base) for name, config in plan.items()} == expected
    # What a row takes over is trained before it.
    order = list(plan)
    assert order.index("tbsrn") < order.index("tbsrn_hr")
    assert order.index("edsr") < order.index("edsr_hr")


def test_models_that_the_config_names_are_taken(tmp_path):
    base = checked(tiny.get_config()).replace(init={"ocr": "ocr.params", "sr": "edsr.params"})
    plan = table1.plan(base, tmp_path)
    # The text-focus recogniser still has to be pre-trained; nothing else is.
    assert plan["recognizers"].init.ocr == "ocr.params"
    assert {config.init.ocr for config in plan.values()} == {"ocr.params"}
    assert plan["edsr"].init.sr == plan["edsr_joint"].init.sr == "edsr.params"
    # A start of EDSR is none of TBSRN.
    assert plan["tbsrn"].init.sr == plan["bicubic"].init.sr == ""
    base = base.replace(init={"focus": "focus.params"})
    assert list(table1.plan(base, tmp_path)) == [f for f in plan if f != "recognizers"]
    base = base.replace(sr={"name": "tsrn"})
    with pytest.raises(UserError, match=r"config\.sr\.name='tsrn': Table 1 holds EDSR"):
        table1.plan(base, tmp_path)


def test_rows_have_our_figures_and_the_papers_beside_them():
    rows = []
    for number, entry in enumerate(table1.ENTRIES):
        easy, hard = ({"accuracy": number + part, "psnr": 20.0, "n": 3} for part in (0.125, 0.375))
        mean = {"accuracy": number + 0.25, "psnr": None if number == 4 else 20.5, "n": 6}
        row = protocol.Row("edsr", "fine-tuned", {"easy": easy, "hard": hard}, mean, {})
        rows.append(table1.Scored(entry, row))
    header, body = table1.cells(rows)
    assert header[3:7] == ["accuracy easy", "accuracy hard", "accuracy mean", "PSNR mean"]
    assert all(name.startswith("paper, TextZoom") for name in header[7:])
    assert [row[:3] for row in body[:5]] == [
        ["TBSRN", "HR", "two steps"],
        ["TBSRN", "SR", "two steps"],
        ["EDSR", "HR", "two steps"],
        ["EDSR", "SR", "two steps"],
        ["bicubic", "bicubic", "recogniser alone"],
    ]
    assert body[1][3:] == ["1.12", "1.38", "1.25", "20.50", "84.19", "69.81", "55.55", "69.85"]
    assert body[4][3:] == ["4.12", "4.38", "4.25", "-", "-", "-", "-", "61.47"]
    assert body[5][3:] == ["5.12", "5.38", "5.25", "20.50", "-", "-", "-", "-"]
    as_json = rows[0].as_json()
    assert as_json["paper_on_textzoom"]["mean"] == 65.37
    assert as_json["mean"]["accuracy"] == 0.25


def command(*arguments):
    return forked.run(["-m", "textsr_jax.experiments.table1", *arguments])


@pytest.mark.slow
def test_bad_input_is_one_line_and_nothing_is_made(tmp_path):
    folder = f"--folder={tmp_path / 't'}"
    for arguments, expected in (
        (["--config=configs/tiny.py"], "folder"),
        (["--config=configs/tiny.py", folder, "--config.data.root=nowhere"], "nowhere"),
        (["--config=configs/tiny.py", folder, "runs"], "takes flags only"),
    ):
        finished = command(*arguments)
        assert finished.returncode == 2
        (line,) = finished.stderr.strip().splitlines()
        assert line.startswith("error: ") and expected in line
    assert not (tmp_path / "t").exists()


class Crash(Exception):
    pass


def quick_config(data_root, data_dir):
    """The micro config with networks that compile sooner: the table trains twelve stages."""
    config = micro_config(data_root, data_dir)
    config.sr.apply_stn, config.ocr.name = "never", "crnn"
    for stage in (config.pretrain.ocr, config.pretrain.focus, config.stage1, config.stage2):
        stage.steps = stage.validate_every = 2
    config.joint.steps = config.joint.validate_every = 2
    return config


@pytest.mark.slow
def test_a_small_table_from_end_to_end_goes_on_after_a_crash(data_root, tmp_path, monkeypatch):
    folder = tmp_path / "table"
    config = checked(quick_config(data_root, tmp_path / "data"))
    run = loop.run

    def crashing(stage, *arguments):
        if stage.name == "joint":
            raise Crash
        run(stage, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "run", crashing)
        with pytest.raises(Crash):
            table1.train(config, folder, "again")
    with pytest.raises(UserError, match="tbsrn_hr: no such workdir"):
        table1.report(folder, protocol.Evaluation.open(config))

    file = tmp_path / "micro.py"
    file.write_text(
        "from tests.experiments.test_table1 import quick_config\n\n\ndef get_config():\n"
        f"    return quick_config({str(data_root)!r}, {str(tmp_path / 'data')!r})\n"
    )
    finished = command(f"--config={file}", f"--folder={folder}")
    assert finished.returncode == 0, finished.stderr
    # Both recognisers, stages 1 and 2 of TBSRN and EDSR, and bicubic's stage 2.
    assert finished.stdout.count("done already") == 7
    assert {path.parent.name for path in folder.glob("*/pretrain_*")} == {"recognizers"}
    assert {path.parent.name for path in folder.glob("*/joint")} == {"edsr_joint"}
    assert {path.parent.name for path in folder.glob("*/stage1")} == {
        "tbsrn",
        "edsr",
        "edsr_no_text_focus",
    }

    content = json.loads((folder / "table1.json").read_text())
    assert content["words"] == data_root.name
    assert [row["workdir"] for row in content["rows"]] == FOLDERS
    evaluation = protocol.Evaluation.open(config)
    for row in content["rows"]:
        models = Models.load(folder / row["workdir"])
        images = evaluation.enhance(models.sr, models.sr_variables)
        words = evaluation.read(models.ocr, models.fine_tuned, images)
        scored = evaluation.row("", "", images, words)
        assert row["mean"]["accuracy"] == pytest.approx(scored.mean["accuracy"])
        assert row["mean"]["psnr"] == pytest.approx(scored.mean["psnr"], abs=0.01)
    psnr = {row["workdir"]: row["mean"]["psnr"] for row in content["rows"]}
    assert psnr["tbsrn_hr"] == psnr["tbsrn"] and psnr["edsr_hr"] == psnr["edsr"]
    assert len({psnr[name] for name in ("tbsrn", "edsr", "bicubic", "edsr_joint")}) == 4

    lines = (folder / "table1.md").read_text().splitlines()
    assert lines[0].startswith("| SR model | fine-tuned on | training | accuracy easy | ")
    assert [line.split(" | ")[0] for line in lines[2:9]] == [
        "| TBSRN",
        "| TBSRN",
        "| EDSR",
        "| EDSR",
        "| bicubic",
        "| EDSR",
        "| EDSR",
    ]
