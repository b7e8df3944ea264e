"""Results as tables on the screen."""

import os
from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from textsr_jax.report.values import (
    AblatedScores,
    LayerTypeScores,
    PhotographScores,
    Scores,
    SettingScores,
)

# More characters than any table takes.
_WIDE = 10_000


def print_rows(rows: Sequence[Scores], title: str) -> None:
    """Prints PSNR, SSIM and accuracy, a table each: every split and their plain mean.

    The last column of accuracy is the mean where case, punctuation and spaces count.

    Args:
      rows: of the same splits.
      title: which models, on which data.
    """
    splits = list(rows[0].splits)
    print(title)
    # Of images that two recognisers read, PSNR and SSIM are the same.
    images = list({row.sr: row for row in rows}.values())
    psnr = new_table("PSNR, dB", ["SR"], [*splits, "mean", "by batch"])
    ssim = new_table("SSIM", ["SR"], [*splits, "mean"])
    for row in images:
        scores = [*row.splits.values(), row.mean]
        by_batch = _number(row.mean["psnr_batch"], 2)
        psnr.add_row(row.sr, *(_number(score["psnr"], 2) for score in scores), by_batch)
        ssim.add_row(row.sr, *(_number(score["ssim"], 3) for score in scores))
    accuracy = new_table("accuracy, %", ["SR", "recogniser"], [*splits, "mean", "as written"])
    for row in rows:
        scores = [*row.splits.values(), row.mean]
        figures = [_number(score["accuracy"], 1) for score in scores]
        accuracy.add_row(row.sr, row.ocr, *figures, _number(row.mean["as_written"], 1))
    print_table(psnr)
    print_table(ssim)
    print_table(accuracy, keys=2)
    counts = ", ".join(f"{split} {rows[0].splits[split]['n']}" for split in splits)
    print(f"words: {counts}")
    print("by batch: PSNR of the error of 16 images, as the published code has it")
    print("as written: the mean where case, punctuation and spaces count too")


def print_photographs(rows: Sequence[PhotographScores], title: str) -> None:
    """Prints PSNR and SSIM of each folder, a table each, a row per way to halve and enlarge."""
    folders = rows[0].folders
    names = [f"{folder}\n{scores['n']} images" for folder, scores in folders.items()]
    print(title)
    for score, what, places in (("psnr", "PSNR, dB", 2), ("ssim", "SSIM", 4)):
        table = new_table(what, ["halved by", "enlarged by"], names)
        for row in rows:
            figures = [_number(scores[score], places) for scores in row.folders.values()]
            table.add_row(row.down, row.up, *figures)
        print_table(table, keys=2)
    print("on the Y channel, 8-bit images, without a border of 2 pixels")


def print_settings(
    settings: Sequence[SettingScores],
    title: str,
    marked: Sequence[SettingScores] = (),
    mark: str = "",
) -> None:
    """Prints a row per quantisation setting, in the columns of the paper's Table 2.

    Args:
      settings: the rows.
      title: what they are, on which data.
      marked: settings that replace the row of the same target, bits and prior, with a star.
      mark: what the star means, for the line below.
    """
    starred = {(one.target, one.bits, one.prior): one for one in marked}
    texts = ["SR", "quantised", "bits", "prior"]
    figures = ["PSNR\ndB", "accuracy\n%", "size\n10^6\nbits", "stored\n10^6\nbits"]
    table = new_table(title, texts, figures)
    for setting in settings:
        bits = "-" if setting.bits is None else f"{setting.bits:g}"
        setting = starred.get((setting.target, setting.bits, setting.prior), setting)
        table.add_row(
            setting.row.sr,
            setting.target,
            bits + " *" * (setting in marked),
            setting.prior or "-",
            _number(setting.row.mean["psnr"], 2),
            _number(setting.row.mean["accuracy"], 2),
            _number(setting.size_mbit, 2),
            _number(setting.stored_bytes and 8 * setting.stored_bytes / 1e6, 2),
        )
    print_table(table, keys=4)
    if marked:
        print(f"* {mark}")


