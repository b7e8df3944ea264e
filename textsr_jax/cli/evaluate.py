"""Scores models over test splits: python evaluate.py [--workdir=W | --model=FILE | --config=FILE]

Prints tables; writes JSON, pictures of words with what was read, and page.html, which shows all of
it. Without a model it scores those that come with the package, on the words of --data_root. With
--photographs=FOLDER,... it scores the resampler and EDSR of stage 0 on photographs.
--config.FIELD=VALUE changes a field of the config, --print_config shows all of them.
"""

import pathlib

from absl import flags

from textsr_jax.cli import config_flag
from textsr_jax.cli.scripts import refuse, run_script
from textsr_jax.config.settings import Experiment
from textsr_jax.errors import UserError
from textsr_jax.runtime import paths
from textsr_jax.storage.shipped import SHIPPED, find

_WORKDIR = flags.DEFINE_string("workdir", None, "A workdir of train.py.")
_MODEL = flags.DEFINE_string(
    "model",
    None,
    "A packed file of quantize.py, or `printable`, instead of --workdir; default: the shipped one.",
)
_CONFIG = config_flag.define_flag()
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
    "The JSON file; default: results.json (photographs.json) in the workdir or working folder.",
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
    refuse(arguments)
    _check_flags()
    config = config_flag.resolved(config_flag.from_flag(_CONFIG, _source()))
    if _PHOTOGRAPHS.value:
        _evaluate_photographs(config)
        return
    _check_data(config)
    _evaluate_words(config)


def _check_flags() -> None:
    """Refuses flags that do not go together."""
    if _WORKDIR.value and _MODEL.value:
        raise UserError("--workdir and --model: take one of them")
    for flag in (_MODEL, _DATA_ROOT, _SR, _JUDGE) if _PHOTOGRAPHS.value else ():
        if flag.value:
            raise UserError(f"--photographs and --{flag.name}: take one of them")


def _source() -> str | pathlib.Path | None:
    """The workdir or packed file that is scored; None for the models of `config.init`."""
    named = find(_MODEL.value) if _MODEL.value else _WORKDIR.value
    return named or (None if _CONFIG.present or _PHOTOGRAPHS.value else SHIPPED)


def _check_data(config: Experiment) -> None:
    """Refuses a packed file whose test words are not on this machine."""
    source, root = _source(), config.data.root
    if not source or _WORKDIR.value or _DATA_ROOT.value or not root or pathlib.Path(root).is_dir():
        return
    raise UserError(
        f"{source}: its data, {root.removeprefix('elsewhere:')!r}, are not here; name a folder "
        "with TextZoom's test/* in --data_root, or --config.data.root= for drawn words"
    )


def _evaluate_words(config: Experiment) -> None:
    """Scores models on the test words: a table, a JSON file and pictures."""
    from textsr_jax.cli.pictures import write_pictures
    from textsr_jax.evaluation import comparison, named_models, protocol
    from textsr_jax.report import figures, tables
    from textsr_jax.report.page import word_file
    from textsr_jax.runtime import atomic
    from textsr_jax.storage.models import Models

    source = _source()
    models = Models.load(source, config)
    others = [named_models.load_sr(name, config) for name in _SR.value or ()]
    judge = named_models.load_judge(_JUDGE.value, config) if _JUDGE.value else None
    evaluation = protocol.Evaluation.open(config, _DATA_ROOT.value)
    rows, images = comparison.compare(models, evaluation, others, judge)
    search = evaluation.search
    shipped = source and pathlib.Path(source) == SHIPPED
    name = "the shipped models" if shipped else source or "models"
    tables.print_rows(rows, f"{name} on {evaluation.title}{search.beyond_paper}")
    out = _out("results.json")
    results: dict[str, atomic.JSON] = {
        "data": evaluation.title,
        "fingerprint": evaluation.fingerprint,
        "skipped": evaluation.skipped,
        "search": search.settings(),
        "rows": [row.as_json() for row in rows],
    }
    atomic.write_json(out, results)
    words = word_file.content({"LR": evaluation.lr, **images}, evaluation.labels, rows)
    atomic.write_json(out.with_name(f"{out.stem}_words.json"), words)
    columns = [(f"{row.sr}, {row.ocr} recogniser", images[row.sr], row.words) for row in rows]
    sheets = figures.word_sheets(evaluation.lr, columns, evaluation.labels)
    write_pictures(_pictures(out), sheets)
    print(f"scores: {out}\npictures: {_pictures(out)}")
    _write_page(out)


def _evaluate_photographs(config: Experiment) -> None:
    """Scores the resampler and EDSR of stage 0: a table, a JSON file and pictures."""
    from textsr_jax.cli.pictures import write_pictures
    from textsr_jax.evaluation import photographs
    from textsr_jax.report import figures, tables
    from textsr_jax.runtime import atomic

    source, folders = _WORKDIR.value, _PHOTOGRAPHS.value or []
    network, variables = photographs.load_rescaler(source, config)
    rows, details = photographs.evaluate(network, variables, folders)
    tables.print_photographs(rows, f"{source or 'models'} on {', '.join(folders)}")
    out = _out("photographs.json")
    atomic.write_json(out, {"folders": folders, "rows": [row.as_json() for row in rows]})
    write_pictures(_pictures(out), figures.detail_sheets(details))
    print(f"scores: {out}\npictures: {_pictures(out)}")
    _write_page(out)


def _write_page(out: pathlib.Path) -> None:
    """Writes the page of the folder, which shows its JSON files; none for a file of --out."""
    if not _OUT.value:
        from textsr_jax.report.page import document

        print(f"page: {document.write(out.parent)}")


def _out(name: str) -> pathlib.Path:
    """The JSON file: that of --out, or `name` in the workdir or the working folder."""
    return paths.named(_OUT.value or paths.named(_WORKDIR.value or "") / name)


def _pictures(out: pathlib.Path) -> pathlib.Path:
    """The folder of pictures beside the JSON file."""
    return out.with_name(f"{out.stem}_pictures")
