"""Sections about quantised models: scores over size and over bits, as quantize.py wrote them."""

from collections.abc import Mapping, Sequence
from typing import Any

from textsr_jax.report.page import tables
from textsr_jax.report.page.charts import Line, chart

_SCORES = (("accuracy", "mean accuracy, %"), ("psnr", "mean PSNR, dB"))


def quantized(content: Mapping[str, Any]) -> str:
    """Returns every setting that was scored: charts over size, and tables."""
    found = content["settings"]
    plain = next((row for row in found if row["target"] == "none"), None)
    lines: dict[str, list[Mapping[str, Any]]] = {}
    for row in found:
        if row["target"] != "none":
            lines.setdefault(f"{row['target']}, {row['prior']}", []).append(row)
    shown = _by_size(
        {name: sorted(rows, key=lambda row: row["size_mbit"]) for name, rows in lines.items()},
        plain,
    )
    table2 = content.get("table2")
    if table2:
        shown += f"<h3>As the paper's Table 2</h3>{tables.settings(table2)}"
    return f"{shown}<h3>Every setting</h3>{tables.settings(found)}"


def search(content: Mapping[str, Any]) -> str:
    """Returns the front of chosen bits beside uniform bits, and the bits of the choice."""
    test = content["test"]
    chosen = {**test["chosen"], "size_mbit": content["size_mbit"]}
    lines = {
        "bits chosen by group": content["front"],
        "uniform bits": content["uniform"],
        "the choice": [chosen],
    }
    shown = _by_size(lines, test["unquantised"])
    bits = [[group, width] for group, width in content.get("bits", {}).items()]
    return shown + tables.table(["group of layers", "bits"], bits)


def _bits(row: Mapping[str, Any]) -> str:
    """The bits of a setting of uniform bits; empty where each group of layers has its own."""
    bits = row.get("bits")
    return f"{bits:g} bits" if isinstance(bits, int | float) else ""


def _by_size(
    lines: Mapping[str, Sequence[Mapping[str, Any]]],
    plain: Mapping[str, Any] | None,
) -> str:
    """Charts of accuracy and PSNR over size, a line for each name."""
    shown = []
    for score, title in _SCORES:
        drawn = [
            Line(
                name,
                [(row["size_mbit"], row["mean"][score]) for row in rows],
                [
                    f"{name} {_bits(row)}: {row['mean'][score]:.2f}, {row['size_mbit']:.2f} x 10^6"
                    for row in rows
                ],
            )
            for name, rows in lines.items()
            if all(row["mean"][score] is not None for row in rows)
        ]
        level = plain["mean"][score] if plain else None
        axis = "size, 10^6 bits of live parameters"
        shown.append(
            chart(title, drawn, axis, level=level, level_name="unquantised", logarithmic=True)
        )
    return f'<div class="charts">{"".join(shown)}</div>'


def sensitivity(content: Mapping[str, Any]) -> str:
    """Returns charts over bits, a line for each layer type quantised alone."""
    kinds = content["layer_types"]
    by_bits = {
        (f"{what}: {score}", score): {
            kind["name"]: sorted(
                (float(bits), row["mean"][score]) for bits, row in kind["rows"].items()
            )
            for kind in kinds
            if kind["part"] == part
        }
        for part, what, scores in (
            ("sr", "SR model", ("accuracy", "psnr")),
            ("ocr", "recogniser", ("accuracy",)),
        )
        for score in scores
    }
    return _by_bits(by_bits, content["unquantised"])


def ablation(content: Mapping[str, Any]) -> str:
    """Returns charts over bits, a line for each way to quantise."""
    by_bits: dict[tuple[str, str], dict[str, list[tuple[float, float]]]] = {}
    for row in content["ablation"]:
        for score, _ in _SCORES:
            lines = by_bits.setdefault((f"{row['selection']}: {score}", score), {})
            lines.setdefault(row["method"], []).append((row["bits"], row["mean"][score]))
    return _by_bits(by_bits, content["unquantised"])


def _by_bits(
    panels: Mapping[tuple[str, str], Mapping[str, Sequence[tuple[float, float]]]],
    plain: Mapping[str, Any],
) -> str:
    """Charts over bits, one for each (title, score), a line for each name."""
    shown = [
        chart(
            title,
            [Line(name, sorted(points)) for name, points in lines.items()],
            "bits",
            level=plain["mean"][score],
            level_name="unquantised",
        )
        for (title, score), lines in panels.items()
    ]
    return f'<div class="charts">{"".join(shown)}</div>'


def finetuned(content: Mapping[str, Any]) -> str:
    """Returns what quantisation-aware fine-tuning gains."""
    gains = [
        [f"{gain['bits']:g}", f"{gain['psnr']:+.2f}", f"{gain['accuracy']:+.1f}"]
        for gain in content["gains"]
    ]
    gained = tables.table(["bits", "gained, dB", "gained, points"], gains)
    return tables.settings(content["settings"]) + gained
