"""The command on a real Ray of two workers: whatever is killed, each crop is there once."""

import json
import subprocess
import sys

import pytest
from pyarrow import parquet

from benchmarks import bulk
from tests.conftest import WORDS, micro_config, png, word_image, write_lmdb
from tests.export.conftest import drawn
from textsr_jax.config.checks import checked
from textsr_jax.config.portable import portable
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


@pytest.mark.slow
def test_killed_and_killed_again(source, model, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "textsr_jax.bulk", str(source), f"--out={out}"]
    command.append(f"--model={model}")
    found = bulk.read_with_kills(command, out, ["worker", "driver"], seed=0, patience=1.0)
    assert found.starts == 2
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

    again = subprocess.run(command, cwd=bulk.ROOT, capture_output=True, text=True, timeout=60)
    assert again.stderr == f"{out}: all crops are read; nothing is left to do\n"
    summary = json.loads(again.stdout)
    assert summary["crops"] == CROPS and summary["read"] == CROPS - 1
    assert summary["crops_of_this_run"] == 0
    assert summary["errors"] == {"cannot read it (Truncated File Read)": 1}
    other = subprocess.run(
        [*command, "--sr"], cwd=bulk.ROOT, capture_output=True, text=True, timeout=60
    )
    assert other.returncode == 2
    assert other.stderr.endswith(
        f"{out}: its results were made with sr False, not True; name another --out, or give the "
        "same command again\n"
    )
