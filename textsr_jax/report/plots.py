"""Plots: quantised layer types, scores over size, confidence and risk, what readers gain by SR.

Functions return figures of matplotlib; `encoded` makes the content of a file of one.
"""

import dataclasses
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from textsr_jax.errors import needs
from textsr_jax.report.values import LayerTypeScores, Scores

with needs("plots"):
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

# Colours that colour-blind people can tell apart (Okabe and Ito), then other line styles.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_STYLES = ("-", "--", ":")

# Where the axis of the readers' accuracy has ticks, in per cent.
_TICKS = (0, 20, 40, 50, 60, 70, 80, 85, 90, 92, 94, 95, 96, 97, 98, 99)

# Points that are nearer to each other than this, in pixels, have no space for two notes.
_NEAR = 40

# A point of a front: size in 10^6 bits, scores, and what stands beside it.
Point = tuple[float, Scores, str]


def sensitivity(plain: Scores, layer_types: Sequence[LayerTypeScores], title: str) -> Figure:
    """Draws PSNR (for SR models) and accuracy over bits, a line a layer type, quantised alone.

    Bars are one standard error of the accuracy, as of words drawn at random. PSNR has none: all
    settings are compared on the same images.

    Args:
      plain: scores of the unquantised models, a grey line.
      layer_types: what `evaluation.sensitivity.study` returned.
      title: what was measured, on which data.
    """
    parts = [part for part in ("sr", "ocr") if any(kind.part == part for kind in layer_types)]
    # The recogniser changes no image, so that it has no PSNR of its own.
    scores = {"sr": ("psnr", "accuracy"), "ocr": ("accuracy",)}
    panels = [(part, score) for part in parts for score in scores[part]]
    names = {"psnr": "PSNR", "accuracy": "accuracy"}
    # One panel below the other: their text can be read on a page.
    figure = Figure(figsize=(8.4, 5.8 * len(panels)), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (part, score) in zip(
        figure.subplots(len(panels), 1, squeeze=False)[:, 0], panels, strict=True
    ):
        shown = [kind for kind in layer_types if kind.part == part]
        # Such as those of an STN that evaluation leaves out: they would lie on each other.
        idle = [kind for kind in shown if all(row.mean == plain.mean for row in kind.rows.values())]
        for number, kind in enumerate(kind for kind in shown if kind not in idle):
            bits = sorted(kind.rows)
            errors = [_standard_error(kind.rows[width]) for width in bits]
            # Beside each other, so that no bar hides another.
            moved = [width + 0.05 * (number - (len(shown) - len(idle) - 1) / 2) for width in bits]
            axes.errorbar(
                moved if score == "accuracy" else bits,
                [kind.rows[width].mean[score] for width in bits],
                yerr=errors if score == "accuracy" else None,
                elinewidth=0.7,
                color=_COLOURS[number % len(_COLOURS)],
                linestyle=_STYLES[number // len(_COLOURS) % len(_STYLES)],
                marker="o",
                markersize=3.5,
                label=f"{kind.name} ({_count(kind.parameters)})",
            )
        axes.axhline(plain.mean[score], color="0.5", linewidth=1)
        axes.annotate(
            "unquantised",
            (1, plain.mean[score]),
            xycoords=("axes fraction", "data"),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            color="0.4",
            fontsize=8,
        )
        what = {"sr": "SR model's", "ocr": "recogniser's"}[part]
        bars = ", with its standard error" if score == "accuracy" else ""
        _label(axes, f"{names[score]}{bars}: the {what} layer types", "bits", score)
        axes.set_xticks(sorted(layer_types[0].rows))
        # Below the axes: lines may run anywhere within.
        axes.legend(
            fontsize=7.5,
            loc="upper center",
            bbox_to_anchor=(0.5, -0.12),
            ncols=3,
            frameon=False,
            title="without effect: " + ", ".join(kind.name for kind in idle) if idle else None,
            title_fontsize=7.5,
        )
    figure.suptitle(title)
    return figure


def front(
    plain: Point,
    series: Sequence[tuple[str, Sequence[Point]]],
    winner: Point,
    title: str,
) -> Figure:
    """Draws accuracy and PSNR over size: series of settings, the unquantised models and the winner.

    Args:
      plain: the unquantised models.
      series: (name, points) in the order of size.
      winner: the setting that the search chose.
      title: what was measured, on which data.
    """
    figure = Figure(figsize=(8.4, 10.6), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, score in zip(figure.subplots(2, 1), ("accuracy", "psnr"), strict=True):
        for number, (name, points) in enumerate(series):
            axes.plot(
                [size for size, _, _ in points],
                [row.mean[score] for _, row, _ in points],
                color=_COLOURS[number % len(_COLOURS)],
                marker="os^"[number % 3],
                markersize=5,
                label=name,
            )
        size, row, note = winner
        axes.plot(size, row.mean[score], "*", color="#d55e00", markersize=15, label=note, zorder=3)
        size, row, note = plain
        axes.plot(size, row.mean[score], "D", color="0.4", markersize=6, label=note)
        axes.axhline(row.mean[score], color="0.8", linewidth=1, zorder=0)
        _label(axes, "", "size, 10^6 bits of live parameters (log scale)", score)
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(lambda size, _: f"{size:g}")
        axes.legend(fontsize=8, loc="lower right")
        for number, (_, points) in enumerate(series):
            _note(axes, points, score, _COLOURS[number % len(_COLOURS)])
    figure.suptitle(title)
    return figure


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
            color=_COLOURS[(number + 1) % len(_COLOURS)],
            markersize=5,
            alpha=0.75,
            label=split,
        )
    axes.errorbar(
        [judge.accuracy for judge in judges],
        [judge.gain for judge in judges],
        yerr=[judge.error for judge in judges],
        fmt="o",
        color=_COLOURS[0],
        markersize=9,
        capsize=3,
        label="mean of the splits",
    )
    # Strong readers lie close together: the axis is the logarithm of what they misread.
    axes.set_xscale("function", functions=(_strength, _accuracy))
    places = [float(_strength(judge.accuracy)) for judge in judges]
    spread = max(max(places) - min(places), 0.1)
    left, right = min(places) - 0.1 * spread, max(places) + 0.2 * spread
    axes.set_xlim(_accuracy(left), _accuracy(right))
    axes.set_xticks([tick for tick in _TICKS if left <= _strength(tick) <= right])
    # Names stand in a row above all points, with a line down to each.
    axes.margins(y=0.05)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.6 * (high - low))
    for judge, place in zip(judges, _apart(places, (right - left) / 22, left, right), strict=True):
        axes.annotate(
            f"{judge.name}  {judge.gain:+.1f}",
            (judge.accuracy, max(judge.gain, *judge.splits.values())),
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
    axes.legend(fontsize=8.5, loc="lower left")
    axes.set_title(title, fontsize=11)
    return figure


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
        colour = _COLOURS[number % len(_COLOURS)]
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


def _label(axes: Axes, title: str, x: str, score: str) -> None:
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(x)
    axes.set_ylabel({"psnr": "mean PSNR, dB", "accuracy": "mean accuracy, %"}[score])
    axes.grid(color="0.92")
    axes.spines[["top", "right"]].set_visible(False)


def _note(axes: Axes, points: Sequence[Point], score: str, colour: str) -> None:
    """Writes what stands beside points; points that lie together share a note, such as 5 to 8."""
    # Layout moves axes, and what is near depends on their size.
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()
    groups: list[list[Point]] = []
    for point in points:
        if not point[2]:
            continue
        place = axes.transData.transform((point[0], point[1].mean[score]))
        if groups:
            size, row, _ = groups[-1][-1]
            before = axes.transData.transform((size, row.mean[score]))
            if math.dist(place, before) < _NEAR:
                groups[-1].append(point)
                continue
        groups.append([point])
    for group in groups:
        notes = [note for _, _, note in group]
        size, row, _ = group[-1]
        axes.annotate(
            notes[0] if len(notes) == 1 else f"{notes[0]} to {notes[-1]}",
            (size, row.mean[score]),
            xytext=(6, -15),
            textcoords="offset points",
            fontsize=7.5,
            color=colour,
            # Lines of other series may run there.
            bbox={"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "pad": 1},
        )


def _standard_error(row: Scores) -> float:
    """Of the mean accuracy over splits, in points: each word is read rightly or not.

    A record without splits has that of all its words.
    """
    splits = row.splits.values() or [row.mean]
    shares = [(scores["accuracy"] / 100, scores["n"]) for scores in splits]
    variance = sum(share * (1 - share) / n for share, n in shares)
    return 100 * math.sqrt(variance) / len(shares)


def _count(parameters: int) -> str:
    if parameters < 1000:
        return str(parameters)
    if parameters < 1_000_000:
        return f"{parameters / 1000:.3g} k"
    return f"{parameters / 1e6:.3g} M"


def encoded(figure: Figure, format: str = "png") -> bytes:
    """Returns a figure as the content of an image file.

    Args:
      figure: of a function of this module.
      format: such as "png", "svg" or "pdf".
    """
    content = io.BytesIO()
    figure.savefig(content, format=format, dpi=110)
    return content.getvalue()
