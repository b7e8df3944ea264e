"""`Page`: what was read in a photograph, as text, tables, JSON, hOCR, ALTO and a drawing."""

import json
import pathlib
import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import numpy as np
import pytest
import xmlschema

from textsr_jax.photos.page import FORMATS, Line, Page, Word

XHTML = "{http://www.w3.org/1999/xhtml}"
ALTO = "{http://www.loc.gov/standards/alto/ns-v4#}"

# The schema of the Library of Congress, CC BY-SA 4.0, as it is at
# https://github.com/altoxml/schema/blob/master/v4/alto-4-4.xsd; and what it imports.
SCHEMAS = pathlib.Path(__file__).parent / "alto"
XLINK = "http://www.loc.gov/standards/xlink/xlink.xsd"


def upright(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])


def turned(box: np.ndarray, degrees: float) -> np.ndarray:
    """The box, turned clockwise around its first corner."""
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return box[0] + (box - box[0]) @ turn


def line(*words: tuple[str, float, np.ndarray]) -> Line:
    """A line from the upper left of its first word to the lower right of its last one."""
    first, last = words[0][2], words[-1][2]
    return Line(
        tuple(Word(*word) for word in words), np.stack([first[0], last[1], last[2], first[3]])
    )


@pytest.fixture
def page() -> Page:
    """Two words side by side; one that rises by 10 degrees; one that runs from bottom to top."""
    return Page(
        (
            line(("open", 0.934, upright(10, 20, 50, 32)), ("a&b", 1.0, upright(60, 20, 80, 32))),
            line(("rising", 0.5, turned(upright(20, 80, 120, 100), -10))),
            line(("up", 0.25, turned(upright(150, 90, 200, 110), -90))),
        ),
        width=200,
        height=120,
    )


def properties(element: ET.Element) -> dict[str, list[str]]:
    """The properties of an hOCR element by their names."""
    pairs = (one.split() for one in element.get("title", "").split(";"))
    return {name: values for name, *values in pairs}


def elements(document: str, kind: str) -> list[ET.Element]:
    return [one for one in ET.fromstring(document).iter() if one.get("class") == kind]


def test_text_has_the_lines_in_their_order(page):
    assert page.text == "open a&b\nrising\nup"
    assert [word.text for word in page.words] == ["open", "a&b", "rising", "up"]


def test_words_that_were_left_out_have_no_place_in_the_text(page):
    left_out = Word("", 1.0, upright(0, 0, 9, 9))
    page = Page((Line((left_out, *page.words[:1]), page.lines[0].box),), 200, 120)
    assert page.text == "open"


def test_json_is_one_line_with_corners(page):
    text = page.to_json("é\n.jpg")
    assert "\n" not in text
    found = json.loads(text)
    assert found["source"] == "é\n.jpg"
    assert found["words"][0] == {
        "text": "open",
        "confidence": 0.934,
        "box": [[10, 20], [50, 20], [50, 32], [10, 32]],
    }
    # From bottom to top: what is right of the text's upper left is above it.
    assert found["words"][3]["box"] == [[150, 90], [150, 40], [170, 40], [170, 90]]


def test_tsv_has_a_line_for_each_word(page):
    first, *rest = page.to_tsv("a\tb.jpg").splitlines()
    assert first.split("\t") == [
        "a\\tb.jpg",
        "open",
        "0.9340",
        *("10.0", "20.0", "50.0", "20.0", "50.0", "32.0", "10.0", "32.0"),
    ]
    assert len(rest) == 3


def test_hocr_has_pages_lines_and_words_in_each_other(page):
    document = page.to_hocr('50% "off" é.jpg')
    assert "\n" not in document
    root = ET.fromstring(document)
    assert root.tag == f"{XHTML}html"
    # What hOCR 1.2 requires of every document: these, and a bbox for pages and lines.
    meta = {one.get("name"): one.get("content") for one in root.iter(f"{XHTML}meta")}
    assert meta["ocr-system"].startswith("textsr_jax ")
    found = {one.get("class") for one in root.iter() if one.get("class")}
    assert found == {"ocr_page", "ocr_par", "ocr_line", "ocrx_word"}
    assert found <= set(meta["ocr-capabilities"].split())
    names = [one.get("id") for one in root.iter() if one.get("id")]
    assert len(names) == len(set(names)) == 1 + 3 + 3 + 4
    (whole,) = elements(document, "ocr_page")
    # Printable ASCII without quotes, so as in a URL.
    assert whole.get("title") == 'image "50%25 %22off%22 %C3%A9.jpg"; bbox 0 0 200 120'
    assert [one.text for one in whole.iter(f"{XHTML}span") if one.text] == [
        word.text for word in page.words
    ]


def test_hocr_tells_where_words_are_and_how_sure_they_are(page):
    first, _, rising, up = map(properties, elements(page.to_hocr("a.jpg"), "ocrx_word"))
    assert first == {"bbox": ["10", "20", "50", "32"], "x_wconf": ["93"]}
    assert rising["bbox"] == ["20", "62", "122", "100"]
    # From (20, 80) 100 pixels along, 20 down: cos 10 is 0.985, sin 10 is 0.174.
    assert " ".join(rising["poly"]) == "20 80 118 63 122 82 23 100"
    assert (up["bbox"], up["x_wconf"]) == (["150", "40", "170", "90"], ["25"])
    assert " ".join(up["poly"]) == "150 90 150 40 170 40 170 90"


