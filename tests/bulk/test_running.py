"""The command on a real Ray of two workers: whatever is killed, each crop is there once."""

import dataclasses
import json
import sys

import pytest
from pyarrow import parquet

from benchmarks import bulk
from tests.conftest import WORDS, micro_config, png, word_image, write_lmdb
from tests.export.conftest import drawn
from textsr_jax import reading
from textsr_jax.bulk import running
from textsr_jax.bulk.parts import Counts
from textsr_jax.config.checks import checked
from textsr_jax.config.portable import portable
from textsr_jax.errors import UserError
from textsr_jax.models import build_ocr, build_sr
from textsr_jax.quantization import Rule, quantize
from textsr_jax.storage import packed_files

CROPS = 480


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The packed file of a pair that reads greedily and quickly, and not well."""
    config = micro_config("", "")
    config.ocr.name = "crnn"
    config.decoding.beam = 1
    rules = {"sr": (Rule(".*kernel", bits=8),), "ocr": (Rule(".*kernel", bits=8),)}
    config = checked(config)
    networks = {"sr": build_sr(config.sr), "ocr": build_ocr(config.ocr)}
    trees = {part: quantize(drawn(network, 1), rules[part]) for part, network in networks.items()}
    path = tmp_path_factory.mktemp("model") / "packed.safetensors"
    packed_files.save(path, packed_files.PackedModels(portable(config), rules, True, {}, **trees))
    return path


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """An LMDB of the same twelve words again and again; one of the images is damaged."""
    folder = tmp_path_factory.mktemp("source") / "words"
    images = [png(word_image(word)) for word in WORDS]
    records = [{"image": images[number % len(WORDS)]} for number in range(CROPS)]
    records[100] = {"image": images[0][:200]}
    write_lmdb(folder, records)
    return folder


def test_crops_a_second_count_from_when_a_worker_began_to_read(monkeypatch):
    clock = iter([0.0, 60.0, 61.0])  # workers start for 50 s
    monkeypatch.setattr(running.time, "perf_counter", lambda: next(clock))
    done = running.Done()
    assert done.rate is None and done.seconds == 0
    done.add(Counts(100), 10.0)
    assert done.rate == pytest.approx(10.0)
    done.add(Counts(120), 10.5)
    assert done.rate == pytest.approx(20.0) and done.seconds == 61
    assert str(done) == "220 crops, 20.0/s"


@pytest.mark.slow
def test_killed_and_killed_again(source, model, tmp_path, monkeypatch):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "textsr_jax.bulk", str(source), f"--out={out}"]
    command += [f"--model={model}", "--readers=2"]
    found = bulk.read_with_kills(command, out, ["worker", "driver"], seed=0, patience=1.0)
    assert found.victims == ["worker", "driver"] and found.starts > 1
    assert sorted(found.ids) == sorted(f"data.mdb:{number}" for number in range(1, CROPS + 1))
    assert [*found.errors] == ["data.mdb:101"]
    rows = [
        row
        for part in sorted(out.glob("part-*.parquet"))
        for row in parquet.read_table(part).to_pylist()
        if row["error"] is None
    ]
    texts = {(WORDS[(int(row["id"].split(":")[1]) - 1) % len(WORDS)], row["text"]) for row in rows}
    assert len(texts) == len(WORDS)

    # A finished run starts nothing.
    run = running.Run(str(source), str(out), reading.load(model))
    monkeypatch.setattr(running, "_read_parts", None)
    summary = running.read(run)
    assert summary["crops"] == CROPS and summary["read"] == CROPS - 1
    assert summary["crops_of_this_run"] == 0
    assert summary["errors"] == {"cannot read it (image file is truncated)": 1}
    assert summary == json.loads((out / "summary.json").read_text()) | {"crops_of_this_run": 0}
    with pytest.raises(UserError, match="results were made with sr False, not True; name another"):
        running.read(dataclasses.replace(run, sr=True))
