"""Whole photographs in `read.py`: which they are, what is written of them, and what is said."""

import json
import pathlib
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from tests.cli.test_reading_lines import BAD, Shades, shade
from textsr_jax.cli import page_lines, reading_lines
from textsr_jax.cli.line_file import LineFile
from textsr_jax.cli.page_lines import PageReader
from textsr_jax.data.sources import Item
from textsr_jax.errors import MissingPackage, UserError, escaped
from textsr_jax.photos import detector, page_reading
from textsr_jax.photos.page import Line, Page, Word
from textsr_jax.reading import Reader

SCENE = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
PHOTOGRAPH = np.asarray(Image.fromarray(SCENE).resize((640, 480)))
BOX = np.array([(10, 20), (50, 20), (50, 40), (10, 40)], float)


def photograph(source="hall.jpg"):
    return Item(source, PHOTOGRAPH)


@pytest.fixture
def words(monkeypatch):
    """The words of all pages; photographs are found to have them, and the extra is there."""
    found = ["town", "hall"]

    def read_page(image, reader):
        line = Line(tuple(Word(text, 0.75, BOX) for text in found), BOX)
        return Page((line,) if found else (), image.shape[1], image.shape[0])

    monkeypatch.setattr(detector, "model_file", lambda: None)
    monkeypatch.setattr(page_reading, "read_page", read_page)
    return found


@pytest.fixture
def missing(monkeypatch):
    def model_file():
        raise MissingPackage("rapidocr is not installed; pip install it")

    monkeypatch.setattr(detector, "model_file", model_file)


def write(items, pages, **settings):
    output = reading_lines.Output(pages=PageReader(pages), **settings)
    return reading_lines.write_lines(items, None, lambda: Reader(Shades()), output)


def test_where_pages_are_wanted_every_image_is_one(words, capsys):
    assert write([shade(64), photograph()], True) == 0
    out, err = capsys.readouterr()
    assert out == "64.png:\ntown hall\nhall.jpg:\ntown hall\n" and err == ""


def test_an_image_that_is_clearly_no_crop_is_a_page_by_itself(words, capsys):
    assert write([shade(64), photograph(), shade(32)], None) == 0
    out, err = capsys.readouterr()
    assert out == "64.png: 64 (25 %)\nhall.jpg:\ntown hall\n32.png: 32 (13 %)\n"
    assert err.startswith("note: hall.jpg: is a whole photograph") and err.count("\n") == 1
    # A page of a PDF file is one, however small.
    write([Item("a.pdf:1", shade(64).image, page=True)], None)
    assert capsys.readouterr().out == "a.pdf:1:\ntown hall\n"


@pytest.mark.parametrize("pages", [False, None])
def test_without_words_or_where_that_is_not_wanted_it_is_read_as_a_crop(words, capsys, pages):
    if pages is None:
        words.clear()
    write([photograph()], pages)
    out, err = capsys.readouterr()
    assert out.startswith("hall.jpg: ") and "town" not in out
    assert err.startswith("warning: hall.jpg: seems to be a whole photograph")


def test_without_the_extra_a_crop_is_read_and_the_extra_named(missing, capsys):
    write([photograph()], None)
    out, err = capsys.readouterr()
    assert out.startswith("hall.jpg: ") and "rapidocr is not installed; pip install it" in err
    assert err.count("\n") == 1
    with pytest.raises(MissingPackage):
        PageReader(True)
    assert not PageReader(None).possible and not PageReader(False).possible


def test_an_empty_page_is_no_fault(words, capsys):
    words.clear()
    assert write([photograph()], True) == 0
    assert capsys.readouterr() == ("hall.jpg: (nothing)\n", "")
    assert write([photograph()], True, format="tsv") == 0
    assert capsys.readouterr().out == ""


def test_jsonl_has_an_object_for_each_photograph_and_fault(words, capsys):
    assert write([photograph(), BAD], True, format="jsonl") == 1
    out, err = capsys.readouterr()
    page, bad = map(json.loads, out.splitlines())
    assert page["source"] == "hall.jpg"
    assert page["words"][1] == {"text": "hall", "confidence": 0.75, "box": BOX.tolist()}
    assert bad == {"source": "bad.png", "words": None, "error": "bad.png: no such file"}
    assert err == "error: bad.png: no such file\n"


def test_a_name_cannot_forge_a_line_of_a_page(words):
    page = page_reading.read_page(PHOTOGRAPH, None)
    assert page_lines.text(page, "a\nb", "text") == "a\\nb:\ntown hall"


def test_lines_go_to_a_file_and_a_stopped_run_goes_on(words, tmp_path, capsys):
    place = str(tmp_path / "pages.tsv")

    def stopped():
        yield photograph("1.jpg")
        yield photograph("2.jpg")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(stopped(), True, format="tsv", file=LineFile(place, "tsv"))
    file = LineFile(place, "tsv")
    assert file.done == {"1.jpg": 1, "2.jpg": 1}
    write([photograph("3.jpg")], True, format="tsv", file=file)
    assert capsys.readouterr().out == ""
    lines = [line.split("\t")[:2] for line in pathlib.Path(place).read_text().splitlines()]
    assert lines == [[f"{n}.jpg", word] for n in (1, 2, 3) for word in ("town", "hall")]


@pytest.mark.parametrize("format", ["hocr", "alto"])
def test_documents_go_to_a_file_too_and_are_known_by_their_sources(words, tmp_path, format):
    place = tmp_path / "pages.xml"
    names = ["1.jpg", "a <b> & 'c'.jpg", "d\ne.jpg"]
    write(map(photograph, names), True, format=format, file=LineFile(str(place), format))
    assert LineFile(str(place), format).done == {escaped(name): 1 for name in names}
    with open(place, "ab") as file:
        # A last line that a power failure tore.
        file.write(place.read_bytes()[:500].splitlines()[0])
    write([photograph("f.jpg")], True, format=format, file=LineFile(str(place), format))
    assert len(place.read_text().splitlines()) == 4
    for line in place.read_text().splitlines():
        assert "town" in ElementTree.tostring(ElementTree.fromstring(line), "unicode")


@pytest.mark.slow
def test_a_photograph_is_written_at_twice_its_size(words, tmp_path, capsys):
    path = tmp_path / "sharp.png"
    output = reading_lines.Output(pages=PageReader(True, str(path)))
    assert reading_lines.write_lines([photograph()], 1, lambda: Reader(Shades()), output) == 0
    assert capsys.readouterr().out == "hall.jpg:\ntown hall\n"
    made = np.asarray(Image.open(path))
    assert made.shape == (960, 1280, 3)
    halved = np.asarray(Image.fromarray(made).resize((640, 480), Image.Resampling.BICUBIC))
    assert np.abs(halved.astype(float) - PHOTOGRAPH).mean() < 2


def test_what_is_no_place_for_a_png_is_refused_before_anything_is_read(words, tmp_path):
    with pytest.raises(UserError, match=r"--enhance=sharp.jpg: name a file that ends in .png"):
        PageReader(True, "sharp.jpg")
    with pytest.raises(UserError, match="its folder does not exist"):
        PageReader(True, str(tmp_path / "missing" / "sharp.png"))
