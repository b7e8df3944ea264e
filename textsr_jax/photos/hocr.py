"""hOCR 1.2 of a photograph, as browsers and archives take it: http://kba.github.io/hocr-spec/1.2/.

The elements are `ocr_page`, `ocr_par`, `ocr_line` and `ocrx_word`, of which viewers know all.
"""

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from urllib.parse import quote

import numpy as np

from textsr_jax.errors import escaped
from textsr_jax.photos.words import Line, angle, bounds

_HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>'
    '<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN" '
    '"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">'
)
_CAPABILITIES = "ocr_page ocr_par ocr_line ocrx_word ocrp_poly"

# The characters that may stand in a quoted value; others are written as in a URL.
_PLAIN = "".join(map(chr, range(0x20, 0x7F))).replace('"', "").replace("%", "")


def document(lines: Sequence[Line], width: int, height: int, source: str, system: str) -> str:
    """Returns one line of XHTML, without its end.

    A line that is turned by at most 45 degrees has a `baseline`: slope and height above the lower
    left corner of its `bbox`. Others have a `textangle`: degrees anticlockwise, in [0, 360). A word
    whose box is no upright rectangle has the box as `poly`, clockwise from the text's upper left.
    `x_wconf` is the confidence in percent.

    Args:
      lines: in reading order; those without words are left out.
      width, height: of the photograph, in pixels.
      source: its name, which becomes the page's `image`; written as in a URL.
      system: the name and version of what read it.
    """
    root = ET.Element("html", {"xmlns": "http://www.w3.org/1999/xhtml"})
    head = ET.SubElement(root, "head")
    ET.SubElement(head, "title").text = escaped(source)
    ET.SubElement(
        head, "meta", {"http-equiv": "Content-Type", "content": "text/html; charset=utf-8"}
    )
    ET.SubElement(head, "meta", {"name": "ocr-system", "content": system})
    ET.SubElement(head, "meta", {"name": "ocr-capabilities", "content": _CAPABILITIES})
    ET.SubElement(head, "meta", {"name": "ocr-number-of-pages", "content": "1"})
    name = quote(source, safe=_PLAIN, errors="surrogateescape")
    page = ET.SubElement(
        ET.SubElement(root, "body"),
        "div",
        _attributes("ocr_page", "page_1", f'image "{name}"', f"bbox 0 0 {width} {height}"),
    )
    words = 0
    for number, line in enumerate((line for line in lines if line.words), 1):
        paragraph = ET.SubElement(page, "p", {"class": "ocr_par", "id": f"par_{number}"})
        box = bounds(line.box, width, height)
        place = _attributes("ocr_line", f"line_{number}", _bbox(box), _direction(line.box, box))
        parent = ET.SubElement(paragraph, "span", place)
        for word in line.words:
            words += 1
            properties = [_bbox(bounds(word.box, width, height))]
            if not _upright(word.box):
                corners = word.box.round().astype(int).clip(0, (width, height))
                properties.append(f"poly {' '.join(map(str, corners.ravel().tolist()))}")
            properties.append(f"x_wconf {100 * word.confidence:.0f}")
            child = ET.SubElement(
                parent, "span", _attributes("ocrx_word", f"word_{words}", *properties)
            )
            child.text, child.tail = escaped(word.text), " "
    return _HEAD + ET.tostring(root, encoding="unicode")


def _attributes(kind: str, name: str, *properties: str) -> dict[str, str]:
    return {"class": kind, "id": name, "title": "; ".join(properties)}


def _bbox(box: tuple[int, int, int, int]) -> str:
    return f"bbox {' '.join(map(str, box))}"


def _direction(line: np.ndarray, box: tuple[int, int, int, int]) -> str:
    """The direction of a line's text."""
    turned = angle(line)
    if abs(turned) > 45:
        return f"textangle {round(-turned % 360, 2) % 360:g}"
    # The baseline goes from the lower left corner of the text to the lower right one.
    (right, low), (left, start) = line[2], line[3]
    slope = (low - start) / (right - left)
    left_edge, _, _, bottom = box
    return f"baseline {round(slope, 4):g} {start + slope * (left_edge - left) - bottom:.0f}"


def _upright(box: np.ndarray) -> bool:
    """Whether a box is a rectangle along the sides of the photograph, to half a pixel."""
    left, top = box.min(axis=0)
    right, bottom = box.max(axis=0)
    around = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
    return bool(np.abs(box - around).max() <= 0.5)
