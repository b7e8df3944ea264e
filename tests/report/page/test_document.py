"""The page of a run: it is whole and safe, and shows what its files hold."""

import html.parser
import json
import math
import re
import shutil

import numpy as np
import pytest

from tests.report.page.conftest import HOSTILE, LABELS, images, rows
from textsr_jax.errors import UserError
from textsr_jax.report.page import charts, document, event_files, word_file, words
from textsr_jax.train.logs import Logs

VOID = {"meta", "link", "img", "input", "path", "circle"}


class Checker(html.parser.HTMLParser):
    """Collects elements and text; every element that is no void one must be closed in order."""

    def __init__(self):
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, text):
        self.texts.append(text)


def checked(page: str) -> Checker:
    checker = Checker()
    checker.feed(page)
    checker.close()
    assert not checker.open
    return checker


@pytest.fixture(scope="module")
def page(workdir) -> Checker:
    path = document.write(workdir)
    assert path == workdir / "page.html" and path.stat().st_size < 10_000_000
    return checked(path.read_text())


def test_every_file_has_its_section_and_its_values(page):
    sections = [about["id"] for tag, about in page.elements if tag == "section"]
    assert sections == [
        *("starts", "scores", "figure", "worst", "luckiest", "words", "training", "quantized"),
        *("front", "sensitivity", "ablation", "finetuned", "config"),
    ]
    text = " ".join(page.texts)
    # Scores with their places; a setting; a group's bits; time; the config.
    for value in ("53.2", "0.713", "20.12", "12.50", "edsr-body", "90.0", "edsr.blocks", "17"):
        assert f" {value} " in text, value
    assert "0123456789ab" in text and "drawn words" in text


def test_nothing_is_asked_of_any_other_place(page):
    for tag, about in page.elements:
        for name in ("src", "href", "action", "data", "srcset"):
            value = about.get(name, "#")
            assert value.startswith(("#", "data:image/webp;base64,", "data:,")), (tag, value)
    policy = next(about["content"] for _, about in page.elements if "http-equiv" in about)
    assert policy.startswith("default-src 'none'; img-src data:;")
    code = " ".join(page.texts)
    assert not re.search(r"https?:|url\(|@import|fetch|XMLHttp|import\(", code)


def test_what_was_read_cannot_become_a_part_of_the_page(page):
    assert sum(tag == "script" for tag, _ in page.elements) == 1
    assert not any("onclick" in about for _, about in page.elements)
    assert f"{HOSTILE} " in page.texts


def test_the_worst_are_wrong_and_sure_and_the_luckiest_right_and_unsure():
    content = word_file.content(images(), LABELS, rows())
    shown = {
        name: [content["words"][number]["label"] for number in content[name]]
        for name in ("worst", "luckiest")
    }
    assert shown["worst"] == ["taxi", "Cafe"]
    assert shown["luckiest"] == ["exit", "no7", HOSTILE, "open"]
    assert sorted(content["figure"]) == list(range(6)) and content["judged"] == 1


def test_a_card_has_the_letters_that_are_right_and_what_it_is_sorted_by(page):
    card = words.card(word_file.content(images(), LABELS, rows()), 2)
    assert "<ins>t</ins><ins>a</ins><ins>x</ins><del>l</del> <small>97&nbsp;%</small>" in card
    about = dict(re.findall(r'data-(\w+)="([^"]*)"', card))
    assert about["outcome"] == "lost" and about["wrong"] == "1" and about["sure"] == "0.970000"
    assert about["gain"] == "0.470000" and about["text"] == "taxi taxi taxl taxi"
    assert words.wrong_letters("exi", "exit") == 1 and words.wrong_letters("", "exit") == 4


def test_images_are_what_was_evaluated(page):
    import base64
    import io

    from PIL import Image

    content = word_file.content(images(), LABELS, rows())
    for name, encoded in zip(content["images"], content["words"][0]["images"], strict=True):
        shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB"))
        given = images()[name]["easy"][0]
        assert shown.shape == given.shape
        assert np.abs(shown.astype(int) - given).mean() < 6


