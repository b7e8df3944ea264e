"""Fonts: every face draws every letter, and missing packages are named."""

import json
import string

import numpy as np
import pytest

from textsr_jax.data.synthetic import fonts
from textsr_jax.errors import UserError


@pytest.mark.parametrize("family", fonts.FAMILIES)
def test_glyphs_are_there_and_differ(family):
    faces = fonts.find([family])[0]
    assert faces
    font = fonts.load(faces[0])
    missing = glyph(font, "\U000f1234")
    for alphabet in (string.digits + string.ascii_uppercase, string.ascii_lowercase):
        glyphs = {glyph(font, character) for character in alphabet}
        assert len(glyphs) == len(alphabet)
        assert missing not in glyphs
    marks = {glyph(font, mark) for mark in ".,:!?'\"-&/()$£%#"}
    assert missing not in marks
    # A missing glyph may be a box or nothing at all.
    assert all(any(pixels) for _, pixels in glyphs | marks)


def glyph(font, character):
    mask = font.getmask(character)
    return mask.size, bytes(mask)


def test_capitals_are_of_one_height():
    for faces in fonts.families():
        top, bottom = np.array(fonts.load(faces[-1]).getbbox("H"))[[1, 3]]
        assert abs(bottom - top - fonts.CAP_HEIGHT) <= 2


def test_faces_have_names_of_their_own_and_no_hairlines():
    faces = [face for family in fonts.families() for face in family]
    assert len({face.name for face in faces}) == len(faces) > 400
    assert {face.family for face in faces} == set(fonts.FAMILIES)
    assert not [face.name for face in faces if "Thin" in face.name]
    assert all(face.weight is None or face.weight >= 300 for face in faces)


def test_weights_of_a_variable_font_differ():
    light, bold = (
        next(face for face in fonts.find(["montserrat"])[0] if face.weight == weight)
        for weight in (300, 900)
    )
    assert fonts.load(bold).getlength("weight") > 1.1 * fonts.load(light).getlength("weight")


def test_choice_is_fair_but_scripts_seldom_take_capitals():
    def scripts(word):
        rng = np.random.default_rng(0)
        chosen = [fonts.choose(word, rng).family for _ in range(2000)]
        return sum(family in fonts.SCRIPTS for family in chosen) / len(chosen)

    expected = len(fonts.SCRIPTS) / len(fonts.FAMILIES)
    assert scripts("Lettering") == pytest.approx(expected, abs=0.02)
    assert 0 < scripts("LETTERING") < 0.3 * expected


def test_a_basic_face_is_of_a_basic_family():
    rng = np.random.default_rng(0)
    chosen = {fonts.choose("Word", rng, basic=True).family for _ in range(400)}
    assert chosen == set(fonts.BASIC)


def test_missing_packages_are_named():
    with pytest.raises(UserError, match=r"2 of 3 .* fontpkg-no-one; .* \[fonts\]: pip install"):
        fonts.find(["no-one", "anton", "no-two"])


@pytest.mark.parametrize(
    "metadata", ["", "{}", json.dumps({"axes": [], "files": [{"path": "A.ttf", "weight": 400}]})]
)
def test_damaged_package(metadata, tmp_path, monkeypatch):
    package = tmp_path / "fontpkg_broken"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "metadata.json").write_text(metadata)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"fontpkg-broken is damaged .* --force-reinstall"):
        fonts.find(["broken"])
