"""Draws plots of JSON files once more: python -m textsr_jax.experiments.draw_plots FILE.json...

The files are those that quantize.py --sensitivity, --search and --ablation wrote. Each becomes
FILE.png.
"""

import json
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from textsr_jax.cli.scripts import run_script
from textsr_jax.errors import UserError, fix_for
from textsr_jax.evaluation.protocol import Row
from textsr_jax.evaluation.quantization.sensitivity import LayerType
from textsr_jax.runtime import atomic, paths

# `report.plots` is imported when a plot is drawn: matplotlib comes with an extra.
if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The two series of a search.
UNIFORM, BY_GROUP = "paper's selection, uniform bits", "bits chosen by group of layers"


def draw(path: str | pathlib.Path) -> pathlib.Path:
    """Draws the JSON file of a study of layer types, of a search or of an ablation.

    Args:
      path: the JSON file; the plot is written beside it.

    Returns:
      The path of the PNG.

    Raises:
      UserError: the file cannot be read, or is none of these; or the PNG cannot be written.
    """
    path = paths.named(path)
    try:
        content = json.loads(path.read_text())
    except OSError as error:
        raise UserError(
            f"{path}: cannot read it ({error.strerror}); {fix_for(error, 'name another file')}"
        ) from error
    except ValueError as error:
        raise UserError(f"{path}: is not JSON ({error}); name another file") from error
    try:
        if "layer_types" in content:
            figure = _sensitivity(content)
        elif "ablation" in content:
            figure = _ablation(content)
        else:
            figure = _front(content)
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}: lacks what is drawn ({error}); name a file that quantize.py --sensitivity, "
            "--search or --ablation wrote"
        ) from error
    picture = path.with_suffix(".png")
    write(picture, figure)
    return picture


def write(path: str | pathlib.Path, figure: "Figure") -> None:
    """Writes a figure in the format that the path's suffix names; PNG without one.

    Raises:
      UserError: the file cannot be written.
    """
    from textsr_jax.report import plots

    format = pathlib.Path(path).suffix[1:] or "png"
    atomic.write_bytes(path, plots.encoded(figure, format), parents=True)


def _sensitivity(content: Mapping[str, Any]) -> "Figure":
    from textsr_jax.report import plots

    kinds = [
        LayerType(
            kind["name"],
            kind["part"],
            kind["parameters"],
            {float(bits): _row(row) for bits, row in kind["rows"].items()},
        )
        for kind in content["layer_types"]
    ]
    return plots.sensitivity(_row(content["unquantised"]), kinds, content["title"])


def _front(content: Mapping[str, Any]) -> "Figure":
    from textsr_jax.report import plots

    plain, chosen = (_row(content["test"][name]) for name in ("unquantised", "chosen"))
    size = content["size_mbit"]
    uniform = [(u["size_mbit"], _row(u), f"{u['bits']:g}") for u in content["uniform"]]
    found = [(one["size_mbit"], _row(one), "") for one in content["front"]]
    return plots.front(
        (found[0][0], plain, "unquantised"),
        [(UNIFORM, uniform), (BY_GROUP, found)],
        (size, chosen, f"the choice: {size:.2f} x 10^6 bits"),
        content["title"],
    )


def _ablation(content: Mapping[str, Any]) -> "Figure":
    # It reads training words, with packages of an extra.
    from textsr_jax.evaluation.quantization.ablation import Ablated
    from textsr_jax.report import plots

    settings = [
        Ablated(one["selection"], one["method"], one["bits"], one["size_mbit"], _row(one))
        for one in content["ablation"]
    ]
    return plots.ablation(_row(content["unquantised"]), settings, content["title"])


def _row(content: Mapping[str, Any]) -> Row:
    return Row(content["sr"], content["ocr"], content["splits"], content["mean"], {})


def main(arguments: list[str]) -> None:
    if not arguments:
        raise UserError("name the JSON files of quantize.py --sensitivity, --search or --ablation")
    for path in arguments:
        print(draw(path))


if __name__ == "__main__":
    run_script(main)
