"""Reads word images: python read.py SOURCE... [--page] [--format=text|tsv|jsonl] [--model=FILE]

A SOURCE is an image, a PDF file, a folder of images, a pattern such as 'photos/*.png', or an LMDB
folder. A SOURCE of - stands for a list of these on standard input, one a line; the true word may
follow a tab. With --page each image is a whole photograph, whose words are found first. Without
--model or --workdir the models that come with the package read. --config.FIELD=VALUE changes a
field of their config, --print_config shows all of them.
"""

from __future__ import annotations

import pathlib
import sys
from collections import Counter
from typing import TYPE_CHECKING

from absl import flags

from textsr_jax.cli import config_flag
from textsr_jax.cli.scripts import program, run_script
from textsr_jax.config.checks import checked
from textsr_jax.errors import UserError
from textsr_jax.export import RECORD
from textsr_jax.storage.shipped import SHIPPED, find

if TYPE_CHECKING:
    # Loaded once flags are known to be right.
    from textsr_jax import reading
    from textsr_jax.config.settings import Experiment

_WORKDIR = flags.DEFINE_string("workdir", None, "A workdir of train.py.")
_MODEL = flags.DEFINE_string(
    "model",
    None,
    "Instead of --workdir: a packed file of quantize.py, or with --runtime=onnx the folder that "
    "python -m textsr_jax.export wrote. `printable`: the models of the package that write case, "
    "punctuation and spaces. Default: those that write 0-9 and a-z.",
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
    ["text", "tsv", "jsonl", "hocr", "alto"],
    "Lines for people; source, text and confidence between tabs; an object for each source; or, "
    "with --page, a line of hOCR or ALTO XML for each source.",
)
_PAGE = flags.DEFINE_bool(
    "page",
    None,
    "Whether images are whole photographs, whose words are found first. Default: those images that "
    "clearly are no crops, where the extra [photos] is installed.",
)
_OUT = flags.DEFINE_string(
    "out",
    None,
    "A file for the lines, of all formats but text. The same command goes on after a stop: what is "
    "in the file is not read again.",
)
_ENHANCE = flags.DEFINE_string(
    "enhance",
    None,
    "With --page, a PNG for the photograph at twice its size, with sharper words. Takes one image.",
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
    _check_pages()
    from textsr_jax.cli import reading_lines
    from textsr_jax.cli.line_file import LineFile
    from textsr_jax.cli.page_lines import PageReader
    from textsr_jax.data import sources

    pages = PageReader(_PAGE.value, _ENHANCE.value)
    file = LineFile(_OUT.value, _FORMAT.value) if _OUT.value else None
    wanted = sources.Wanted(pages.possible, file.done if file else Counter())
    passed = wanted.done.total()
    found = sources.expand(arguments, wanted=wanted)
    items = (item for source in found for item in source.items())
    total = sources.count(found)
    if _ENHANCE.value and total != 1:
        raise UserError(f"--enhance={_ENHANCE.value}: is for one photograph; name just one")
    load = _onnx_reader if _RUNTIME.value == "onnx" else _reader
    output = reading_lines.Output(_FORMAT.value, _SAVE_SR.value, _GRID.value, pages, file)
    bad = reading_lines.write_lines(items, total and max(0, total - passed), load, output)
    if file is not None:
        bad += file.bad
        file.close()
    if bad:
        sys.exit(2)


def _check_pages() -> None:
    """Refuses flags that do not go with whole photographs, or only with them."""
    if _FORMAT.value in ("hocr", "alto") and not _PAGE.value:
        raise UserError(f"--format={_FORMAT.value}: is of whole photographs; add --page")
    if _ENHANCE.value and not _PAGE.value:
        raise UserError(f"--enhance={_ENHANCE.value}: is of whole photographs; add --page")
    if _ENHANCE.value and _OUT.value:
        raise UserError(f"--enhance={_ENHANCE.value}: is for one photograph; leave --out out")
    for flag in (_GRID, _SAVE_SR):
        if _PAGE.value and flag.value:
            raise UserError(f"--{flag.name}={flag.value}: is of crops; leave it or --page out")


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
    named = find(_MODEL.value) if _MODEL.value else _WORKDIR.value
    return named or (None if _CONFIG.present else SHIPPED)


def _config() -> Experiment:
    """The config of the flags, with the beam of --beam."""
    config = config_flag.from_flag(_CONFIG, _source())
    if _BEAM.value is None:
        return config
    content = config.to_dict()
    content["decoding"]["beam"] = _BEAM.value
    return checked(content)