def print_sensitivity(plain: Scores, layer_types: Sequence[LayerTypeScores], title: str) -> None:
    """Prints PSNR and accuracy at each number of bits, a row per layer type, quantised alone.

    The recogniser changes no image, so that its layer types have no PSNR of their own.
    """
    widths = sorted(layer_types[0].rows)
    print(title)
    for score, what, places in (("psnr", "PSNR, dB", 2), ("accuracy", "accuracy, %", 1)):
        shown = [kind for kind in layer_types if score == "accuracy" or kind.part == "sr"]
        if not shown:
            continue
        table = new_table(
            f"{what}, by bits", ["quantised alone"], ["parameters", *(f"{w:g}" for w in widths)]
        )
        rows: list[tuple[str, int, Mapping[float, Scores]]]
        rows = [("nothing", 0, dict.fromkeys(widths, plain))]
        rows += [(kind.name, kind.parameters, kind.rows) for kind in shown]
        for name, parameters, scores in rows:
            figures = [_number(scores[width].mean[score], places) for width in widths]
            table.add_row(name, f"{parameters:,}", *figures)
        print_table(table)


def print_ablation(plain: Scores, settings: Sequence[AblatedScores], title: str) -> None:
    """Prints PSNR, accuracy and size at each number of bits: a table each, a row a method."""
    widths = sorted({setting.bits for setting in settings})
    scores = {name: plain.mean[name] for name in ("psnr", "accuracy")}
    print(f"{title}; unquantised {scores['psnr']:.2f} dB and {scores['accuracy']:.2f} %")
    for selection in dict.fromkeys(setting.selection for setting in settings):
        shown = [setting for setting in settings if setting.selection == selection]
        figures = [
            f"{what}\n{width:g} bits" for what in ("dB", "%", "10^6 bits") for width in widths
        ]
        table = new_table(f"quantised: {selection}", ["method"], figures)
        for method in dict.fromkeys(setting.method for setting in shown):
            by_bits = {setting.bits: setting for setting in shown if setting.method == method}
            ways = [by_bits[width] for width in widths]
            table.add_row(
                method,
                *(_number(way.row.mean["psnr"], 2) for way in ways),
                *(_number(way.row.mean["accuracy"], 2) for way in ways),
                *(_number(way.size_mbit, 2) for way in ways),
            )
        print_table(table)


def print_bits(sizes: dict[str, int], bits: dict[str, int], title: str) -> None:
    """Prints how many bits each group of layers got."""
    table = new_table(title, ["group of layers"], ["parameters", "bits"])
    for group, size in sizes.items():
        table.add_row(group, f"{size:,}", str(bits[group]))
    print_table(table)


def _number(value: float | None, places: int) -> str:
    return "-" if value is None else f"{value:.{places}f}"


def new_table(title: str, texts: Sequence[str], figures: Sequence[str]) -> Table:
    """A table without rows: columns of text, then columns of figures, which end at the right.

    Args:
      title: printed above it, over the whole width.
      texts, figures: headers of the columns; line breaks keep them narrow.
    """
    table = Table(title=title)
    for name in texts:
        table.add_column(name)
    for name in figures:
        table.add_column(name, justify="right")
    return table


def print_table(table: Table, keys: int = 1) -> None:
    """Prints a table without cutting or wrapping a cell.

    On a screen that is too narrow, groups of columns follow each other, each with the first `keys`
    columns, which name the rows. A pipe has no width: all columns stand side by side.

    Args:
      table: of one line a cell.
      keys: how many columns name a row.
    """
    console = Console()
    width = _WIDE
    # Somebody who sets COLUMNS for a pipe means it.
    if console.is_terminal or os.environ.get("COLUMNS", "").isdigit():
        width = console.width
    if table.title:
        console.print(table.title, highlight=False, markup=False, soft_wrap=True)
    names = range(min(keys, len(table.columns)))
    shown, rest = [], list(range(keys, len(table.columns)))
    while rest:
        shown.append(rest.pop(0))
        if not rest or _width(_chosen(table, [*names, *shown, rest[0]])) > width:
            part = _chosen(table, [*names, *shown])
            Console(width=max(width, _width(part))).print(part)
            print()
            shown = []


def _chosen(table: Table, numbers: Sequence[int]) -> Table:
    """Some columns of a table, without its title."""
    columns = [table.columns[number] for number in numbers]
    part = Table(box=box.SIMPLE_HEAD, show_edge=False, collapse_padding=True)
    for column in columns:
        part.add_column(Text(str(column.header)), justify=column.justify, no_wrap=True)
    for cells in zip(*(column.cells for column in columns), strict=True):
        # Names may hold brackets, which Rich would take for its markup.
        part.add_row(*(Text(str(cell)) for cell in cells))
    return part


def _width(table: Table) -> int:
    return Console(width=_WIDE).measure(table).maximum
