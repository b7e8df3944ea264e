"""Plots: their lines have the figures, and a place that cannot be written is named."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from textsr_jax.errors import UserError
from textsr_jax.evaluation.protocol import Row
from textsr_jax.evaluation.sensitivity import LayerType
from textsr_jax.report import plots


def row(psnr, accuracy):
    return Row("edsr", "fine-tuned", {}, {"psnr": psnr, "accuracy": accuracy}, {})


KINDS = [
    LayerType("edsr-head", "sr", 6_912, {2: row(18, 30), 8: row(20, 50)}),
    LayerType("cdistnet-linear", "ocr", 3_000_000, {2: row(20, 10), 8: row(20, 49)}),
]


@pytest.fixture
def saved(monkeypatch):
    """The figures that are saved."""
    figures, save = [], Figure.savefig

    def keep(figure, *arguments, **settings):
        figures.append(figure)
        save(figure, *arguments, **settings)

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures


def test_a_line_for_every_layer_type(saved, tmp_path):
    plots.sensitivity(tmp_path / "new" / "s.png", row(20, 50), KINDS, "title")
    psnr, accuracy, reading = saved[0].axes
    assert list(psnr.lines[0].get_ydata()) == [18, 20]
    assert list(accuracy.lines[0].get_ydata()) == [30, 50]
    assert list(reading.lines[0].get_ydata()) == [10, 49]
    assert psnr.lines[0].get_label() == "edsr-head (6.91 k)"
    assert reading.lines[0].get_label() == "cdistnet-linear (3 M)"
    image = np.asarray(Image.open(tmp_path / "new" / "s.png").convert("RGB"))
    assert image.std() > 0


def test_a_front_shows_series_winner_and_the_unquantised_pair(saved, tmp_path):
    points = [(4.0, row(19, 40), "2"), (8.0, row(20, 48), "4")]
    winner, plain = (6.0, row(19.5, 47), "the choice"), (32.0, row(20, 50), "unquantised")
    plots.front(tmp_path / "f.png", plain, [("uniform", points)], winner, "title")
    accuracy, psnr = saved[0].axes
    assert list(accuracy.lines[0].get_xdata()) == [4, 8]
    assert list(psnr.lines[0].get_ydata()) == [19, 20]
    assert list(accuracy.lines[1].get_xydata()[0]) == [6, 47]
    assert list(accuracy.lines[2].get_xydata()[0]) == [32, 50]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/s.png: cannot write it"):
        plots.sensitivity(tmp_path / "file" / "s.png", row(20, 50), KINDS, "title")
