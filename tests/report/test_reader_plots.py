"""Plots of readers: gains over strength, and risk over coverage."""

import pytest

from textsr_jax.report import reader_plots


def test_gains_stand_over_the_strength_of_each_reader():
    judges = [
        reader_plots.Judged("weak", 80.0, 3.0, 1.0, {"easy": 2.0, "hard": 4.0}),
        reader_plots.Judged("strong", 95.0, -1.0, 0.5, {"easy": 0.0, "hard": -2.0}),
        reader_plots.Judged("as strong", 95.2, 1.0, 0.5, {"easy": 1.0, "hard": 1.0}),
    ]
    figure = reader_plots.gains(judges, "title")
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


def test_gains_of_networks_are_a_line_each():
    def judged(weak, strong):
        return [
            reader_plots.Judged("strong", 95.0, strong, 0.5, {}),
            reader_plots.Judged("weak", 60.0, weak, 1.0, {}),
        ]

    figure = reader_plots.network_gains({"edsr": judged(4.0, 1.0), "tsrn": judged(6.0, -2.0)}, "t")
    (axes,) = figure.axes
    # Judges are joined from the weakest to the strongest, whatever their order.
    lines = [container.lines[0].get_xydata().tolist() for container in axes.containers]
    assert lines == [[[60, 4], [95, 1]], [[60, 6], [95, -2]]]
    bars = axes.containers[0].lines[2][0].get_segments()
    assert [(low, high) for (_, low), (_, high) in bars] == [(3, 5), (0.5, 1.5)]
    # Names stand once, with a line down to the highest point of each.
    assert [(text.get_text(), text.xy) for text in axes.texts] == [
        ("strong", (95, 1)),
        ("weak", (60, 6)),
    ]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["edsr", "tsrn"]


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
    curves, kept = reader_plots.risk_coverage(readers, "title").axes
    lines = {line.get_label(): line.get_xydata().tolist() for line in curves.lines}
    assert lines["ours"] == [[25, 0], [50, 8], [100, 20]]
    assert lines["peer"][-1] == [100, 30]
    # A threshold that returns nothing has no place on the curve.
    assert [text.get_text() for text in curves.texts] == ["5 %", "5 %"]
    assert curves.texts[0].xy == (50, 8)
    assert kept.lines[0].get_xydata().tolist() == [[5, 4], [5, 4]]
    assert kept.lines[-1].get_xydata().tolist() == [[0, 0], [5, 5]]
