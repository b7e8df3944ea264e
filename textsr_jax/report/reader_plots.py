"""Plots of readers: accuracy and risk by confidence, and what SR images gain for readers.

Functions return figures of matplotlib, which `plots.encoded` makes files of.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from textsr_jax.errors import needs
from textsr_jax.report.plots import COLOURS

with needs("plots"):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

# Where the axis of the readers' accuracy has ticks, in per cent.
_TICKS = (0, 20, 40, 50, 60, 70, 80, 85, 90, 92, 94, 95, 96, 97, 98, 99)


def reliability(rows: Sequence[Mapping[str, Any]], title: str) -> Figure:
    """Draws accuracy over confidence before and after calibration, a panel each.

    Args:
      rows: what `report.calibration.measure` gives; those of the test words are drawn.
      title: what was measured, on which data.
    """
    shown = [row for row in rows if row["words"] == "test"]
    figure = Figure(figsize=(5.2 * len(shown), 5.2), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, row in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        most = max(part["n"] for part in row["bins"])
        for part in row["bins"]:
            if not part["n"]:
                continue
            width = part["high"] - part["low"]
            axes.bar(part["low"], part["accuracy"], width, align="edge", color="#56b4e9", ec="w")
            # How many words there are: along the bottom.
            height = 0.12 * part["n"] / most
            axes.bar(part["low"], height, width, align="edge", color="0.35", ec="w")
            axes.plot(part["confidence"], part["accuracy"], "o", color="#d55e00", markersize=5)
        axes.plot([0, 1], [0, 1], color="0.5", linewidth=1, linestyle="--")
        axes.set_title(
            f"{row['when']}: temperature {row['temperature']:.2f}, "
            f"ECE {100 * row['calibration_error']:.1f} %",
            fontsize=10,
        )
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="part read rightly")
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"{title}; grey: how many words")
    return figure


@dataclasses.dataclass(frozen=True)
class Judged:
    """What a reader gains by SR.

    Attributes:
      name: of the reader.
      accuracy: how well it reads HR images, in per cent.
      gain: its mean gain of SR over bicubic images, in points.
      error: the standard error of `gain`.
      splits: its gain by split, in points.
    """

    name: str
    accuracy: float
    gain: float
    error: float
    splits: Mapping[str, float]


def gains(judges: Sequence[Judged], title: str) -> Figure:
    """Draws what SR gains over bicubic images, over how well each reader reads HR images.

    The large points are means, with one standard error; the small ones are the splits.

    Args:
      judges: the readers, all of the same splits.
      title: what was measured, on which data.
    """
    figure = Figure(figsize=(9.5, 6.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.axhline(0, color="0.5", linewidth=1)
    for number, split in enumerate(judges[0].splits):
        axes.plot(
            [judge.accuracy for judge in judges],
            [judge.splits[split] for judge in judges],
            "v^sDP"[number % 5],
            color=COLOURS[(number + 1) % len(COLOURS)],
            markersize=5,
            alpha=0.75,
            label=split,
        )
    axes.errorbar(
        [judge.accuracy for judge in judges],
        [judge.gain for judge in judges],
        yerr=[judge.error for judge in judges],
        fmt="o",
        color=COLOURS[0],
        markersize=9,
        capsize=3,
        label="mean of the splits",
    )
    names = [f"{judge.name}  {judge.gain:+.1f}" for judge in judges]
    tops = [max(judge.gain, *judge.splits.values()) for judge in judges]
    _over_strength(axes, names, [judge.accuracy for judge in judges], tops)
    axes.legend(fontsize=8.5, loc="lower left")
    axes.set_title(title, fontsize=11)
    return figure


def network_gains(networks: Mapping[str, Sequence[Judged]], title: str) -> Figure:
    """Draws what each network gains over bicubic images, over how well judges read HR images.

    Args:
      networks: what the judges gain by each network, by its name; all have the same judges. The
        bars are `Judged.error`.
      title: what was measured, on which data.
    """
    figure = Figure(figsize=(9.5, 6.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.axhline(0, color="0.5", linewidth=1)
    for number, (name, judged) in enumerate(networks.items()):
        judged = sorted(judged, key=lambda judge: judge.accuracy)
        axes.errorbar(
            [judge.accuracy for judge in judged],
            [judge.gain for judge in judged],
            yerr=[judge.error for judge in judged],
            color=COLOURS[number % len(COLOURS)],
            fmt="o^svDPX*"[number % 8] + "-",
            markersize=6,
            linewidth=1,
            alpha=0.85,
            capsize=3,
            label=name,
        )
    every = list(zip(*networks.values(), strict=True))
    _over_strength(
        axes,
        [same[0].name for same in every],
        [same[0].accuracy for same in every],
        [max(judge.gain for judge in same) for same in every],
    )
    axes.legend(fontsize=8.5, loc="lower left")
    axes.set_title(title, fontsize=11)
    return figure


def _over_strength(
    axes: Any, names: Sequence[str], accuracies: Sequence[float], tops: Sequence[float]
) -> None:
    """Makes the horizontal axis that of readers' strength, and names the readers above all points.

    Args:
      axes: with all points drawn.
      names: of the readers.
      accuracies: how well each reads HR images, in per cent.
      tops: the highest point of each.
    """
    # Strong readers lie close together: the axis is the logarithm of what they misread.
    axes.set_xscale("function", functions=(_strength, _accuracy))
    places = [float(_strength(accuracy)) for accuracy in accuracies]
    spread = max(max(places) - min(places), 0.1)
    left, right = min(places) - 0.1 * spread, max(places) + 0.2 * spread
    axes.set_xlim(_accuracy(left), _accuracy(right))
    axes.set_xticks([tick for tick in _TICKS if left <= _strength(tick) <= right])
    # Names stand in a row above all points, with a line down to each.
    axes.margins(y=0.05)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.6 * (high - low))
    apart = _apart(places, (right - left) / 22, left, right)
    for name, place, point in zip(names, apart, zip(accuracies, tops, strict=True), strict=True):
        axes.annotate(
            name,
            point,
            xytext=(float(_accuracy(place)), high + 0.06 * (high - low)),
            rotation=60,
            ha="left",
            va="bottom",
            fontsize=8.5,
            arrowprops={
                "arrowstyle": "-",
                "color": "0.75",
                "linewidth": 0.8,
                "shrinkB": 4,
                "relpos": (0, 0),
            },
        )
    axes.set_xlabel("HR images read rightly, % (the strength of the reader)")
    axes.set_ylabel("gain of SR over bicubic images, points")
    axes.grid(color="0.92")
    axes.spines[["top", "right"]].set_visible(False)


def _strength(accuracy: Any) -> Any:
    """How strong readers of this accuracy, in per cent, are: minus the log of what they misread."""
    return -np.log(np.maximum(100 - np.asarray(accuracy, float), 0.1))


def _accuracy(strength: Any) -> Any:
    """The inverse of `_strength`."""
    return 100 - np.exp(-np.asarray(strength, float))


def _apart(values: Sequence[float], distance: float, low: float, high: float) -> list[float]:
    """Moves values, in their order, until neighbours have this distance, within `low` to `high`."""
    order = sorted(range(len(values)), key=lambda number: values[number])
    places = [values[number] for number in order]
    for _ in range(100):
        for n in range(len(places) - 1):
            if (missing := distance - (places[n + 1] - places[n])) > 0:
                places[n] = max(low, places[n] - missing / 2)
                places[n + 1] = min(high, places[n + 1] + missing / 2)
    moved = dict(zip(order, places, strict=True))
    return [moved[number] for number in range(len(values))]


def risk_coverage(readers: Sequence[Mapping[str, Any]], title: str) -> Figure:
    """Draws what is wrong of what is returned over how much is returned, a line a reader.

    Beside it, the part of all words that is returned and wrong, over the risk that was asked for.

    Args:
      readers: what `benchmarks.risk.measure` gives.
      title: what was measured, on which data.
    """
    figure = Figure(figsize=(12, 5.2), layout="constrained")
    FigureCanvasAgg(figure)
    curves, kept = figure.subplots(1, 2, width_ratios=(3, 2))
    for number, reader in enumerate(readers):
        colour = COLOURS[number % len(COLOURS)]
        curves.plot(
            [100 * part for part in reader["coverage"]],
            [100 * part for part in reader["selective_risk"]],
            color=colour,
            linewidth=1.5,
            label=reader["reader"],
        )
        points = [point for point in reader["points"] if point["selective_risk"] is not None]
        marker = "os^D"[number % 4]
        for point in points:
            place = 100 * point["coverage"], 100 * point["selective_risk"]
            curves.plot(*place, marker, color=colour, markersize=6, zorder=3)
            curves.annotate(
                f"{100 * point['asked']:g} %",
                place,
                # Lines lie close together: the first one's notes are below it, others above theirs.
                xytext=(-5, 6) if number else (5, -10),
                textcoords="offset points",
                ha="right" if number else "left",
                fontsize=7.5,
                color=colour,
            )
        kept.plot(
            [100 * point["asked"] for point in reader["points"]],
            [100 * point["risk"] for point in reader["points"]],
            color=colour,
            marker=marker,
            markersize=6,
            label=reader["reader"],
        )
    most = 100 * max(point["asked"] for reader in readers for point in reader["points"])
    kept.plot([0, most], [0, most], color="0.5", linewidth=1, linestyle="--", label="as asked")
    curves.set(xlabel="words returned, %", ylabel="wrong of those returned, %", xlim=(0, 100))
    curves.set_title("risk over coverage; marks: thresholds for the risks beside them", fontsize=10)
    kept.set(xlabel="risk asked for, %", ylabel="words returned and wrong, %", xlim=(0, None))
    kept.set_title("the risk that the thresholds control", fontsize=10)
    for axes in (curves, kept):
        axes.set_ylim(0, None)
        axes.grid(color="0.92")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize=8, loc="upper left")
    figure.suptitle(title)
    return figure
