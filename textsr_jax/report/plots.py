"""Plots: what quantising each layer type costs, size and accuracy, and how true confidence is."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from textsr_jax.evaluation.protocol import Row
from textsr_jax.evaluation.sensitivity import LayerType
from textsr_jax.storage import atomic

# Colours that colour-blind people can tell apart (Okabe and Ito), then other line styles.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_STYLES = ("-", "--", ":")

# A point of a front: size in 10^6 bits, scores, and what stands beside it.
Point = tuple[float, Row, str]


def sensitivity(
    path: str | pathlib.Path, plain: Row, layer_types: Sequence[LayerType], title: str
) -> None:
    """Draws PSNR (for SR models) and accuracy over bits, a line a layer type, quantised alone.

    Args:
      path: the PNG to write.
      plain: scores of the unquantised pair, a grey line.
      layer_types: what `evaluation.sensitivity.study` returned.
      title: what was measured, on which data.

    Raises:
      UserError: the file cannot be written.
    """
    parts = [part for part in ("sr", "ocr") if any(kind.part == part for kind in layer_types)]
    # The recogniser changes no image, so that it has no PSNR of its own.
    scores = {"sr": ("psnr", "accuracy"), "ocr": ("accuracy",)}
    panels = [(part, score) for part in parts for score in scores[part]]
    figure = Figure(figsize=(6.2 * len(panels), 6.6), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (part, score) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
    ):
        for number, kind in enumerate(kind for kind in layer_types if kind.part == part):
            bits = sorted(kind.rows)
            axes.plot(
                bits,
                [kind.rows[width].mean[score] for width in bits],
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
        what = {"sr": "SR model", "ocr": "recogniser"}[part]
        _label(axes, f"layer types of the {what}, each alone", "bits", score)
        axes.set_xticks(bits)
        # Below the axes: lines may run anywhere within.
        axes.legend(
            fontsize=7.5, loc="upper center", bbox_to_anchor=(0.5, -0.11), ncols=3, frameon=False
        )
    figure.suptitle(title)
    _save(figure, path)


def front(
    path: str | pathlib.Path,
    plain: Point,
    series: Sequence[tuple[str, Sequence[Point]]],
    winner: Point,
    title: str,
) -> None:
    """Draws accuracy and PSNR over size: series of settings, the unquantised pair and the winner.

    Args:
      path: the PNG to write.
      plain: the unquantised pair.
      series: (name, points) in the order of size.
      winner: the setting that the search chose.
      title: what was measured, on which data.

    Raises:
      UserError: the file cannot be written.
    """
    figure = Figure(figsize=(13, 5.6), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, score in zip(figure.subplots(1, 2), ("accuracy", "psnr"), strict=True):
        for number, (name, points) in enumerate(series):
            axes.plot(
                [size for size, _, _ in points],
                [row.mean[score] for _, row, _ in points],
                color=_COLOURS[number % len(_COLOURS)],
                marker="os^"[number % 3],
                markersize=5,
                label=name,
            )
            for size, row, note in points:
                axes.annotate(
                    note,
                    (size, row.mean[score]),
                    xytext=(4, -10),
                    textcoords="offset points",
                    fontsize=7.5,
                    color=_COLOURS[number % len(_COLOURS)],
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
    figure.suptitle(title)
    _save(figure, path)


def reliability(path: str | pathlib.Path, rows: Sequence[Mapping[str, Any]], title: str) -> None:
    """Draws accuracy over confidence before and after calibration, a panel each.

    Args:
      path: the PNG to write.
      rows: what `report.calibration.measure` gives; those of the test words are drawn.
      title: what was measured, on which data.

    Raises:
      UserError: the file cannot be written.
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
    _save(figure, path)


def _label(axes: Axes, title: str, x: str, score: str) -> None:
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(x)
    axes.set_ylabel({"psnr": "mean PSNR, dB", "accuracy": "mean accuracy, %"}[score])
    axes.grid(color="0.92")
    axes.spines[["top", "right"]].set_visible(False)


def _count(parameters: int) -> str:
    if parameters < 1000:
        return str(parameters)
    if parameters < 1_000_000:
        return f"{parameters / 1000:.3g} k"
    return f"{parameters / 1e6:.3g} M"


def _save(figure: Figure, path: str | pathlib.Path) -> None:
    with atomic.replacing(path, parents=True) as stream:
        figure.savefig(stream, format=pathlib.Path(path).suffix[1:] or "png", dpi=110)
