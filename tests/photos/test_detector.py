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


def test_boxes_are_in_pixels_of_the_photograph_at_each_size(dark):
    bar = (100, 200, 400, 260)
    looks = dark.looks(photograph(1280, 736, bar))
    assert len(looks) == 3
    for (found,), part, abs in zip(looks, detector.LOOKS, (0.01, 3, 6), strict=True):
        smaller = tuple(part * side for side in bar)
        assert part * found == pytest.approx(expected(smaller), abs=abs * part)


@pytest.mark.parametrize("width, scale", [(640, 2), (320, 2), (1024, 1.25), (1280, 1), (4000, 0.5)])
def test_small_photographs_are_enlarged_and_large_ones_reduced(dark, monkeypatch, width, scale):
    asked = []
    monkeypatch.setattr(
        dark, "_probabilities", lambda image, scale: asked.append(scale) or np.zeros((32, 32))
    )
    dark.looks(photograph(width, 400))
    assert asked == pytest.approx([scale, scale / 2, scale / 4])


def test_boxes_in_an_enlarged_photograph_are_where_its_text_is(dark):
    bar = (40, 40, 90, 60)
    found = dark.looks(photograph(320, 192, bar))[0]
    doubled = tuple(2 * side for side in bar)
    assert 2 * found[0] == pytest.approx(expected(doubled), abs=4)


def test_a_turned_line_has_a_turned_box(dark):
    canvas = Image.fromarray(photograph(736, 736, (200, 350, 500, 380)))
    turned = np.asarray(canvas.rotate(-20, Image.Resampling.BICUBIC, fillcolor="white"))
    (found,), *_ = dark.looks(turned)
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
    image = photograph(1280, 736, (0, 0, 1280, 736))
    image[100:150, 100:200, 0] = 255
    image[300:350, 100:200, 2] = 255
    (found,), *_ = detector.Detector(file).looks(image)
    assert found.mean(axis=0) == pytest.approx((150, 325))


def test_small_text_of_a_large_photograph_is_looked_for_in_tiles(dark):
    """Reduced to 2,000 pixels a stroke of 5 pixels is 2 high; lines across tiles stay whole."""
    large, small, far = (300, 300, 900, 420), (900, 1500, 2300, 1505), (4500, 1800, 4700, 1806)
    found, *_ = dark.looks(photograph(4800, 2000, large, small, far))
    order = np.argsort(found[:, 0, 0])
    heights = [sides(box)[1] for box in found[order]]
    assert len(found) == 3
    # The large one is of the whole photograph, where a pixel is 2.4.
    assert found[order[0]] == pytest.approx(expected(large), abs=6)
    assert found[order[1]] == pytest.approx(expected(small), abs=2)
    assert found[order[2]] == pytest.approx(expected(far), abs=2)
    assert heights[0] > 100 and max(heights[1:]) < 50


def test_text_that_is_missed_at_one_size_is_found_at_another(dark, monkeypatch):
    seen = dark._probabilities
    text = (100, 200, 400, 260)
    monkeypatch.setattr(
        dark, "_probabilities", lambda image, scale: seen(image, scale) * (scale == 0.5)
    )
    first, (found,), last = dark.looks(photograph(1280, 736, text))
    assert len(first) == len(last) == 0
    assert found == pytest.approx(expected(text), abs=4)


def test_a_photograph_without_text_has_no_boxes(dark):
    for image in photograph(300, 200), photograph(1, 1):
        assert [found.shape for found in dark.looks(image)] == 3 * [(0, 4, 2)]


def test_boxes_end_at_the_photograph_s_edge(dark):
    (found,), *_ = dark.looks(photograph(1280, 736, (0, 0, 200, 40)))
    assert found.min() == 0 and found[2] == pytest.approx(expected((0, 0, 200, 40))[2], abs=1)


def test_what_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(detector, "PACKAGE", "no_such_package")
    with pytest.raises(MissingPackage, match=r"no_such_package is not .*\[photos\]: pip install"):
        detector.model_file()
    monkeypatch.setattr(detector, "PACKAGE", "PIL")
    with pytest.raises(UserError, match=r"PP-OCRv6_det_small\.onnx: is missing; install"):
        detector.model_file()
