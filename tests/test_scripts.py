"""The four scripts from the outside: what bad input says (one line, status 2), what they write.

Each script starts in a fresh Python here with its help and with what it does; most bad input goes
to forks (`tests.forked`).
"""

import json
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from benchmarks.golden import vectors as golden_vectors
from tests import forked
from tests.conftest import word_image
from textsr_jax.config.settings import FIELDS
from textsr_jax.report.page import document
from textsr_jax.storage import packed_files

ROOT = pathlib.Path(__file__).parents[1]


def run(script: str, *arguments: object, cwd: pathlib.Path = ROOT) -> subprocess.CompletedProcess:
    return forked.run([script if script == "-m" else ROOT / script, *arguments], cwd)


def run_afresh(script: str, *arguments: object) -> subprocess.CompletedProcess:
    """The same, in a Python that has imported nothing."""
    command = [sys.executable, str(ROOT / script), *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


def complaint(finished: subprocess.CompletedProcess) -> str:
    """The one line that a failed script prints."""
    assert finished.returncode == 2, finished.stderr
    (line,) = finished.stderr.strip().splitlines()
    assert line.startswith("error: ")
    return line


def test_a_misspelt_field_gets_the_nearest_name():
    line = complaint(
        run("train.py", "--config=configs/tiny.py", "--workdir=w", "--config.stage1.stepz=3")
    )
    assert line == "error: config.stage1.stepz: there is no field 'stepz'; did you mean 'steps'?"


@pytest.mark.slow
def test_steps_to_trace_are_two_numbers():
    line = complaint(
        run("train.py", "--config=configs/tiny.py", "--workdir=w", "--profile_steps=15,10")
    )
    assert line.startswith("error: --profile_steps=15,10: write the first and the last step to ")


@pytest.mark.slow
@pytest.mark.parametrize("script", ["train.py", "evaluate.py", "quantize.py", "read.py"])
def test_help_lists_the_flags(script):
    shown = run_afresh(script, "--help")
    assert shown.returncode == 0
    assert "--workdir" in shown.stdout and f"python {ROOT / script}" in shown.stdout
    assert "Traceback" not in shown.stderr
    # The config's flag, and every one of its fields.
    assert "  --config: " in shown.stdout and "  --[no]print_config: " in shown.stdout
    for field in FIELDS:
        assert f"\n  --config.{field}: " in shown.stdout


@pytest.mark.slow
def test_help_with_a_config_has_its_values_and_printed_ones_are_taken_again(tmp_path):
    shown = run("train.py", "--config=configs/tiny.py", "--config.seed=5", "--help").stdout
    assert "\n  --config.seed=5: " in shown and "\n  --config.sr.edsr.blocks=4: " in shown
    printed = run(
        *("train.py", "--config=configs/tiny.py", "--print_config"),
        *("--config.stage1.steps=77", f"--config.data.root={tmp_path / 'x'}"),
    )
    content = json.loads(printed.stdout)
    assert (content["stage1"]["steps"], content["sr"]["edsr"]["blocks"]) == (77, 4)
    file = tmp_path / "mine.json"
    file.write_text(printed.stdout)
    again = run("train.py", f"--config={file}", "--print_config", "--config.seed=9")
    assert json.loads(again.stdout) == content | {"seed": 9}
    # Scripts that take the shipped models print and change its config.
    for script in ("read.py", "evaluate.py"):
        shipped = run(script, "--print_config", "--config.decoding.beam=3")
        assert shipped.returncode == 0, shipped.stderr
        decoding = json.loads(shipped.stdout)["decoding"]
        assert decoding["beam"] == 3 and decoding["second_look"] > 0
    file.write_text("{")
    assert f"{file}: cannot read the config" in complaint(run("train.py", f"--config={file}"))


@pytest.mark.slow
def test_images_that_are_not_there_or_no_images(tmp_path):
    assert "none.png: no such file" in complaint(run("read.py", tmp_path / "none.png"))
    (tmp_path / "text.png").write_text("words")
    assert "text.png: cannot read it" in complaint(run("read.py", tmp_path / "text.png"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["train.py", "--workdir=w"], "--config is missing"),
        (["train.py", "--config=configs/tinny.py", "--workdir=w"], "configs/tinny.py"),
        (["train.py", "--config=configs/tinny.py", "--config.seed=1"], "configs/tinny.py"),
        (["train.py", "--config=configs/tiny.py"], "workdir"),
        (
            ["train.py", "--config=configs/tiny.py", "--workdir=w", "--config.stage1.steps=x"],
            "steps",
        ),
        (["train.py", "--config=configs/tiny.py", "--workdir=w", "--wordir=w"], "'wordir'"),
        (["train.py", "--config=configs/tiny.py", "--workdir=w", "stage1"], "takes flags only"),
        (
            ["train.py", "--config=configs/tiny.py", "--workdir=w", "--config.data.root=nowhere"],
            "nowhere",
        ),
        (
            ["train.py", "--config=configs/tiny.py", "--workdir=w", "--config.stages=stage9"],
            "did you mean 'stage2'?",
        ),
        (["evaluate.py", "--workdir=nowhere"], "nowhere: no such workdir"),
        (["quantize.py", "--workdir=nowhere"], "nowhere: no such workdir"),
        (["quantize.py", "--workdir=w", "--bits=1"], "--bits=1: not a choice"),
        (["quantize.py", "--workdir=w", "--prior=normal"], "--prior=normal: not a choice"),
        (["quantize.py", "--workdir=w", "--bits=4,5", "--out=m"], "--out packs one setting"),
        (["quantize.py", "--workdir=w", "--search"], "--search goes with --budget_mbit"),
        (["quantize.py", "--workdir=w", "--max_drop=1"], "--search goes with --budget_mbit"),
        (["quantize.py", "--search", "--sensitivity"], "take one of them"),
        (["quantize.py", "--search", "--max_drop=1", "--bits=4"], "--search chooses bits"),
        (["quantize.py", "--sensitivity", "--out=m"], "--sensitivity packs nothing"),
        (["quantize.py", "--ablation", "--target=sr"], "--ablation tries all"),
        (["evaluate.py", "--workdir=w", "--model=m"], "take one of them"),
        (["evaluate.py", "--model=none.safetensors"], "none.safetensors: no such workdir"),
        (["evaluate.py"], "are not here; name a folder with"),
        (["read.py"], "no image named"),
        (["read.py", "a.png", "--precision=float32"], "add --runtime=onnx"),
        (["read.py", "a.png", "--runtime=onnx"], "name that folder in --model"),
        (["read.py", "a.png", "--runtime=onnx", "--model=m", "--config=configs/tiny.py"], "leave"),
        (
            ["-m", "textsr_jax.experiments.table1", "--config=configs/tiny.py"],
            "--folder is missing",
        ),
    ],
)
def test_bad_input_is_one_line_and_status_2(arguments, expected):
    assert expected in complaint(run(*arguments))
    assert not (ROOT / "w").exists()


