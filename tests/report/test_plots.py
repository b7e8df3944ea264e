"""Plots: their lines have the figures, and a place that cannot be written is named."""

import itertools
import json
import math

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from textsr_jax.errors import UserError
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


def test_points_that_lie_together_share_a_note(saved, tmp_path):
    points = [(4.0, row(15, 20), "2"), (4.2, row(19, 40), "3")]
    points += [(4.4 + 0.01 * bits, row(20, 48), str(bits)) for bits in range(4, 9)]
    plain = (32.0, row(20, 50), "unquantised")
    plots.front(tmp_path / "f.png", plain, [("uniform", points)], plain, "title")
    for axes in saved[0].axes:
        assert [text.get_text() for text in axes.texts] == ["2", "3", "4 to 8"]
        boxes = [text.get_window_extent() for text in axes.texts]
        assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


def test_the_files_of_a_study_and_of_a_search_are_drawn_again(saved, tmp_path):
    study = {
        "title": "study of words",
        "unquantised": row(20, 50).as_json(),
        "layer_types": [kind.as_json() for kind in KINDS],
    }
    found = {
        "title": "search",
        "size_mbit": 6.0,
        "test": {"unquantised": row(20, 50).as_json(), "chosen": row(19.5, 47).as_json()},
        "uniform": [{"size_mbit": 8.0, "bits": 4, **row(20, 48).as_json()}],
        "front": [{"size_mbit": size, **row(19, 40).as_json()} for size in (32.0, 6.0)],
    }
    for name, content in (("study", study), ("search", found)):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
        assert plots.draw(tmp_path / f"{name}.json") == tmp_path / f"{name}.png"
    assert saved[0].get_suptitle() == "study of words"
    assert list(saved[0].axes[0].lines[0].get_ydata()) == [18, 20]
    assert list(saved[1].axes[0].lines[1].get_xdata()) == [32, 6]
    for content, expected in (("{}", "lacks what is drawn"), ("[", "is no JSON")):
        (tmp_path / "other.json").write_text(content)
        with pytest.raises(UserError, match=expected):
            plots.draw(tmp_path / "other.json")


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/s.png: cannot write it"):
        plots.sensitivity(tmp_path / "file" / "s.png", row(20, 50), KINDS, "title")
