"""The pictures and lists of the generator's page: true to fonts and words."""

import pathlib

import numpy as np
import pytest
from PIL import Image

from textsr_jax.data.synthetic import fonts, generation
from textsr_jax.errors import UserError
from textsr_jax.experiments import draw_samples

DOCS = pathlib.Path(__file__).parents[2] / "docs"


def test_every_family_is_listed_with_its_licence():
    listed = (DOCS / draw_samples.FONTS).read_text()
    rows = [line for line in listed.splitlines() if line.startswith("| ") and "`" in line]
    assert len(rows) == len(fonts.FAMILIES)
    notices = listed.partition("## Copyright")[2].splitlines()
    for family, row in zip(fonts.FAMILIES, rows, strict=True):
        name, package, version, faces, licence = (c.strip() for c in row.split("|")[1:-1])
        about = fonts.about(family)
        assert package == f"`{fonts.package(family)}`"
        assert (name, licence) == (about.name, about.licence)
        assert licence in ("OFL-1.1", "Apache-2.0")
        assert int(faces) >= 1
        assert version
        (notice,) = [line for line in notices if line.startswith(f"- {name}: ")]
        assert len(notice) > len(f"- {name}: ")


def test_licences_are_those_of_the_texts_that_come_with_the_fonts():
    for (face, *_), family in zip(fonts.families(), fonts.FAMILIES, strict=True):
        words = {"OFL-1.1": "SIL OPEN FONT LICENSE", "Apache-2.0": "Apache License"}
        (text,) = [
            path.read_text(errors="replace")
            for path in pathlib.Path(face.path).parents[1].glob("LICENSE*")
        ]
        assert words[fonts.about(family).licence] in text, family


def test_the_sheet_shows_every_word_in_its_place():
    pairs = [generation.draw(generation.GeneratorSettings(), "train", index) for index in range(7)]
    sheet = np.asarray(draw_samples.contact_sheet(pairs, columns=3))
    assert sheet.shape == (3 * (32 + 15 + 8) + 8, 3 * (128 + 8) + 8, 3)
    for number, pair in enumerate(pairs):
        top, left = 8 + number // 3 * 55, 8 + number % 3 * 136
        np.testing.assert_array_equal(sheet[top : top + 32, left : left + 128], pair.hr)
        # The label stands below it.
        assert (sheet[top + 32 : top + 47, left : left + 128] < 128).any()


def test_it_writes_both(tmp_path):
    sheet, listed = draw_samples.write(tmp_path / "new", words=4)
    assert Image.open(sheet).width == 5 * 136 + 8
    assert listed.read_text() == draw_samples.font_list()


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"fonts\.md: cannot write it"):
        draw_samples.write(tmp_path / "file", words=1)
