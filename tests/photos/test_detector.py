"""Where a detector sees text: boxes in pixels of the photograph, at any size of it."""

import numpy as np
import pytest
from onnx import TensorProto, helper
from PIL import Image

from tests.photos import dark_text
from textsr_jax.errors import MissingPackage, UserError
from textsr_jax.photos import detector
from textsr_jax.photos.quadrilaterals import sides


@pytest.fixture(scope="module")
def dark(tmp_path_factory):
    file = tmp_path_factory.mktemp("model") / "dark.onnx"
    return detector.Detector(dark_text.write(file, joined=0, rim=0))


def photograph(width, height, *bars):
    """A white photograph with black bars: left, top, right, bottom."""
    image = np.full((height, width, 3), 255, np.uint8)
    for left, top, right, bottom in bars:
        image[top:bottom, left:right] = 0
    return image


def expected(bar):
    """The box of a bar, which reaches further than the bar."""
    left, top, right, bottom = bar
    width, height = right - left, bottom - top
    # RapidOCR's rule, of the rectangle through the middles of the outer pixels.
    by = 1.6 * (width - 1) * (height - 1) / (2 * (width + height - 2)) - 0.5
    left, top, right, bottom = left - by, top - by, right + by, bottom + by
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])


def test_boxes_are_in_pixels_of_a_photograph_of_the_network_s_size(dark):
    bar = (100, 200, 300, 240)
    (found,) = dark.lines(photograph(1024, 736, bar))
    assert found == pytest.approx(expected(bar), abs=0.01)


@pytest.mark.parametrize("scale", [2, 4])
def test_a_small_photograph_is_enlarged_for_it(dark, scale):
    bar = (80, 80, 160, 112)
    small = tuple(side // scale for side in bar)
    (found,) = dark.lines(photograph(736 // scale, 736 // scale, small))
    assert scale * found == pytest.approx(expected(bar), abs=4)


def test_a_turned_line_has_a_turned_box(dark):
    canvas = Image.fromarray(photograph(736, 736, (200, 350, 500, 380)))
    turned = np.asarray(canvas.rotate(-20, Image.Resampling.BICUBIC, fillcolor="white"))
    (found,) = dark.lines(turned)
    right = found[1] - found[0]
    assert np.degrees(np.arctan2(right[1], right[0])) == pytest.approx(20, abs=1.5)
    width, height = sides(found)
    assert width > 300 and 30 < height < 130


def test_colours_are_handed_over_blue_first(tmp_path):
    """What the networks were trained with; a wrong order costs accuracy and shows nowhere."""
    nodes = [
        helper.make_node("Slice", ["x", "start", "end", "axis"], ["blue"]),
        helper.make_node("Relu", ["blue"], ["y"]),
    ]
    constants = [
        helper.make_tensor(name, TensorProto.INT64, [1], [value])
        for name, value in (("start", 0), ("end", 1), ("axis", 1))
    ]
    file = dark_text.save(tmp_path / "blue.onnx", nodes, constants)
    image = photograph(736, 736, (0, 0, 736, 736))
    image[100:150, 100:200, 0] = 255
    image[300:350, 100:200, 2] = 255
    (found,) = detector.Detector(file).lines(image)
    assert found.mean(axis=0) == pytest.approx((150, 325))


def test_small_text_of_a_large_photograph_is_looked_for_in_tiles(dark):
    """Reduced to 2,000 pixels a stroke of 5 pixels is 2 high; lines across tiles stay whole."""
    large, small, far = (300, 300, 900, 420), (900, 1500, 2300, 1505), (4500, 1800, 4700, 1806)
    found = dark.lines(photograph(4800, 2000, large, small, far))
    order = np.argsort(found[:, 0, 0])
    heights = [sides(box)[1] for box in found[order]]
    assert len(found) == 3
    # The large one is of the whole photograph, where a pixel is 2.4.
    assert found[order[0]] == pytest.approx(expected(large), abs=6)
    assert found[order[1]] == pytest.approx(expected(small), abs=2)
    assert found[order[2]] == pytest.approx(expected(far), abs=2)
    assert heights[0] > 100 and max(heights[1:]) < 50


def test_large_text_that_is_missed_is_found_at_half_the_size(dark, monkeypatch):
    seen = dark._probabilities
    text, low = (100, 200, 400, 260), (100, 500, 400, 508)
    image = photograph(1024, 736, text, low)
    monkeypatch.setattr(
        dark, "_probabilities", lambda image, scale: seen(image, scale) * (scale < 1)
    )
    # What is low there is not large.
    (found,) = dark.lines(image)
    assert found == pytest.approx(expected(text), abs=4)


def test_a_photograph_without_text_has_no_boxes(dark):
    assert dark.lines(photograph(300, 200)).shape == (0, 4, 2)
    assert dark.lines(photograph(1, 1)).shape == (0, 4, 2)


def test_boxes_end_at_the_photograph_s_edge(dark):
    (found,) = dark.lines(photograph(1000, 736, (0, 0, 200, 40)))
    assert found.min() == 0 and found[2] == pytest.approx(expected((0, 0, 200, 40))[2], abs=1)


def test_what_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(detector, "PACKAGE", "no_such_package")
    with pytest.raises(MissingPackage, match=r"no_such_package is not .*\[photos\]: pip install"):
        detector.model_file()
    monkeypatch.setattr(detector, "PACKAGE", "PIL")
    with pytest.raises(UserError, match=r"PP-OCRv6_det_small\.onnx: is missing; install"):
        detector.model_file()
