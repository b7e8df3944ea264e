"""Scores models over test splits: python evaluate.py [--workdir=W | --model=FILE | --config=FILE]

Without a model the pair that comes with the package is scored, on the words of --data_root.
--config.FIELD=VALUE changes a field of the config, --print_config shows all of them.
Prints tables; writes JSON and pictures of words with what was read. With --photographs=FOLDER,...
the resampler and EDSR of stage 0 instead, on photographs.
"""

import dataclasses
import pathlib

from absl import flags
from ml_collections import ConfigDict

from textsr_jax.cli.scripts import program, run_script
from textsr_jax.config import configuration
from textsr_jax.errors import UserError
from textsr_jax.storage.shipped import SHIPPED

_WORKDIR = flags.DEFINE_string("workdir", None, "A workdir of train.py.")
_MODEL = flags.DEFINE_string(
    "model",
    None,
    "A packed file of quantize.py, instead of --workdir; default: the one of the package.",
)
_CONFIG = configuration.define_flag()
_DATA_ROOT = flags.DEFINE_string(
    "data_root", None, "Another folder with TextZoom's test/*; default: the workdir's data set."
)
_SR = flags.DEFINE_list(
    "sr", [], "More SR models, by commas: parameter files, packed files or workdirs."
)
_JUDGE = flags.DEFINE_string(
    "judge", None, "The recogniser that reads everything: such a file or a workdir."
)
_OUT = flags.DEFINE_string(
    "out",
    None,
    "The JSON file; default: results.json (photographs.json) in the workdir or the folder one is "
    "in.",
)
_PHOTOGRAPHS = flags.DEFINE_list(
    "photographs",
    [],
    "Folders of images, by commas, such as Set5: scores the resampler and EDSR of stage 0 on them.",
)


def run() -> None:
    """Runs `textsr-evaluate`, which is also `python evaluate.py`."""
    run_script(main, model=SHIPPED)


def main(arguments: list[str]) -> None:
    if arguments:
        raise UserError(f"{arguments[0]!r}: {program()} takes flags only; --help lists them")
    if _WORKDIR.value and _MODEL.value:
        raise UserError("--workdir and --model: take one of them")
    source = _MODEL.value or _WORKDIR.value
    if not (source or _CONFIG.present or _PHOTOGRAPHS.value):
        source = SHIPPED
    if _PHOTOGRAPHS.value:
        for flag in (_MODEL, _DATA_ROOT, _SR, _JUDGE):
            if flag.value:
                raise UserError(f"--photographs and --{flag.name}: take one of them")
    config = configuration.resolved(configuration.from_flag(_CONFIG, source))
    if _PHOTOGRAPHS.value:
        return _evaluate_photographs(config)
    root = config.data.root
    packed = source and not _WORKDIR.value
    if packed and not _DATA_ROOT.value and root and not pathlib.Path(root).is_dir():
        root = root.removeprefix("elsewhere:")
        raise UserError(
            f"{source}: its data, {root!r}, are not here; name a folder with TextZoom's test/* in "
            "--data_root, or --config.data.root= for drawn words"
        )
    from textsr_jax.cli.pictures import write_pictures
    from textsr_jax.evaluation import comparison
    from textsr_jax.report import figures, tables
    from textsr_jax.storage import atomic
    from textsr_jax.storage.models import Models

    models = Models.load(source, config)
    others = [comparison.load_sr(source, config) for source in _SR.value]
    judge = comparison.load_judge(_JUDGE.value, config) if _JUDGE.value else None
    evaluation = comparison.open_data(config, _DATA_ROOT.value)
    rows, images = comparison.evaluate(models, evaluation, others, judge)
    search = evaluation.search
    shipped = source and pathlib.Path(source) == SHIPPED
    pair = "the package's pair" if shipped else source or "models"
    tables.print_rows(rows, f"{pair} on {evaluation.title}{search.beyond_paper}")
    out = pathlib.Path(_OUT.value or pathlib.Path(_WORKDIR.value or "") / "results.json")
    results = {
        "data": evaluation.title,
        "fingerprint": evaluation.fingerprint,
        "skipped": evaluation.skipped,
        "search": dataclasses.asdict(search),
        "rows": [row.as_json() for row in rows],
    }
    atomic.write_json(out, results)
    columns = [(f"{row.sr}, {row.ocr} recogniser", images[row.sr], row.words) for row in rows]
    pictures = out.with_name(f"{out.stem}_pictures")
    write_pictures(pictures, figures.word_sheets(evaluation.lr, columns, evaluation.labels))
    print(f"scores: {out}\npictures: {pictures}")


def _evaluate_photographs(config: ConfigDict) -> None:
    from textsr_jax.cli.pictures import write_pictures
    from textsr_jax.evaluation import photographs
    from textsr_jax.report import figures, tables
    from textsr_jax.storage import atomic

    source, folders = _WORKDIR.value, _PHOTOGRAPHS.value
    network, variables = photographs.load_pair(source, config)
    rows, details = photographs.evaluate(network, variables, folders)
    tables.print_photographs(rows, f"{source or 'models'} on {', '.join(folders)}")
    out = pathlib.Path(_OUT.value or pathlib.Path(source or "") / "photographs.json")
    atomic.write_json(out, {"folders": folders, "rows": [row.as_json() for row in rows]})
    pictures = out.with_name(f"{out.stem}_pictures")
    write_pictures(pictures, figures.detail_sheets(details))
    print(f"scores: {out}\npictures: {pictures}")
