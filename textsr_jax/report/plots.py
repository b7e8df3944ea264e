"""Plots of quantised models: what each layer type costs, and scores over size.

Functions return figures of matplotlib; `encoded` makes the content of a file of one.
"""

import io
import math
from collections.abc import Sequence

from textsr_jax.errors import needs
from textsr_jax.report.values import AblatedScores, LayerTypeScores, Scores

with needs("plots"):
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

# Colours that colour-blind people can tell apart (Okabe and Ito), then other line styles.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_STYLES = ("-", "--", ":")

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
                color=COLOURS[number % len(COLOURS)],
                linestyle=_STYLES[number // len(COLOURS) % len(_STYLES)],
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
                color=COLOURS[number % len(COLOURS)],
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
            _note(axes, points, score, COLOURS[number % len(COLOURS)])
    figure.suptitle(title)
    return figure


def ablation(plain: Scores, settings: Sequence[AblatedScores], title: str) -> Figure:
    """Draws accuracy and PSNR over bits, a line for each method, a column for each selection.

    Args:
      plain: scores of the unquantised models, a grey line.
      settings: what `evaluation.quantization.ablation.ablate` returned.
      title: what was measured, on which data.
    """
    selections = list(dict.fromkeys(setting.selection for setting in settings))
    methods = list(dict.fromkeys(setting.method for setting in settings))
    figure = Figure(figsize=(4.4 * len(selections), 8), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, len(selections), sharey="row", squeeze=False)
    for row, score in zip(panels, ("accuracy", "psnr"), strict=True):
        for axes, selection in zip(row, selections, strict=True):
            for number, method in enumerate(methods):
                line = sorted(
                    (setting.bits, setting.row.mean[score])
                    for setting in settings
                    if (setting.selection, setting.method) == (selection, method)
                )
                axes.plot(
                    *zip(*line, strict=True),
                    color=COLOURS[number % len(COLOURS)],
                    linestyle=_STYLES[number // len(COLOURS) % len(_STYLES)],
                    marker="o",
                    markersize=3.5,
                    label=method,
                )
            axes.axhline(plain.mean[score], color="0.5", linewidth=1)
            axes.set_xticks(sorted({setting.bits for setting in settings}))
            _label(axes, selection, "bits", score)
    figure.legend(
        *panels[0, 0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=3,
        fontsize=7.5,
        frameon=False,
        title="grey: unquantised",
        title_fontsize=7.5,
    )
    figure.suptitle(title, fontsize=10)
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
