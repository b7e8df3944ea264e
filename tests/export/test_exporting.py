"""Exporting: a folder from a packed file, whole or not at all, and the command's error lines."""

import json
import os
import pathlib

import numpy as np
import pytest

from tests import forked
from tests.conftest import WORDS, record, word_image, write_lmdb
from tests.export.conftest import drawn
from textsr_jax import reading
from textsr_jax.config.portable import portable
from textsr_jax.data.samples import training_images
from textsr_jax.errors import UserError
from textsr_jax.export import RECORD, engine, exporting
from textsr_jax.models import build_ocr
from textsr_jax.quantization import Rule, quantize
from textsr_jax.storage import packed_files
from textsr_jax.storage.models import Models

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Words to train on, and none to test."""
    folder = tmp_path_factory.mktemp("words")
    write_lmdb(folder / "train1", [record(word) for word in WORDS])
    return folder


@pytest.fixture(scope="module")
def packed(source, tmp_path_factory):
    path = tmp_path_factory.mktemp("packed") / "model.safetensors"
    rules = {
        "sr": (Rule("edsr/blocks/.*/kernel", 8),),
        "ocr": (Rule("backbone/(stem|last)/.*/kernel", 8),),
    }
    packed_files.save(
        path,
        packed_files.PackedModels(
            config=portable(source.config),
            rules=rules,
            fine_tuned=True,
            provenance={},
            sr=quantize(source.sr[1], rules["sr"]),
            ocr=quantize(source.ocr[1], rules["ocr"]),
        ),
    )
    return path


@pytest.mark.slow
def test_a_packed_file(packed, root, tmp_path):
    models = exporting.load_exportable(packed)
    lr = training_images(models.config.data, str(root), 5)
    files = exporting.export(models, lr, tmp_path / "out", exporting.ExportSettings())
    assert sorted(files) == sorted((tmp_path / "out").iterdir())
    written = json.loads((tmp_path / "out" / RECORD).read_text())
    assert written["source"] == "model.safetensors"
    assert written["calibration"] == {"method": "aciq", "images": 5}
    assert str(tmp_path) not in (tmp_path / "out" / RECORD).read_text()

    images = [np.asarray(word_image(word)) for word in WORDS]
    there = reading.load(packed)
    here = engine.load(tmp_path / "out", "float32")
    enhanced = there.enhance(images)
    difference = np.abs(here.enhance(images).astype(int) - enhanced)
    assert difference.max() <= 1
    assert [r.text for r in here.read_enhanced(enhanced)] == [
        r.text for r in there.read_enhanced(enhanced)
    ]


def test_a_stop_leaves_no_folder_that_opens(tmp_path, monkeypatch):
    def replace(path, target):
        if target.name == "b":
            raise OSError(28, "No space left on device")
        path.rename(target)

    contents = {"a": b"new", "b": b"new"}
    (tmp_path / RECORD).write_text("old")
    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(UserError, match=r"cannot write it \(No space left"):
        exporting.write(tmp_path, contents, {})
    assert {path.name for path in tmp_path.iterdir()} == {"a"}
    with pytest.raises(UserError, match="write it with"):
        engine.load(tmp_path)


def test_a_recogniser_without_a_decoder(source, monkeypatch):
    config = source.config.replace(ocr={"name": "crnn"})
    crnn = build_ocr(config.ocr)
    models = Models(config, *source.sr[:1], crnn, source.sr[1], None, drawn(crnn, 0))
    monkeypatch.setattr(Models, "load", lambda place: models)
    with pytest.raises(UserError, match="'crnn' cannot be exported, because it has no decoder"):
        exporting.load_exportable("models")


def test_an_sr_network_that_cannot_be_written(source):
    config = source.config.replace(sr={"name": "tsrn"})
    broken = exporting.Exportable("models", config, (lambda: None, {}), source.ocr)
    with pytest.raises(UserError, match=r"config.sr.name='tsrn' .* cannot be exported"):
        exporting.trace(broken)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "0 arguments; use: python -m textsr_jax.export SOURCE --out DIR"),
        (["models"], "--out is missing"),
        (["nowhere", "--out=x"], "nowhere: no such"),
        (["x", "--out=x", "--calibration=kl"], "--calibration"),
        (["x", "--out=x", "--images=0"], "--images"),
    ],
)
def test_error_lines_of_the_command(arguments, message):
    run = forked.run(["-m", "textsr_jax.export", *arguments])
    assert run.returncode == 2
    assert run.stderr.count("\n") == 1
    assert message in run.stderr
