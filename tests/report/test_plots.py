"""Plots: their lines have the figures."""

import io
import itertools
import math

import numpy as np
import pytest
from PIL import Image

from textsr_jax.evaluation.protocol import Row
from textsr_jax.evaluation.quantization.sensitivity import LayerType
from textsr_jax.report import plots


def row(psnr, accuracy):
    scores = {"psnr": psnr, "accuracy": accuracy, "n": 100}
    return Row("edsr", "fine-tuned", {"easy": scores, "hard": scores}, scores, {})


KINDS = [
    LayerType("edsr-head", "sr", 6_912, {2: row(18, 30), 8: row(20, 50)}),
    LayerType("cdistnet-linear", "ocr", 3_000_000, {2: row(20, 10), 8: row(20, 49)}),
]


def test_a_line_for_every_layer_type():
    figure = plots.sensitivity(row(20, 50), KINDS, "title")
    psnr, accuracy, reading = figure.axes
    assert list(psnr.lines[0].get_ydata()) == [18, 20]
    assert list(accuracy.lines[0].get_ydata()) == [30, 50]
    assert list(reading.lines[0].get_ydata()) == [10, 49]
    _, (head, *_) = psnr.get_legend_handles_labels()
    _, (linear, *_) = reading.get_legend_handles_labels()
    assert (head, linear) == ("edsr-head (6.91 k)", "cdistnet-linear (3 M)")
    # No two panels are called alike.
    assert len({axes.get_title() for axes in (psnr, accuracy, reading)}) == 3
    # The standard error of two splits of 100 words, of which 30 % are read.
    (bars,) = accuracy.containers
    ((x, low), (_, high)) = bars.lines[2][0].get_segments()[0]
    assert high - low == pytest.approx(2 * 100 * math.sqrt(0.3 * 0.7 / 200))
    assert x == 2
    assert not psnr.containers[0].has_yerr
    image = np.asarray(Image.open(io.BytesIO(plots.encoded(figure))).convert("RGB"))
    assert image.std() > 0
    assert plots.encoded(figure, "svg").startswith(b"<?xml")


def test_a_front_shows_series_winner_and_the_unquantised_models():
    points = [(4.0, row(19, 40), "2"), (8.0, row(20, 48), "4")]
    winner, plain = (6.0, row(19.5, 47), "the choice"), (32.0, row(20, 50), "unquantised")
    figure = plots.front(plain, [("uniform", points)], winner, "title")
    accuracy, psnr = figure.axes
    assert list(accuracy.lines[0].get_xdata()) == [4, 8]
    assert list(psnr.lines[0].get_ydata()) == [19, 20]
    assert list(accuracy.lines[1].get_xydata()[0]) == [6, 47]
    assert list(accuracy.lines[2].get_xydata()[0]) == [32, 50]


def test_points_that_lie_together_share_a_note():
    points = [(4.0, row(15, 20), "2"), (4.2, row(19, 40), "3")]
    points += [(4.4 + 0.01 * bits, row(20, 48), str(bits)) for bits in range(4, 9)]
    plain = (32.0, row(20, 50), "unquantised")
    figure = plots.front(plain, [("uniform", points)], plain, "title")
    for axes in figure.axes:
        assert [text.get_text() for text in axes.texts] == ["2", "3", "4 to 8"]
        boxes = [text.get_window_extent() for text in axes.texts]
        assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


def test_gains_stand_over_the_strength_of_each_reader():
    judges = [
        plots.Judged("weak", 80.0, 3.0, 1.0, {"easy": 2.0, "hard": 4.0}),
        plots.Judged("strong", 95.0, -1.0, 0.5, {"easy": 0.0, "hard": -2.0}),
        plots.Judged("as strong", 95.2, 1.0, 0.5, {"easy": 1.0, "hard": 1.0}),
    ]
    figure = plots.gains(judges, "title")
    (axes,) = figure.axes
    zero, easy, hard, means = axes.lines[:4]
    assert list(zero.get_ydata()) == [0, 0]
    assert easy.get_xydata().tolist() == [[80, 2], [95, 0], [95.2, 1]]
    assert hard.get_xydata().tolist() == [[80, 4], [95, -2], [95.2, 1]]
    assert means.get_xydata().tolist() == [[80, 3], [95, -1], [95.2, 1]]
    ((_, low), (_, high)) = axes.containers[0].lines[2][0].get_segments()[0]
    assert (low, high) == (2, 4)
    names = [text.get_text() for text in axes.texts]
    assert names == ["weak  +3.0", "strong  -1.0", "as strong  +1.0"]
    # Names of readers that are equally strong stand apart, in the order of strength.
    places = [text.xyann[0] for text in axes.texts]
    assert places[0] < places[1] < places[2] - 0.3
    # The axis is the logarithm of what is misread: from 80 to 90 is as far as from 90 to 95.
    weak, middle, strong = (axes.transData.transform((x, 0))[0] for x in (80, 90, 95))
    assert middle - weak == pytest.approx(strong - middle)


def test_risk_over_coverage_has_a_line_and_marks_for_every_reader():
    point = {"asked": 0.05, "threshold": -0.1, "coverage": 0.5, "risk": 0.04}
    readers = [
        {
            "reader": name,
            "coverage": [0.25, 0.5, 1.0],
            "selective_risk": [0.0, 0.08, risk],
            "points": [point | {"selective_risk": 0.08}, point | {"selective_risk": None}],
        }
        for name, risk in (("ours", 0.2), ("peer", 0.3))
    ]
    curves, kept = plots.risk_coverage(readers, "title").axes
    lines = {line.get_label(): line.get_xydata().tolist() for line in curves.lines}
    assert lines["ours"] == [[25, 0], [50, 8], [100, 20]]
    assert lines["peer"][-1] == [100, 30]
    # A threshold that returns nothing has no place on the curve.
    assert [text.get_text() for text in curves.texts] == ["5 %", "5 %"]
    assert curves.texts[0].xy == (50, 8)
    assert kept.lines[0].get_xydata().tolist() == [[5, 4], [5, 4]]
    assert kept.lines[-1].get_xydata().tolist() == [[0, 0], [5, 5]]
