"""Plots: their lines have the figures."""

import io
import itertools
import math

import numpy as np
import pytest
from PIL import Image

from textsr_jax.evaluation.protocol import Row
from textsr_jax.evaluation.quantization.ablation import Ablated
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


def test_an_ablation_has_a_line_for_each_method_in_each_panel():
    settings = [
        Ablated(selection, method, bits, 5.0, row(18 + bits, 10 * bits + extra))
        for selection in ("paper's", "kernels")
        for method, extra in (("nearest", 0), ("GPTQ", 5))
        for bits in (4, 2)
    ]
    figure = plots.ablation(row(23, 50), settings, "title")
    accuracy, kernels, psnr, _ = figure.axes
    assert (accuracy.get_title(), kernels.get_title()) == ("paper's", "kernels")
    assert list(accuracy.lines[1].get_xdata()) == [2, 4]
    assert list(accuracy.lines[1].get_ydata()) == [25, 45]
    assert list(psnr.lines[0].get_ydata()) == [20, 22]
    assert psnr.lines[2].get_ydata()[0] == 23
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["nearest", "GPTQ"]


def test_points_that_lie_together_share_a_note():
    points = [(4.0, row(15, 20), "2"), (4.2, row(19, 40), "3")]
    points += [(4.4 + 0.01 * bits, row(20, 48), str(bits)) for bits in range(4, 9)]
    plain = (32.0, row(20, 50), "unquantised")
    figure = plots.front(plain, [("uniform", points)], plain, "title")
    for axes in figure.axes:
        assert [text.get_text() for text in axes.texts] == ["2", "3", "4 to 8"]
        boxes = [text.get_window_extent() for text in axes.texts]
        assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