@pytest.mark.slow
def test_a_folder_of_graphs_wants_its_runtime(tmp_path):
    (tmp_path / "model.json").write_text("{}")
    line = complaint(run("read.py", "a.png", f"--model={tmp_path}"))
    assert line.endswith("holds ONNX graphs; add --runtime=onnx")


@pytest.mark.slow
def test_devices_that_do_not_divide_the_batch(data_root, tmp_path, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=8")
    line = complaint(
        run(
            "train.py",
            "--config=configs/tiny.py",
            f"--workdir={tmp_path / 'w'}",
            f"--config.data.root={data_root}",
            f"--config.data.data_dir={tmp_path / 'data'}",
            "--config.stage1.batch_size=20",
        )
    )
    assert "config.stage1.batch_size=20: 8 devices do not divide it; take 16" in line


@pytest.mark.slow
def test_a_workdir_of_another_config(trained, data_root, tmp_path):
    line = complaint(
        run(
            "train.py",
            "--config=configs/tiny.py",
            f"--workdir={trained}",
            f"--config.data.root={data_root}",
            f"--config.data.data_dir={tmp_path / 'data'}",
        )
    )
    assert "was made with another config" in line


@pytest.mark.slow
def test_evaluate_quantize_and_read_a_workdir(trained, tmp_path):
    out = tmp_path / "results.json"
    evaluated = run_afresh("evaluate.py", f"--workdir={trained}", f"--out={out}")
    assert evaluated.returncode == 0, evaluated.stderr
    assert str(out) in evaluated.stdout
    rows = json.loads(out.read_text())["rows"]
    assert [row["sr"] for row in rows] == ["bicubic", "edsr", "edsr", "HR"]
    assert set(rows[0]["splits"]["easy"]) == {
        *("psnr", "psnr_batch", "ssim", "accuracy", "as_written", "n")
    }
    pictures = tmp_path / "results_pictures"
    assert sorted(path.name for path in pictures.iterdir()) == ["easy.png", "hard.png", "words.png"]
    # The words, as they are scored, are those of the page.
    found = json.loads((tmp_path / "results_words.json").read_text())
    for number, row in enumerate(rows):
        for split, scores in row["splits"].items():
            words = [word["readings"][number] for word in found["words"] if word["split"] == split]
            right = [word["right"] for word in words]
            assert 100 * np.mean(right) == pytest.approx(scores["accuracy"])
            assert all(0 <= word["confidence"] <= 1 for word in words)
    assert not (tmp_path / "page.html").exists()
    page = document.write(tmp_path).read_text()
    assert page.count('<section id="') == 5 and 'id="luckiest"' in page

    out = tmp_path / "quantized.json"
    quantized = run_afresh(
        "quantize.py", f"--workdir={trained}", f"--json={out}", "--bits=8", "--prior=gaussian"
    )
    assert quantized.returncode == 0, quantized.stderr
    table = json.loads(out.read_text())["table2"]
    assert [row["target"] for row in table] == ["none", "SR", "OCR", "SR + OCR"]
    assert table[3]["size_mbit"] < table[0]["size_mbit"]
    assert table[3]["stored_bytes"] < table[0]["stored_bytes"]

    word_image("open").save(tmp_path / "a.png")
    wide = word_image("wwwwwwwww").crop((4, 0, 124, 32))
    wide.resize((300, 40)).convert("L").save(tmp_path / "b.jpg")
    (tmp_path / "more").mkdir()
    word_image("taxi").save(tmp_path / "more" / "a.png")
    names = [tmp_path / "a.png", tmp_path / "b.jpg", tmp_path / "more" / "a.png"]
    before = [name.read_bytes() for name in names]
    read = run("read.py", *names, "--save-sr", tmp_path, "--format=tsv", f"--workdir={trained}")
    assert read.returncode == 0, read.stderr
    lines = [line.split("\t") for line in read.stdout.splitlines()]
    assert [line[0] for line in lines] == [str(name) for name in names]
    assert all(0 < float(confidence) <= 1 for _, _, confidence in lines)
    # The second one, 7.5 times as wide as high, is read in windows.
    for name, width in (("a_sr.png", 128), ("b_sr.png", 240), ("a_sr_2.png", 128)):
        with Image.open(tmp_path / name) as image:
            assert image.size == (width, 32)
            assert np.asarray(image).std() > 0
    assert [name.read_bytes() for name in names] == before


@pytest.mark.slow
def test_read_without_a_model_reads_with_the_shipped_one(tmp_path):
    for word in ("open", "exit"):
        word_image(word).save(tmp_path / f"{word}.png")
    (tmp_path / "bad.png").write_text("no image")
    names = [str(tmp_path / f"{name}.png") for name in ("open", "bad", "exit")]
    command = [sys.executable, str(ROOT / "read.py"), "-", "--format=jsonl", "--grid=g.png"]
    read = subprocess.run(
        command, cwd=tmp_path, input="\n".join(names), capture_output=True, text=True, timeout=300
    )
    assert read.returncode == 2
    objects = [json.loads(line) for line in read.stdout.splitlines()]
    assert [one["source"] for one in objects] == names
    assert objects[0]["text"] == "open" and objects[1]["text"] is None and objects[2]["text"]
    assert objects[1]["error"] == read.stderr.strip().removeprefix("error: ")
    assert sorted(path.name for path in tmp_path.glob("*.png")) == [
        *("bad.png", "exit.png", "g.png", "open.png")
    ]


@pytest.mark.slow
def test_reading_can_be_stopped_and_what_was_read_is_printed(tmp_path):
    word_image("open").save(tmp_path / "open.png")
    command = [sys.executable, str(ROOT / "read.py"), "-"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as process:
        # A batch, and a list that does not end.
        process.stdin.write(f"{tmp_path / 'open.png'}\n" * 70)
        process.stdin.flush()
        lines = [process.stdout.readline() for _ in range(64)]
        process.send_signal(signal.SIGTERM)
        rest, errors = process.communicate(timeout=240)
    assert all(line.startswith(f"{tmp_path / 'open.png'}: open (") for line in lines)
    assert rest == ""
    assert process.returncode == 130 and errors.strip() == "stopped"


@pytest.mark.slow
def test_paper_sizes_need_nothing_else():
    printed = run("quantize.py", "--paper_sizes")
    assert printed.returncode == 0, printed.stderr
    for figure in (
        *("2190.08", "2108.64", "1065.89", "1031.90", "3457.40", "2331.32", "2333.21"),
        *("1411.05", "1329.20"),
    ):
        assert figure in printed.stdout
    assert "Erratum" in printed.stdout and "18,935,808" in printed.stdout


@pytest.mark.slow
def test_a_packed_file_serves_the_scripts(trained, data_root, tmp_path):
    model = tmp_path / "model.safetensors"
    packed = run(
        "quantize.py",
        f"--workdir={trained}",
        f"--out={model}",
        "--bits=6",
        "--config.quantization.sr.granularity=channel",
        "--config.quantization.sr.rules=({'pattern': 'edsr/tail/.*', 'bits': 8},)",
    )
    assert packed.returncode == 0, packed.stderr
    bits = {rule.pattern: rule.bits for rule in packed_files.load(model).rules["sr"]}
    assert bits.pop("edsr/tail/.*") == 8 and set(bits.values()) == {6}

    out = tmp_path / "results.json"
    evaluated = run(
        "evaluate.py",
        f"--model={model}",
        f"--data_root={data_root}",
        f"--out={out}",
        f"--config.data.data_dir={tmp_path / 'data'}",
    )
    assert evaluated.returncode == 0, evaluated.stderr
    rows = json.loads(out.read_text())["rows"]
    assert [row["sr"] for row in rows] == ["bicubic", "edsr", "HR"]
    # Its own data are not where the file is.
    assert "--data_root" in complaint(run("evaluate.py", f"--model={model}"))

    image = tmp_path / "open.png"
    word_image("open").save(image)
    read = run("read.py", image, f"--model={model}", "--beam=3")
    assert read.returncode == 0, read.stderr
    assert read.stdout.startswith(f"{image}: ")

    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 4
    model.write_bytes(content)
    assert "damaged packed file" in complaint(run("read.py", image, f"--model={model}"))


@pytest.mark.slow
def test_the_study_the_search_and_fine_tuning_of_a_workdir(studied, tmp_path):
    workdir = studied

    def quantize(*arguments):
        finished = run("quantize.py", f"--workdir={workdir}", *arguments)
        assert finished.returncode == 0, finished.stderr
        return finished.stdout

    printed = quantize("--sensitivity", "--bits=2,8", "--target=sr")
    assert "edsr-body" in printed
    kinds = json.loads((workdir / "sensitivity.json").read_text())["layer_types"]
    assert {kind["part"] for kind in kinds} == {"sr"}
    assert printed.splitlines()[-1] == f"page: {workdir / 'page.html'}"
    shown = (workdir / "page.html").read_text()
    # The curves of every stage, and the study.
    for stage in ("pretrain_ocr", "pretrain_focus", "stage1", "stage2"):
        assert f"<h3>{stage}</h3>" in shown
    assert 'id="sensitivity"' in shown and "validation: PSNR, dB" in shown
    with Image.open(workdir / "sensitivity.png") as plot:
        assert np.asarray(plot.convert("RGB")).std() > 0

    model = tmp_path / "searched.safetensors"
    quantize("--search", "--budget_mbit=0.4", f"--out={model}")
    found = json.loads((workdir / "search.json").read_text())
    assert found["size_mbit"] <= 0.4
    pair = packed_files.load(model)
    assert pair.provenance["search"] == {
        "budget_mbit": 0.4,
        "max_drop": None,
        "max_psnr_drop": None,
    }
    assert (workdir / "search.png").exists()

    tuned = tmp_path / "tuned.safetensors"
    printed = quantize(
        "--finetune",
        "--bits=3",
        f"--out={tuned}",
        "--config.quantization.finetune_sr.steps=4",
        "--config.quantization.finetune_ocr.steps=4",
        "--config.quantization.finetune_sr.batch_size=8",
        "--config.quantization.finetune_ocr.batch_size=8",
        "--config.quantization.finetune_sr.validate_every=2",
        "--config.quantization.finetune_ocr.validate_every=2",
    )
    assert "3 bits: fine-tuning gains" in printed
    rows = json.loads((workdir / "finetuned.json").read_text())["settings"]
    assert [row["target"] for row in rows] == ["none", "SR + OCR", "SR + OCR, fine-tuned"]
    assert rows[1]["mean"]["psnr"] != rows[2]["mean"]["psnr"]
    assert packed_files.load(tuned).provenance["fine_tuned_steps"]["finetune_sr"] == 4


@pytest.mark.slow
def test_sigterm_saves_and_says_how_to_go_on(data_root, tmp_path):
    command = [
        sys.executable,
        str(ROOT / "train.py"),
        "--config=configs/tiny.py",
        f"--workdir={tmp_path / 'w'}",
        f"--config.data.root={data_root}",
        f"--config.data.data_dir={tmp_path / 'data'}",
        "--config.pretrain.synthetic=False",
        "--config.pretrain.ocr.batch_size=4",
        "--config.ocr.name=crnn",
    ]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        logs = tmp_path / "w" / "pretrain_ocr" / "logs"
        deadline = time.monotonic() + 240
        while not list(logs.glob("events*")) and time.monotonic() < deadline:
            time.sleep(0.2)
        time.sleep(2)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=240)
    assert process.returncode == 130, errors
    assert "pretrain_ocr: stopped and saved at step" in errors
    assert "go on with: python" in errors
    saved = [path for path in (tmp_path / "w/pretrain_ocr/checkpoints").iterdir() if path.is_dir()]
    assert saved


@pytest.mark.slow
def test_converted_files_serve_the_scripts(trained, data_root, tmp_path):
    """A CRNN and a TSRN as published, of full size, judge and stand beside a workdir's SR model."""
    files = {}
    for model in ("tsrn", "crnn"):
        published, files[model] = tmp_path / f"{model}_published.safetensors", tmp_path / model
        save_file(golden_vectors.state_dict(model, 3), published)
        converted = run("-m", "textsr_jax.convert", model, published, "--out", files[model])
        assert converted.returncode == 0, converted.stderr

    out = tmp_path / "results.json"
    evaluated = run(
        "evaluate.py",
        f"--workdir={trained}",
        f"--sr={files['tsrn']}",
        f"--judge={files['crnn']}",
        "--config.evaluation.punctuation=skip",
        f"--out={out}",
    )
    assert evaluated.returncode == 0, evaluated.stderr
    rows = json.loads(out.read_text())["rows"]
    assert [row["sr"] for row in rows] == ["bicubic", "edsr", "tsrn", "HR"]
    assert {row["ocr"] for row in rows} == {"crnn"}

    pair = [
        f"--config={ROOT / 'configs' / 'paper.py'}:tsrn",
        "--config.ocr.name=crnn",
        f"--config.init.sr={files['tsrn']}",
        f"--config.init.ocr={files['crnn']}",
        f"--config.data.root={data_root}",
        f"--config.data.data_dir={tmp_path / 'data'}",
    ]
    out = tmp_path / "quantized.json"
    arguments = ["--bits=8", "--prior=laplace", "--target=both", f"--json={out}"]
    quantized = run("quantize.py", *pair, *arguments, cwd=tmp_path)
    assert quantized.returncode == 0, quantized.stderr
    plain, both = json.loads(out.read_text())["settings"]
    assert both["size_mbit"] < plain["size_mbit"] / 3
    # Without a workdir, what was measured is kept where the command runs.
    assert list((tmp_path / "quantization").iterdir())

    image = tmp_path / "open.png"
    word_image("open").save(image)
    read = run("read.py", image, f"--save_sr={tmp_path}", *pair)
    assert read.returncode == 0, read.stderr
    assert read.stdout.startswith(f"{image}: ")
    assert (tmp_path / "open_sr.png").exists()
