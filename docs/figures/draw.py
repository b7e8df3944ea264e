"""Draws the figures of the documentation as SVG files beside this one: python docs/figures/draw.py

Figures are narrow, so that their text can be read on a page and on a phone.
"""

import pathlib

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch
from PIL import Image

HERE = pathlib.Path(__file__).parent
IMAGES = HERE.parent / "images"

# Colours by what a box is: an image or text, a network that learns, one that is frozen, a step
# without parameters, a loss.
IMAGE, LEARNS, FROZEN, STEP, LOSS = "#f4f4f4", "#cfe3f7", "#e6e6ea", "#ffffff", "#fbe3c8"
LINE, TEXT, SOFT = "#40454d", "#1d2126", "#60666f"
SIZE = 10.5

# Two runs write the same bytes.
matplotlib.rcParams["svg.hashsalt"] = "textsr_jax"
matplotlib.rcParams["font.family"] = "DejaVu Sans"


def canvas(width: float, height: float) -> tuple[plt.Figure, Axes]:
    """An empty figure whose units are tenths of an inch, from the top left corner."""
    figure = plt.figure(figsize=(width / 10, height / 10))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    return figure, axes


def box(
    axes: Axes,
    x: float,
    y: float,
    width: float,
    height: float,
    title: str,
    detail: str = "",
    colour: str = STEP,
) -> None:
    """A box around (x, y, width, height), with a bold title and details below it."""
    axes.add_patch(
        FancyBboxPatch(
            (x + 0.6, y + 0.6),
            width - 1.2,
            height - 1.2,
            boxstyle="round,pad=0.6,rounding_size=0.8",
            facecolor=colour,
            edgecolor=LINE,
            linewidth=1,
        )
    )
    lines = 1 + detail.count("\n") if detail else 0
    middle = y + height / 2
    axes.text(
        x + width / 2,
        middle - 0.85 * lines,
        title,
        ha="center",
        va="center",
        fontsize=SIZE,
        fontweight="bold",
        color=TEXT,
        linespacing=1.25,
    )
    if detail:
        axes.text(
            x + width / 2,
            middle + 0.95 * (1 + title.count("\n")),
            detail,
            ha="center",
            va="center",
            fontsize=SIZE - 1.5,
            color=TEXT,
            linespacing=1.3,
        )


