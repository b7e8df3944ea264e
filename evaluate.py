"""Scores a workdir's models over the test splits: python evaluate.py --workdir=W

Prints a table; writes JSON and pictures of words with what was read.
"""

import pathlib

from absl import flags

from textsr_jax.command_line import run_script
from textsr_jax.errors import UserError

_WORKDIR = flags.DEFINE_string("workdir", None, "A workdir of train.py.", required=True)
_DATA_ROOT = flags.DEFINE_string(
    "data_root", None, "Another folder with TextZoom's test/*; default: the workdir's data set."
)
_OUT = flags.DEFINE_string("out", None, "The JSON file; default: WORKDIR/results.json.")


def main(arguments: list[str]) -> None:
    if arguments:
        raise UserError(f"{arguments[0]!r}: evaluate.py takes flags only; --help lists them")
    from textsr_jax.evaluation import workdirs
    from textsr_jax.report import figures, tables

    workdir = pathlib.Path(_WORKDIR.value)
    models, evaluation = workdirs.open_workdir(workdir, _DATA_ROOT.value)
    rows, images = workdirs.evaluate(models, evaluation)
    tables.print_rows(rows, f"{workdir} on {evaluation.name}")
    out = pathlib.Path(_OUT.value or workdir / "results.json")
    tables.write_json(out, {"data": evaluation.name, "rows": [row.as_json() for row in rows]})
    columns = [(f"{row.sr}, {row.ocr} recogniser", images[row.sr], row.words) for row in rows]
    pictures = out.with_name(f"{out.stem}_pictures")
    figures.write_sheets(pictures, evaluation.lr, columns, evaluation.labels)
    print(f"scores: {out}\npictures: {pictures}")


if __name__ == "__main__":
    run_script(main)
