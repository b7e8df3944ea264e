"""ALTO 4.4 of a photograph, the XML of libraries: https://www.loc.gov/standards/alto/.

Each line is a `TextBlock` of its own, because texts of a scene are apart.
"""

import xml.etree.ElementTree as ET
from collections.abc import Sequence

import numpy as np

from textsr_jax.errors import escaped
from textsr_jax.photos.words import Line, angle, bounds

_NAMESPACE = "http://www.loc.gov/standards/alto/ns-v4#"
_SCHEMA = "https://www.loc.gov/standards/alto/v4/alto-4-4.xsd"


def document(
    lines: Sequence[Line], width: int, height: int, source: str, name: str, version: str
) -> str:
    """Returns one line of XML, without its end.

    Lines and words have upright rectangles and, as `Shape`, the quadrilaterals of their boxes,
    clockwise from the text's upper left. `ROTATION` of a block is in degrees anticlockwise, in
    [0, 360). `WC` is the confidence in a word.

    Args:
      lines: in reading order; those without words are left out.
      width, height: of the photograph, in pixels.
      source: its name.
      name, version: of what read it.
    """
    root = ET.Element(
        "alto",
        {
            "xmlns": _NAMESPACE,
            "xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance",
            "xsi:schemaLocation": f"{_NAMESPACE} {_SCHEMA}",
            "SCHEMAVERSION": "4.4",
        },
    )
    description = ET.SubElement(root, "Description")
    ET.SubElement(description, "MeasurementUnit").text = "pixel"
    image = ET.SubElement(description, "sourceImageInformation")
    ET.SubElement(image, "fileName").text = escaped(source)
    processing = ET.SubElement(description, "Processing", {"ID": "processing_1"})
    ET.SubElement(processing, "processingCategory").text = "contentGeneration"
    software = ET.SubElement(processing, "processingSoftware")
    ET.SubElement(software, "softwareName").text = name
    ET.SubElement(software, "softwareVersion").text = version
    whole = {"HEIGHT": str(height), "WIDTH": str(width)}
    about = {"ID": "page_1", "PHYSICAL_IMG_NR": "1", "PROCESSINGREFS": "processing_1", **whole}
    page = ET.SubElement(ET.SubElement(root, "Layout"), "Page", about)
    space = ET.SubElement(page, "PrintSpace", {"HPOS": "0", "VPOS": "0", **whole})
    words = 0
    for number, line in enumerate((line for line in lines if line.words), 1):
        place = _place(line.box, width, height)
        block = ET.SubElement(space, "TextBlock", {"ID": f"block_{number}", **place})
        if turned := round(-angle(line.box) % 360, 2) % 360:
            block.set("ROTATION", f"{turned:g}")
        parent = ET.SubElement(
            block,
            "TextLine",
            {"ID": f"line_{number}", "BASELINE": _points(line.box[[3, 2]]), **place},
        )
        _add_shape(parent, line.box)
        for part, word in enumerate(line.words):
            words += 1
            if part:
                ET.SubElement(parent, "SP")
            attributes = {
                "ID": f"string_{words}",
                "CONTENT": escaped(word.text),
                "WC": f"{word.confidence:.4f}",
                **_place(word.box, width, height),
            }
            _add_shape(ET.SubElement(parent, "String", attributes), word.box)
    return '<?xml version="1.0" encoding="UTF-8"?>' + ET.tostring(root, encoding="unicode")


def _place(box: np.ndarray, width: int, height: int) -> dict[str, str]:
    left, top, right, bottom = bounds(box, width, height)
    place = {"HPOS": left, "VPOS": top, "WIDTH": right - left, "HEIGHT": bottom - top}
    return {name: str(value) for name, value in place.items()}


def _points(corners: np.ndarray) -> str:
    return " ".join(f"{round(x, 1):g},{round(y, 1):g}" for x, y in corners.tolist())


def _add_shape(parent: ET.Element, box: np.ndarray) -> None:
    ET.SubElement(ET.SubElement(parent, "Shape"), "Polygon", {"POINTS": _points(box)})
