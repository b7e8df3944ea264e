"""Reads word images: python read.py IMAGE... [--model=FILE] [--out DIR]

Prints a line an image (file, text, confidence) and saves the SR image as PNG.
"""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING

from absl import flags
from PIL import Image

from textsr_jax import configuration
from textsr_jax.command_line import run_script
from textsr_jax.errors import UserError

if TYPE_CHECKING:
    # Loaded once flags and images are known to be right.
    from textsr_jax import reading
    from textsr_jax.export import runtime

_WORKDIR = flags.DEFINE_string(
    "workdir", None, "A workdir of train.py; default, where no model is named: runs/demo."
)
_MODEL = flags.DEFINE_string(
    "model",
    None,
    "Instead of --workdir: a packed file of quantize.py, or with --runtime=onnx the folder that "
    "python -m textsr_jax.export wrote.",
)
_CONFIG = configuration.define_flag()
_RUNTIME = flags.DEFINE_enum(
    "runtime", "jax", ["jax", "onnx"], "What computes: JAX or ONNX Runtime."
)
_PRECISION = flags.DEFINE_enum(
    "precision", "int8", ["float32", "int8"], "With --runtime=onnx: which of the graphs."
)
_BEAM = flags.DEFINE_integer(
    "beam", None, "Beams a word, 1 is greedy; default: the model's own.", lower_bound=1
)
_OUT = flags.DEFINE_string("out", "sr", "The folder for SR images.")


def main(arguments: list[str]) -> None:
    if not arguments:
        raise UserError("no image named; use: python read.py IMAGE... [--out DIR]")
    if _WORKDIR.value and _MODEL.value:
        raise UserError("--workdir and --model: take one of them")
    from textsr_jax.images import open_rgb

    images = [open_rgb(name) for name in arguments]
    pair = _onnx_reader() if _RUNTIME.value == "onnx" else _reader()
    enhanced = pair.enhance(images)
    folder = pathlib.Path(_OUT.value)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out={folder}: cannot make the folder ({error.strerror})") from error
    names = _free_names(arguments)
    for name, target, sr, result in zip(
        arguments, names, enhanced, pair.read_enhanced(enhanced), strict=True
    ):
        Image.fromarray(sr).save(folder / target)
        print(f"{name}\t{result.text}\t{result.confidence:.3f}")


def _reader() -> reading.Reader:
    from textsr_jax import reading

    source = _MODEL.value or _WORKDIR.value or (None if _CONFIG.present else "runs/demo")
    config = configuration.from_flag(_CONFIG, source)
    if _BEAM.value is not None:
        with config.unlocked():
            config.decoding.beam = _BEAM.value
    return reading.load(source, config=config)


def _onnx_reader() -> runtime.OnnxReader:
    if not _MODEL.value:
        raise UserError(
            "--runtime=onnx reads what `python -m textsr_jax.export SOURCE --out DIR` wrote; name "
            "that folder in --model"
        )
    from textsr_jax.export import missing_package

    try:
        from textsr_jax.export import runtime
    except ImportError as error:
        raise missing_package(error) from error
    return runtime.load(_MODEL.value, _PRECISION.value, beam=_BEAM.value)


def _free_names(arguments: list[str]) -> list[str]:
    """A PNG's name for each image, never its own; images of the same name are numbered."""
    names: list[str] = []
    for argument in arguments:
        stem = pathlib.Path(argument).stem
        name, number = f"{stem}_sr.png", 1
        while name in names:
            number += 1
            name = f"{stem}_sr_{number}.png"
        names.append(name)
    return names


if __name__ == "__main__":
    run_script(main)
