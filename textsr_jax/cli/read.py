"""Reads word images: python read.py SOURCE... [--format=text|tsv|jsonl] [--model=FILE]

A SOURCE is an image, a folder of images, a pattern such as 'photos/*.png', or an LMDB folder. A
SOURCE of - stands for a list of these on standard input, one a line; the true word may follow a
tab. Without --model or --workdir the models that come with the package read. --config.FIELD=VALUE
changes a field of their config, --print_config shows all of them.
"""

from __future__ import annotations

import pathlib
import sys
from typing import TYPE_CHECKING

from absl import flags

from textsr_jax.cli import config_flag
from textsr_jax.cli.scripts import program, run_script
from textsr_jax.config.checks import checked
from textsr_jax.errors import UserError
from textsr_jax.export import RECORD
from textsr_jax.storage.shipped import SHIPPED

if TYPE_CHECKING:
    # Loaded once flags are known to be right.
    from textsr_jax import reading
    from textsr_jax.config.settings import Experiment

_WORKDIR = flags.DEFINE_string("workdir", None, "A workdir of train.py.")
_MODEL = flags.DEFINE_string(
    "model",
    None,
    "Instead of --workdir: a packed file of quantize.py, or with --runtime=onnx the folder that "
    "python -m textsr_jax.export wrote. Default: the packed file that comes with the package.",
)
_CONFIG = config_flag.define_flag()
_RUNTIME = flags.DEFINE_enum(
    "runtime", "jax", ["jax", "onnx"], "What computes: JAX or ONNX Runtime."
)
_PRECISION = flags.DEFINE_enum(
    "precision", "int8", ["float32", "int8"], "With --runtime=onnx: which of the graphs."
)
_BEAM = flags.DEFINE_integer(
    "beam", None, "Beams a word, 1 is greedy; default: the model's own.", lower_bound=1
)
_ABSTAIN = flags.DEFINE_float(
    "abstain", None, "Leaves out words, so that at most this part is returned and wrong: 0.05."
)
_ABSTAIN_LETTERS = flags.DEFINE_float(
    "abstain_letters", None, "Writes ? for letters, so that at most this part is shown and wrong."
)
flags.DEFINE_alias("abstain-letters", "abstain_letters")
_FORMAT = flags.DEFINE_enum(
    "format",
    "text",
    ["text", "tsv", "jsonl"],
    "Lines for people; source, text and confidence between tabs; or an object for each source.",
)
_SAVE_SR = flags.DEFINE_string("save_sr", None, "A folder for the images as they were read, PNG.")
flags.DEFINE_alias("save-sr", "save_sr")
_GRID = flags.DEFINE_string(
    "grid", None, "A PNG that shows images, as they are and as they were read, and the words."
)


def run() -> None:
    """Runs `textsr-read`, which is also `python read.py`."""
    run_script(main, model=SHIPPED)


def main(arguments: list[str]) -> None:
    if flags.FLAGS.print_config:
        config_flag.resolved(_config())
    if not arguments:
        raise UserError(f"no image named; use: {program()} SOURCE... (see --help)")
    if _WORKDIR.value and _MODEL.value:
        raise UserError("--workdir and --model: take one of them")
    _check_runtime()
    from textsr_jax.cli import reading_lines
    from textsr_jax.data import sources

    found = sources.expand(arguments)
    items = (item for source in found for item in source.items())
    load = _onnx_reader if _RUNTIME.value == "onnx" else _reader
    output = reading_lines.Output(_FORMAT.value, _SAVE_SR.value, _GRID.value)
    if reading_lines.write_lines(items, sources.count(found), load, output):
        sys.exit(2)


def _check_runtime() -> None:
    """Refuses flags that go with the other of the two runtimes."""
    if _RUNTIME.value == "onnx":
        if not _MODEL.value:
            raise UserError(
                "--runtime=onnx reads what `python -m textsr_jax.export SOURCE --out DIR` wrote; "
                "name that folder in --model"
            )
        if _CONFIG.present:
            raise UserError("--config: the graphs of --runtime=onnx have their own; leave it out")
        return
    if _PRECISION.present:
        raise UserError(
            f"--precision={_PRECISION.value}: chooses among ONNX graphs; add --runtime=onnx"
        )
    if _MODEL.value and (pathlib.Path(_MODEL.value) / RECORD).is_file():
        raise UserError(f"--model={_MODEL.value}: holds ONNX graphs; add --runtime=onnx")


def _reader() -> reading.Reader:
    """The reader of a workdir, of a packed file, or of the models of `config.init`."""
    from textsr_jax import reading

    abstain, letters = _ABSTAIN.value, _ABSTAIN_LETTERS.value
    return reading.load(_source(), config=_config(), abstain=abstain, abstain_letters=letters)


def _onnx_reader() -> reading.Reader:
    """The reader of a folder of ONNX graphs."""
    from textsr_jax.export import engine

    return engine.load(
        _MODEL.value or "",
        _PRECISION.value,
        beam=_BEAM.value,
        abstain=_ABSTAIN.value,
        abstain_letters=_ABSTAIN_LETTERS.value,
    )


def _source() -> str | pathlib.Path | None:
    """The workdir or packed file whose models read; None for the models of `config.init`."""
    named = _MODEL.value or _WORKDIR.value
    return named or (None if _CONFIG.present else SHIPPED)


def _config() -> Experiment:
    """The config of the flags, with the beam of --beam."""
    config = config_flag.from_flag(_CONFIG, _source())
    if _BEAM.value is None:
        return config
    content = config.to_dict()
    content["decoding"]["beam"] = _BEAM.value
    return checked(content)
