"""Results as tables on the screen and as JSON files."""

import json
import pathlib
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from textsr_jax.evaluation.photographs import PhotographRow
from textsr_jax.evaluation.protocol import Row
from textsr_jax.evaluation.quantized import Setting
from textsr_jax.evaluation.sensitivity import LayerType
from textsr_jax.storage import atomic


def write_json(path: str | pathlib.Path, content: Any) -> None:
    """Writes a JSON file whole or not at all, its folder made where it is missing.

    Raises:
      UserError: the file cannot be written.
    """
    plain = json.dumps(content, indent=2, allow_nan=False) + "\n"
    atomic.write_text(path, plain, parents=True)


def print_rows(rows: Sequence[Row], title: str) -> None:
    """Prints a row per model: PSNR, SSIM and accuracy of each split and of their plain mean."""
    splits = list(rows[0].splits)
    table = Table(title=title)
    table.add_column("SR")
    table.add_column("recogniser")
    columns = [("PSNR", split, "dB") for split in (*splits, "mean")]
    columns += [("PSNR", "mean", "by batch")]
    columns += [("SSIM", split, "") for split in (*splits, "mean")]
    columns += [("accuracy", split, "%") for split in (*splits, "mean")]
    for column in columns:
        table.add_column("\n".join(column), justify="right")
    for row in rows:
        scores = [*row.splits.values(), row.mean]
        table.add_row(
            row.sr,
            row.ocr,
            *(_number(score["psnr"], 2) for score in scores),
            _number(row.mean["psnr_batch"], 2),
            *(_number(score["ssim"], 3) for score in scores),
            *(_number(score["accuracy"], 1) for score in scores),
        )
    print_table(table)
    counts = ", ".join(f"{split} {rows[0].splits[split]['n']}" for split in splits)
    print(
        f"words: {counts}; PSNR by batch: of the error of 16 images, as the published code has it"
    )


def print_photographs(rows: Sequence[PhotographRow], title: str) -> None:
    """Prints a row per way to halve and enlarge: PSNR and SSIM of each folder."""
    folders = rows[0].folders
    table = Table(title=title)
    table.add_column("halved by")
    table.add_column("enlarged by")
    for folder, scores in folders.items():
        for score, unit in (("PSNR", "dB"), ("SSIM", f"{scores['n']} images")):
            table.add_column(f"{score}\n{folder}\n{unit}", justify="right")
    for row in rows:
        figures = [
            _number(scores[name], places)
            for scores in row.folders.values()
            for name, places in (("psnr", 2), ("ssim", 4))
        ]
        table.add_row(row.down, row.up, *figures)
    print_table(table)
    print("on the Y channel, 8-bit images, without a border of 2 pixels")


def print_settings(settings: Sequence[Setting], title: str) -> None:
    """Prints a row per quantisation setting, in the columns of the paper's Table 2."""
    table = Table(title=title)
    for name in ("SR", "quantised", "bits", "prior"):
        table.add_column(name)
    for name in ("PSNR\ndB", "accuracy\n%", "size\n10^6 bits", "stored\n10^6 bits"):
        table.add_column(name, justify="right")
    for setting in settings:
        table.add_row(
            setting.row.sr,
            setting.target,
            "-" if setting.bits is None else f"{setting.bits:g}",
            setting.prior or "-",
            _number(setting.row.mean["psnr"], 2),
            _number(setting.row.mean["accuracy"], 2),
            _number(setting.size_mbit, 2),
            _number(setting.stored_bytes and 8 * setting.stored_bytes / 1e6, 2),
        )
    print_table(table)


def print_sensitivity(plain: Row, layer_types: Sequence[LayerType], title: str) -> None:
    """Prints PSNR and accuracy at each number of bits, a row per layer type, quantised alone.

    The recogniser changes no image, so that its layer types have no PSNR of their own.
    """
    widths = sorted(layer_types[0].rows)
    for score, what, places in (("psnr", "PSNR, dB", 2), ("accuracy", "accuracy, %", 1)):
        shown = [kind for kind in layer_types if score == "accuracy" or kind.part == "sr"]
        if not shown:
            continue
        table = Table(title=f"{what}, {title}")
        table.add_column("quantised alone", no_wrap=True)
        table.add_column("parameters", justify="right")
        for width in widths:
            table.add_column(f"{width} bits", justify="right")
        rows = [("nothing", 0, dict.fromkeys(widths, plain))]
        rows += [(kind.name, kind.parameters, kind.rows) for kind in shown]
        for name, parameters, scores in rows:
            figures = [_number(scores[width].mean[score], places) for width in widths]
            table.add_row(name, f"{parameters:,}", *figures)
        print_table(table)


def print_bits(sizes: dict[str, int], bits: dict[str, int], title: str) -> None:
    """Prints how many bits each group of layers got."""
    table = Table(title=title)
    table.add_column("group of layers")
    table.add_column("parameters", justify="right")
    table.add_column("bits", justify="right")
    for group, size in sizes.items():
        table.add_row(group, f"{size:,}", str(bits[group]))
    print_table(table)


def _number(value: float | None, places: int) -> str:
    return "-" if value is None else f"{value:.{places}f}"


def print_table(table: Table) -> None:
    """Prints a table; in a pipe 160 characters wide at most."""
    console = Console()
    # A pipe has no width; tables that wrap there cannot be read.
    if not console.is_terminal:
        console = Console(width=160)
    console.print(table)
