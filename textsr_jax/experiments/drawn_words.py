"""Words drawn in the step beside prepared ones: two recognisers read real words.

  python -m textsr_jax.experiments.drawn_words --config=configs/tiny.py --folder=runs/drawn \
      --words=REAL

Both start alike and take the same steps, one with words that were prepared, one with as many that
are drawn in its steps. They read the words of the train folders of REAL (TextZoom's format), from
which neither learns. The table is printed, and written as drawn_words.json. The same command goes
on with a run that was stopped.
"""

import pathlib
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from textsr_jax.cli import config_flag
from textsr_jax.cli.scripts import command, refuse, run_script
from textsr_jax.config import checks, variants
from textsr_jax.config.settings import Experiment
from textsr_jax.errors import UserError
from textsr_jax.evaluation.protocol import Evaluation, Row
from textsr_jax.report import tables
from textsr_jax.runtime import atomic, paths
from textsr_jax.storage.models import Models

PREPARED, DRAWN = "prepared", "drawn"


def plan(base: Experiment) -> dict[str, Experiment]:
    """The configs of both recognisers, by their workdir in the folder.

    Each word is seen once: the prepared set has as many words as the steps take.
    """
    config = variants.bicubic(ConfigDict(base.to_dict()))
    settings = config.pretrain.ocr
    config.stages, config.data.root = "pretrain", ""
    config.init.ocr = config.init.pretrain = ""
    config.data.synthetic.train = settings.steps * settings.batch_size
    made = {}
    for name, drawn in ((PREPARED, 0.0), (DRAWN, 1.0)):
        settings.drawn = drawn
        made[name] = checks.checked(config)
    return made


def open_words(config: Experiment, root: str) -> Evaluation:
    """The words of the train folders below `root`, as splits to read.

    Raises:
      UserError: there are none, or they cannot be read.
    """
    from textsr_jax.data import WordPairs, records, textzoom

    builder = textzoom.load(root, config.data.data_dir or None, config.data.labels)
    splits = {
        folder: records.TfdsRecords(builder, split)
        for folder, split in builder.splits.items()
        if split and not folder.startswith("test/")
    }
    if not splits:
        raise UserError(f"--words={root}: has no train folder; name a folder that has some")
    pairs = WordPairs(
        title=f"train folders of {pathlib.Path(root).name}",
        fingerprint=builder.fingerprint("train"),
        training="",
        train=[],
        validation_splits={},
        test=splits,
        skipped=builder.skipped,
    )
    return Evaluation(config, pairs)


def score(folder: pathlib.Path, evaluation: Evaluation) -> list[Row]:
    """How both recognisers read HR images, and LR ones enlarged by bicubic interpolation.

    Raises:
      UserError: a recogniser is not trained to its end.
    """
    rows, images = [], {"HR": evaluation.hr, "bicubic": evaluation.bicubic()}
    for name in (PREPARED, DRAWN):
        models = Models.load(folder / name)
        if models.pretrained is None:
            raise UserError(f"{folder / name}: is not trained to its end; run the command again")
        for kind, shown in images.items():
            words = evaluation.read(models.ocr, models.pretrained, shown)
            rows.append(evaluation.row(kind, name, shown, words))
    return rows


def report(folder: pathlib.Path, config: Experiment, evaluation: Evaluation) -> list[Row]:
    """Scores both, prints the table and writes drawn_words.json; returns the rows."""
    rows, settings = score(folder, evaluation), config.pretrain.ocr
    count = settings.steps * settings.batch_size
    table = tables.new_table(
        f"Trained on {count:,} words, reading the {evaluation.title}: accuracy, %",
        ["words", "images"],
        [*rows[0].splits, "mean"],
    )
    for row in rows:
        scores = [*row.splits.values(), row.mean]
        table.add_row(row.ocr, row.sr, *(f"{one['accuracy']:.2f}" for one in scores))
    tables.print_table(table, keys=2)
    content: dict[str, Any] = {
        "words": evaluation.title,
        "steps": settings.steps,
        "batch_size": settings.batch_size,
        "rows": [row.as_json() for row in rows],
    }
    atomic.write_json(folder / "drawn_words.json", content)
    print(f"scores: {folder / 'drawn_words.json'}")
    return rows


def main(arguments: list[str]) -> None:
    refuse(arguments)
    config = config_flag.resolved(config_flag.from_flag(_CONFIG))
    if not (_FOLDER.value and _WORDS.value):
        raise UserError("--folder and --words are needed; name a folder in each")
    from textsr_jax.train import runner

    folder, configs = paths.named(_FOLDER.value), plan(config)
    # Words that cannot be read shall be known before the training.
    evaluation = open_words(config, _WORDS.value)
    for name, made in configs.items():
        runner.train(made, folder / name, command())
    report(folder, config, evaluation)


if __name__ == "__main__":
    _CONFIG = config_flag.define_flag()
    _FOLDER = flags.DEFINE_string("folder", None, "Where the workdirs and the table go.")
    _WORDS = flags.DEFINE_string("words", None, "The real words, LMDB folders train*.")
    run_script(main)