def arrow(axes: Axes, *points: tuple[float, float], dashed: bool = False) -> None:
    """A line through the points with an arrow head at its end."""
    style = {"color": LINE, "linewidth": 1.2, "linestyle": (0, (4, 2)) if dashed else "-"}
    if len(points) > 2:
        axes.plot(*zip(*points[:-1], strict=True), solid_capstyle="butt", **style)
    axes.annotate(
        "",
        points[-1],
        points[-2],
        arrowprops={"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 0, "mutation_scale": 12, **style},
    )


def note(axes: Axes, x: float, y: float, text: str, **kwargs: object) -> None:
    """Small text at (x, y), by default to the right of it."""
    given = {"ha": "left", "va": "center", "fontsize": SIZE - 1.5, "color": SOFT} | kwargs
    axes.text(x, y, text, linespacing=1.3, **given)


def picture(axes: Axes, x: float, y: float, width: float, name: str, detail: str) -> None:
    """An image of a word, four times as wide as high, with a text at its right."""
    pixels = np.asarray(Image.open(IMAGES / name).convert("RGB"))
    height = width / 4
    axes.imshow(
        pixels, extent=(x, x + width, y + height, y), aspect="auto", interpolation="nearest"
    )
    axes.plot(
        [x, x + width, x + width, x, x],
        [y, y, y + height, y + height, y],
        color=LINE,
        linewidth=0.8,
    )
    note(axes, x + width + 1.2, y + height / 2, detail)


def pipeline() -> plt.Figure:
    """From an image to its text."""
    figure, axes = canvas(53, 60)
    box(axes, 8, 1, 26, 6, "an image of a word", "any size, any aspect", IMAGE)
    arrow(axes, (21, 7), (21, 9.5))
    box(axes, 8, 9.5, 26, 6, "crops", "windows, words, turns")
    arrow(axes, (21, 15.5), (21, 18))
    picture(axes, 10, 18, 22, "word.png", "LR, 16×64 pixels")
    arrow(axes, (21, 23.5), (21, 26))
    box(axes, 8, 26, 26, 7.5, "SR model", "STN, in training only\nEDSR, twice the size", LEARNS)
    arrow(axes, (21, 33.5), (21, 36))
    picture(axes, 10, 36, 22, "word_sr.png", "SR\n32×128")
    arrow(axes, (21, 41.5), (21, 44))
    box(axes, 8, 44, 26, 6, "recogniser", "CDistNet", LEARNS)
    arrow(axes, (21, 50), (21, 52.5))
    box(axes, 8, 52.5, 26, 6, "honesty, 100 %", "beam search, likely English", IMAGE)
    # What is sharp goes past the SR model.
    arrow(axes, (8, 12.5), (4, 12.5), (4, 47), (8, 47), dashed=True)
    note(axes, 2.4, 29.5, "a sharp image is not enlarged", rotation=90, ha="center")
    # Both networks can be quantised.
    axes.plot([39, 40.5, 40.5, 39], [27, 27, 49.5, 49.5], color=LINE, linewidth=1)
    note(axes, 41.6, 38.3, "quantised\nby ACIQ:\n2 to 8 bits\na weight", va="center")
    return figure


def stages() -> plt.Figure:
    """The two stages of training."""
    figure, axes = canvas(52, 77.5)
    note(axes, 1, 2, "Stage 1: the SR model", fontsize=SIZE + 1, fontweight="bold", color=TEXT)
    box(axes, 1, 5, 20, 5, "LR image", "", IMAGE)
    box(axes, 31, 5, 20, 5, "HR image", "", IMAGE)
    arrow(axes, (11, 10), (11, 12.5))
    box(axes, 1, 12.5, 20, 6, "STN + EDSR", "learns", LEARNS)
    arrow(axes, (11, 18.5), (11, 21))
    box(axes, 1, 21, 20, 5, "SR image", "", IMAGE)
    arrow(axes, (11, 26), (11, 28.5))
    arrow(axes, (41, 10), (41, 28.5))
    box(axes, 1, 28.5, 50, 6.5, "text-focus recogniser", "frozen, reads both images", FROZEN)
    arrow(axes, (11, 35), (11, 37.5))
    arrow(axes, (41, 35), (41, 37.5))
    box(
        axes,
        1,
        37.5,
        50,
        8.5,
        "text-focus loss",
        "MSE of SR and HR  +  10 × difference of attention\n+  0.0005 × cross-entropy of the label",
        LOSS,
    )
    axes.plot([1, 51], [49, 49], color="#c4c8cd", linewidth=1)
    note(axes, 1, 52, "Stage 2: the recogniser", fontsize=SIZE + 1, fontweight="bold", color=TEXT)
    box(axes, 1, 55, 14, 5, "LR image", "", IMAGE)
    arrow(axes, (15, 57.5), (18.5, 57.5))
    box(axes, 18.5, 54.5, 16, 6, "SR model", "frozen", FROZEN)
    arrow(axes, (34.5, 57.5), (38, 57.5))
    box(axes, 38, 55, 13, 5, "SR image", "", IMAGE)
    arrow(axes, (44.5, 60), (44.5, 63.5))
    box(axes, 31.5, 63.5, 19.5, 6, "CDistNet", "learns", LEARNS)
    box(axes, 1, 64, 14, 5, "label", "", IMAGE)
    arrow(axes, (31.5, 66.5), (25, 66.5), (25, 71.5))
    arrow(axes, (8, 69), (8, 71.5))
    box(axes, 1, 71.5, 50, 5, "cross-entropy, smoothed by 0.1", "", LOSS)
    return figure


def cdistnet() -> plt.Figure:
    """CDistNet with one of its three MDCDP blocks."""
    figure, axes = canvas(56, 81.5)
    box(axes, 1, 1, 16, 6, "SR image", "32×128", IMAGE)
    box(axes, 20, 1, 16, 6, "positions", "sine, cosine", IMAGE)
    box(axes, 39, 1, 16, 6, "text so far", "h, o, n, …", IMAGE)
    for middle in (9, 28, 47):
        arrow(axes, (middle, 7), (middle, 9.5))
    box(
        axes,
        1,
        9.5,
        16,
        13.5,
        "visual",
        "TPS rectifier\nResNet45\n64 tokens\n3 encoder layers",
        LEARNS,
    )
    box(axes, 20, 9.5, 16, 13.5, "positional", "linear, ReLU,\nlinear, added,\nLayerNorm", LEARNS)
    box(axes, 39, 9.5, 16, 13.5, "semantic", "embedding\n+ position", LEARNS)
    # The block.
    axes.add_patch(
        FancyBboxPatch(
            (0.9, 27.1),
            54.2,
            37.2,
            boxstyle="round,pad=0,rounding_size=1",
            facecolor="#f8fafc",
            edgecolor=LINE,
            linewidth=1,
            linestyle=(0, (4, 2)),
        )
    )
    note(axes, 2, 62.7, "MDCDP, 3 blocks", fontweight="bold", color=TEXT)
    arrow(axes, (28, 23), (28, 29.5))
    box(axes, 16, 29.5, 24, 6, "self-attention", "masked", LEARNS)
    arrow(axes, (24, 35.5), (24, 38), (14, 38), (14, 41))
    arrow(axes, (32, 35.5), (32, 38), (42, 38), (42, 41))
    note(axes, 23, 39.2, "query", ha="right", fontsize=SIZE - 2)
    note(axes, 33, 39.2, "query", ha="left", fontsize=SIZE - 2)
    box(axes, 5, 41, 20, 6, "cross-attention", "to visual tokens", LEARNS)
    box(axes, 31, 41, 20, 6, "cross-attention", "to semantic tokens", LEARNS)
    arrow(axes, (3, 23), (3, 44), (5, 44))
    arrow(axes, (53, 23), (53, 44), (51, 44))
    arrow(axes, (15, 47), (15, 50))
    arrow(axes, (41, 47), (41, 50))
    box(
        axes,
        5,
        50,
        46,
        8.5,
        "gated fusion",
        "g = sigmoid(linear(visual, semantic))\ng × semantic + (1 − g) × visual",
        LEARNS,
    )
    arrow(axes, (28, 58.5), (28, 67.5))
    note(axes, 29, 61.3, "positional stream of the next block", fontsize=SIZE - 2)
    box(axes, 14, 67.5, 28, 5, "linear: 40 classes", "", LEARNS)
    arrow(axes, (28, 72.5), (28, 75.5))
    box(axes, 14, 75.5, 28, 5, "the next character", "", IMAGE)
    return figure


def packed_file() -> plt.Figure:
    """What a packed file holds, in its order."""
    figure, axes = canvas(50, 56)
    left, width = 1, 33
    rows = [
        (5, "magic and digest", "SHA-256 of the whole file", FROZEN),
        (
            14,
            "record, JSON",
            "config and alphabet\nrules, prior and bits of each array\n"
            "shape and dtype of each array\ncommit, data set, scores",
            FROZEN,
        ),
        (6.5, "codes", "M bits each, packed", LEARNS),
        (6.5, "ranges", "an offset and a scale each", LEARNS),
        (6.5, "arrays left in float32", "biases, norms, statistics", IMAGE),
    ]
    top = 1.0
    edges = []
    for height, title, detail, colour in rows:
        box(axes, left, top, width, height, title, detail, colour)
        edges.append((top, top + height))
        top += height + 0.4
    axes.plot(
        [35, 36, 36, 35], [edges[0][0], edges[0][0], edges[1][1], edges[1][1]], color=LINE, lw=1
    )
    note(axes, 37, (edges[0][0] + edges[1][1]) / 2, "safetensors\nheader")
    axes.plot(
        [35, 36, 36, 35], [edges[2][0], edges[2][0], edges[4][1], edges[4][1]], color=LINE, lw=1
    )
    note(axes, 37, (edges[2][0] + edges[4][1]) / 2, "safetensors\narrays")
    base = top + 3
    note(
        axes, 1, base, "value = offset + code × scale", color=TEXT, fontsize=SIZE, fontweight="bold"
    )
    codes = [3, 11, 0, 15, 7, 8]
    cell = 3.6
    for number, code in enumerate(codes):
        x = 1 + number * cell
        axes.add_patch(
            plt.Rectangle((x, base + 2), cell, 3, facecolor=LEARNS, edgecolor=LINE, lw=0.8)
        )
        axes.text(
            x + cell / 2,
            base + 3.5,
            format(code, "04b"),
            ha="center",
            va="center",
            fontsize=SIZE - 1.5,
            family="DejaVu Sans Mono",
            color=TEXT,
        )
    note(axes, 1 + 6 * cell + 1, base + 3.5, "codes of 4 bits: six in three bytes")
    axes.set_ylim(base + 6, 0)
    figure.set_size_inches(5.0, (base + 6) / 10)
    return figure


FIGURES = {
    "pipeline": pipeline,
    "stages": stages,
    "cdistnet": cdistnet,
    "packed_file": packed_file,
}


def main() -> None:
    for name, draw in FIGURES.items():
        figure = draw()
        figure.savefig(
            HERE / f"{name}.svg", facecolor="white", metadata={"Date": None, "Creator": None}
        )
        plt.close(figure)
        print(HERE / f"{name}.svg")


if __name__ == "__main__":
    main()
