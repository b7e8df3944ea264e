"""Plots drawn again from JSON files: the figures of the files, and files that are neither."""

import json

import pytest

from tests.report.test_plots import KINDS, row
from textsr_jax.errors import UserError
from textsr_jax.experiments import draw_plots
from textsr_jax.report import plots


def test_the_files_of_a_study_and_of_a_search_are_drawn_again(tmp_path, monkeypatch):
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
    ablated = {"selection": "kernels", "method": "GPTQ", "bits": 3, "size_mbit": 4.0}
    ablation = {
        "title": "ways",
        "unquantised": row(20, 50).as_json(),
        "ablation": [ablated | row(19, 48).as_json()],
    }
    figures, encoded = [], plots.encoded
    monkeypatch.setattr(
        plots, "encoded", lambda *given: figures.append(given[0]) or encoded(*given)
    )
    for name, content in (("study", study), ("search", found), ("ablation", ablation)):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
        assert draw_plots.draw(tmp_path / f"{name}.json") == tmp_path / f"{name}.png"
    assert figures[0].get_suptitle() == "study of words"
    assert list(figures[0].axes[0].lines[0].get_ydata()) == [18, 20]
    assert list(figures[1].axes[0].lines[1].get_xdata()) == [32, 6]
    assert list(figures[2].axes[0].lines[0].get_xydata()[0]) == [3, 48]
    for content, expected in (("{}", "lacks what is drawn"), ("[", "is not JSON")):
        (tmp_path / "other.json").write_text(content)
        with pytest.raises(UserError, match=expected):
            draw_plots.draw(tmp_path / "other.json")


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/s.png: cannot write it"):
        draw_plots.write(
            tmp_path / "file" / "s.png", plots.sensitivity(row(20, 50), KINDS, "title")
        )
