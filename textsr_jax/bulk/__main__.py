"""Reads millions of crops on Ray: python -m textsr_jax.bulk SOURCE --out=DIR_OR_URL

SOURCE is a folder of images, WebDataset tars, Parquet files or LMDBs, one of these files, or a
pattern in quotation marks; a path, or a URL such as s3://bucket/words:

  python -m textsr_jax.bulk words_lmdb --out=results
  python -m textsr_jax.bulk 's3://bucket/words-*.tar' --out=s3://bucket/results --address=auto
  python -m textsr_jax.bulk words.parquet --out=results --gpus-per-reader=0.25 --sr

Results are Parquet files: id, source, text, confidence and error. With --pages the images are whole
photographs; words stand in place of confidence, each with its text, confidence and box. A command
that was stopped or killed goes on when it is given again. Crops that cannot be read are rows with
their errors.
"""

from __future__ import annotations

import json
import pathlib
import sys

from absl import flags

from textsr_jax import reading
from textsr_jax.cli.scripts import run_script
from textsr_jax.errors import UserError
from textsr_jax.export import RECORD

_OUT = flags.DEFINE_string("out", None, "The folder of results, a path or a URL.")
_ADDRESS = flags.DEFINE_string(
    "address",
    None,
    "A Ray cluster; auto for the one that this machine belongs to. Default: this machine alone.",
)
_GPUS = flags.DEFINE_float(
    "gpus_per_reader",
    0.0,
    "The share of a GPU that each reader has, such as 0.25 for four a GPU; 0: readers use CPUs.",
    lower_bound=0,
)
flags.DEFINE_alias("gpus-per-reader", "gpus_per_reader")
_READERS = flags.DEFINE_integer(
    "readers",
    None,
    "How many readers there are. Default: as many as there are cores, or shares of GPUs.",
    lower_bound=1,
)
_SR = flags.DEFINE_bool("sr", False, "Adds the images as they were read, PNG, as the column sr.")
_PAGES = flags.DEFINE_bool(
    "pages", False, "The images are whole photographs: finds their words, and adds boxes."
)
_MODEL = flags.DEFINE_string(
    "model",
    None,
    "A packed file of quantize.py, a workdir, or a folder of textsr_jax.export; all nodes of a "
    "cluster have it at the same place. Default: the models that come with the package.",
)


def main(arguments: list[str]) -> None:
    if len(arguments) != 1:
        raise UserError(
            f"{len(arguments)} sources; use: python -m textsr_jax.bulk SOURCE --out=DIR_OR_URL"
        )
    if not _OUT.value:
        raise UserError("--out is missing; name the folder of results, for example --out=results")
    if _PAGES.value and _SR.value:
        raise UserError("--sr: is of crops; leave it or --pages out")
    if _PAGES.value:
        from textsr_jax.photos import detector

        detector.model_file()
    from textsr_jax.bulk import running, words

    # The workers have the GPUs.
    words.compute_on_cpu()
    run = running.Run(
        source=arguments[0],
        out=_OUT.value,
        reader=_reader(),
        address=_ADDRESS.value,
        gpus_per_reader=_GPUS.value,
        sr=_SR.value,
        pages=_PAGES.value,
        readers=_READERS.value,
    )
    summary = running.read(run)
    if not summary["crops_of_this_run"]:
        print(f"{_OUT.value}: all crops are read; nothing is left to do", file=sys.stderr)
    print(json.dumps(summary, indent=2))


def _reader() -> reading.Reader:
    if _MODEL.value and (pathlib.Path(_MODEL.value).expanduser() / RECORD).is_file():
        from textsr_jax.export import engine

        return engine.load(_MODEL.value)
    return reading.load(_MODEL.value)


if __name__ == "__main__":
    run_script(main)