def test_hocr_tells_how_lines_are_turned(page):
    level, rising, up = map(properties, elements(page.to_hocr("a.jpg"), "ocr_line"))
    assert level["baseline"] == ["0", "0"]
    # The baseline leaves the lower left corner, which is 3 pixels right of the bbox.
    slope, above = map(float, rising["baseline"])
    assert slope == pytest.approx(-np.tan(np.deg2rad(10)), abs=1e-4)
    assert -1 <= above <= 1
    assert up["textangle"] == ["90"]
    assert "baseline" not in up


def test_hocr_measures_text_upside_down_anticlockwise():
    page = Page((line(("won", 1.0, turned(upright(90, 90, 150, 110), 135))),), 200, 200)
    (one,) = elements(page.to_hocr("a.jpg"), "ocr_line")
    assert properties(one)["textangle"] == ["225"]


@pytest.fixture(scope="module")
def schema() -> xmlschema.XMLSchema:
    local = (SCHEMAS / "xlink.xsd").as_uri()
    return xmlschema.XMLSchema(
        SCHEMAS / "alto-4-4.xsd",
        allow="local",
        uri_mapper=lambda uri: local if uri == XLINK else uri,
    )


def test_alto_follows_its_schema(page, schema):
    schema.validate(page.to_alto("é <&>.jpg"))
    schema.validate(Page((), 200, 120).to_alto("empty.jpg"))
    # The schema is one that refuses what is wrong.
    assert not schema.is_valid(page.to_alto("a.jpg").replace('WC="1.0000"', 'WC="93"'))


def test_alto_tells_where_words_are_and_how_sure_they_are(page):
    document = page.to_alto("a.jpg")
    assert "\n" not in document
    root = ET.fromstring(document)
    assert root.findtext(f".//{ALTO}MeasurementUnit") == "pixel"
    assert root.findtext(f".//{ALTO}fileName") == "a.jpg"
    strings = list(root.iter(f"{ALTO}String"))
    assert [one.get("CONTENT") for one in strings] == ["open", "a&b", "rising", "up"]
    place = [strings[0].get(name) for name in ("HPOS", "VPOS", "WIDTH", "HEIGHT", "WC")]
    assert place == ["10", "20", "40", "12", "0.9340"]
    polygon = strings[3].find(f".//{ALTO}Polygon")
    assert polygon is not None
    assert polygon.get("POINTS") == "150,90 150,40 170,40 170,90"
    rotations = [one.get("ROTATION") for one in root.iter(f"{ALTO}TextBlock")]
    assert rotations == [None, "10", "90"]
    baselines = [one.get("BASELINE") for one in root.iter(f"{ALTO}TextLine")]
    assert baselines[::2] == ["10,32 80,32", "170,90 170,40"]


def test_boxes_are_cut_at_the_edges_of_the_photograph():
    page = Page((line(("edge", 1.0, upright(-7.5, 100.2, 230, 140))),), 200, 120)
    (one,) = elements(page.to_hocr("a.jpg"), "ocrx_word")
    assert properties(one)["bbox"] == ["0", "100", "200", "120"]
    assert json.loads(page.to_json("a.jpg"))["words"][0]["box"][0] == [-7.5, 100.2]


def test_a_page_without_words_is_whole_in_every_format():
    page = Page((), 200, 120)
    written = {name: write(page, "a.jpg") for name, write in FORMATS.items()}
    assert written["text"] == written["tsv"] == ""
    assert json.loads(written["jsonl"]) == {"source": "a.jpg", "words": []}
    assert properties(elements(written["hocr"], "ocr_page")[0])["bbox"] == ["0", "0", "200", "120"]
    assert "<String" not in written["alto"]


def test_draw_marks_sure_words_green_and_unsure_ones_orange(page):
    grey = np.full((120, 200, 3), 128, np.uint8)
    drawn = np.asarray(page.draw(grey))
    assert drawn.shape == grey.shape
    assert (grey == 128).all()
    green, orange = drawn[20, 30], drawn[65, 150]
    assert green[1] > green[0] + 100
    assert orange[0] > orange[2] + 100
    # Inside of boxes the photograph stays as it is.
    assert (drawn[24:28, 14:46] == 128).all()


def test_draw_scales_boxes_to_a_photograph_of_twice_the_size(page):
    drawn = np.asarray(page.draw(np.full((240, 400, 3), 128, np.uint8)))
    assert drawn[40, 60, 1] > drawn[40, 60, 0] + 100
    with pytest.raises(ValueError, match="not the photograph of 200 x 120"):
        page.draw(np.full((200, 200, 3), 128, np.uint8))


@pytest.mark.parametrize(
    ("confidence", "box"),
    [(1.5, upright(0, 0, 1, 1)), (0.5, np.zeros(4)), (0.5, np.full((4, 2), np.nan))],
)
def test_words_that_cannot_be_are_refused(confidence, box):
    with pytest.raises(ValueError, match=re.compile("out of|corners")):
        Word("a", confidence, box)


def test_boxes_cannot_be_changed(page):
    with pytest.raises(ValueError, match="read-only"):
        page.words[0].box[0, 0] = 7


def test_pages_need_no_jax():
    code = "import sys, textsr_jax.photos.page; print('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
