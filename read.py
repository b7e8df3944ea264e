"""Reads word images: python read.py IMAGE... [--out DIR]

Prints a line an image (file, text, confidence) and saves the SR image as PNG.
"""

import pathlib

from absl import flags
from PIL import Image

from textsr_jax import configuration
from textsr_jax.command_line import run_script
from textsr_jax.errors import UserError

_WORKDIR = flags.DEFINE_string(
    "workdir", None, "A workdir of train.py; default, where --config is not named: runs/demo."
)
_MODEL = flags.DEFINE_string("model", None, "A packed file of quantize.py, instead of --workdir.")
_CONFIG = configuration.define_flag()
_OUT = flags.DEFINE_string("out", "sr", "The folder for SR images.")


def main(arguments: list[str]) -> None:
    if not arguments:
        raise UserError("no image named; use: python read.py IMAGE... [--out DIR]")
    if _WORKDIR.value and _MODEL.value:
        raise UserError("--workdir and --model: take one of them")
    from textsr_jax import reading
    from textsr_jax.images import open_rgb

    images = [open_rgb(name) for name in arguments]
    source = _MODEL.value or _WORKDIR.value or (None if _CONFIG.present else "runs/demo")
    pair = reading.load(source, config=configuration.from_flag(_CONFIG, source))
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