def test_many_words_are_left_out_but_the_extremes_stay(monkeypatch):
    whole = word_file.content(images(), LABELS, rows())
    sizes = [sum(map(len, word["images"])) for word in whole["words"]]
    monkeypatch.setattr(word_file, "IN_FIGURE", 1)
    monkeypatch.setattr(word_file, "EXTREME", 1)
    monkeypatch.setattr(word_file, "MOST_BYTES", sum(sizes) - min(sizes))
    part = word_file.content(images(), LABELS, rows())
    assert part["all"] == 6 and len(part["words"]) < 6
    assert sum(len(image) for word in part["words"] for image in word["images"]) <= sum(sizes)
    assert part["words"][part["worst"][0]]["label"] == "taxi"
    assert part["words"][part["luckiest"][0]]["label"] == "exit"


def test_curves_are_thinned_and_steps_taken_again_count_once(tmp_path):
    for first, value in ((1, 1.0), (5, 2.0)):
        # A file's name has whole seconds, and the later start's file comes after the other's.
        folder = tmp_path / f"{first}"
        with Logs(folder, first) as logs:
            for step in range(first, 9):
                logs.scalars({"train/loss": math.nan if step == 6 else value}, step)
        (file,) = folder.iterdir()
        file.rename(tmp_path / f"events.out.tfevents.{first}.host.1")
        folder.rmdir()
    curves = event_files.read_scalars(tmp_path)
    expected = [(1, 1.0), (2, 1.0), (3, 1.0), (4, 1.0), (5, 2.0), (7, 2.0), (8, 2.0)]
    assert curves == {"train/loss": expected}
    points = [(float(step), 0.5) for step in range(1001)]
    thin = event_files.thinned(points)
    assert len(thin) <= event_files.MOST_POINTS and thin[-1] == points[-1]
    assert event_files.thinned(points[:7]) == points[:7]


def test_points_stand_where_their_values_are():
    drawn = charts.chart("loss", [charts.Line("<a>", [(0, 1.0), (100, 3.0)])], "step", level=2.0)
    places = [tuple(map(float, at)) for at in re.findall(r'cx="(\S+)" cy="(\S+)"', drawn)]
    (left, low), (right, high) = places
    assert left < right and low > high
    level = float(re.search(r'class="level" d="M\S+ (\S+)H', drawn)[1])
    assert level == pytest.approx((low + high) / 2, abs=0.1)
    assert "<a>" not in drawn and "&lt;a&gt;: 3, step 100" in drawn
    # Powers of two, evenly apart.
    drawn = charts.chart(
        "x", [charts.Line("a", [(2.0, 0), (8.0, 0), (32.0, 0)])], "", logarithmic=True
    )
    first, second, third = (float(at) for at in re.findall(r'cx="(\S+)"', drawn))
    assert second - first == pytest.approx(third - second, abs=0.2)
    assert charts.chart("x", [charts.Line("a", [])], "step") == ""


def test_what_is_damaged_is_left_out_with_a_note(workdir, tmp_path):
    folder = tmp_path / "w"
    shutil.copytree(workdir, folder)
    (folder / "results.json").write_text("{")
    (folder / "quantized.json").write_text(json.dumps({"settings": [{"target": "<SR>"}]}))
    page = checked(document.write(folder, tmp_path / "made" / "out.html").read_text())
    sections = [about["id"] for tag, about in page.elements if tag == "section"]
    assert "scores" not in sections and "quantized" not in sections and "worst" in sections
    notes = [about for tag, about in page.elements if tag == "p" and about.get("class") == "note"]
    assert len(notes) == 2
    assert "results.json is left out: cannot read it" in " ".join(page.texts)


def test_a_folder_without_results_says_what_to_name(tmp_path):
    with pytest.raises(UserError, match="holds nothing to show; name a workdir"):
        document.write(tmp_path)
    with pytest.raises(UserError, match="none: no such folder"):
        document.write(tmp_path / "none")
