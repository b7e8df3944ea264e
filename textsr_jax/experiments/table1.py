"""Table 1 of the paper and its ablations: trains the models of each row, scores them, writes it.

  python -m textsr_jax.experiments.table1 --config=configs/tiny.py --folder=runs/table1

Each row has a workdir of its own below the folder. All start from the recognisers of one
pre-training. A finished stage is not trained again, and a stopped one goes on. The table is
printed, and written as table1.json and table1.md.
"""

import dataclasses
import pathlib
import shlex
import sys
from collections.abc import Callable
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from textsr_jax.cli import config_flag
from textsr_jax.cli.scripts import run_script
from textsr_jax.config import checks, variants
from textsr_jax.config.settings import Experiment
from textsr_jax.errors import UserError
from textsr_jax.evaluation import comparison, protocol
from textsr_jax.evaluation.protocol import Evaluation, Row
from textsr_jax.report import tables
from textsr_jax.runtime import atomic, paths
from textsr_jax.storage.models import Models

RECOGNIZERS = "recognizers"
TWO_STEPS, JOINT_STEP = "two steps", "one joint step"
COLUMNS = ("easy", "medium", "hard", "mean")


@dataclasses.dataclass(frozen=True)
class Entry:
    """A row of the table.

    Attributes:
      folder: the workdir, below that of the table.
      sr: the SR model, as the row names it.
      fine_tuned_on: the images that the recogniser is fine-tuned on.
      training: how the models are trained.
      changes: of the config.
      stages: those that are run.
      sr_of: the row whose trained SR model this one takes; empty if it trains its own.
      printed: what the paper prints for it: accuracy in per cent by column.
    """

    folder: str
    sr: str
    fine_tuned_on: str
    training: str
    changes: tuple[Callable[[ConfigDict], ConfigDict], ...]
    stages: str = "stage1,stage2"
    sr_of: str = ""
    printed: dict[str, float] = dataclasses.field(default_factory=dict)


def _printed(*accuracies: float) -> dict[str, float]:
    return dict(zip(COLUMNS, accuracies, strict=True))


# The paper's four rows in its order; its bicubic figure, which stands in the text; its ablations.
ENTRIES = (
    Entry(
        "tbsrn_hr",
        "TBSRN",
        "HR",
        TWO_STEPS,
        (variants.tbsrn, variants.hr),
        "stage2",
        "tbsrn",
        _printed(80.48, 64.99, 50.63, 65.37),
    ),
    Entry(
        "tbsrn",
        "TBSRN",
        "SR",
        TWO_STEPS,
        (variants.tbsrn,),
        printed=_printed(84.19, 69.81, 55.55, 69.85),
    ),
    Entry(
        "edsr_hr",
        "EDSR",
        "HR",
        TWO_STEPS,
        (variants.hr,),
        "stage2",
        "edsr",
        _printed(79.74, 63.22, 49.59, 64.18),
    ),
    Entry("edsr", "EDSR", "SR", TWO_STEPS, (), printed=_printed(85.05, 71.37, 56.81, 71.08)),
    Entry(
        "bicubic",
        "bicubic",
        "bicubic",
        "recogniser alone",
        (variants.bicubic,),
        "stage2",
        printed={"mean": 61.47},
    ),
    Entry("edsr_joint", "EDSR", "SR", JOINT_STEP, (variants.joint,), "joint"),
    Entry(
        "edsr_no_text_focus",
        "EDSR",
        "SR",
        f"{TWO_STEPS}, squared error alone",
        (variants.no_text_focus,),
    ),
)


def plan(base: Experiment, folder: pathlib.Path) -> dict[str, Experiment]:
    """The config of each workdir, by its folder, in the order in which they are trained.

    Recognisers that `base.init` names are taken; the others are pre-trained first, once for all.

    Args:
      base: sizes, data and optimisation of all of them.
      folder: holds the workdirs.

    Raises:
      UserError: the base's SR model is not EDSR.
    """
    if base.sr.name != "edsr":
        raise UserError(
            f"config.sr.name={base.sr.name!r}: Table 1 holds EDSR against TBSRN and bicubic; leave "
            "it at 'edsr'"
        )
    made = {}
    if not (base.init.ocr and base.init.focus):
        made[RECOGNIZERS] = base.replace(stages="pretrain")
    # An SR model is trained before the rows that take it over.
    for entry in sorted(ENTRIES, key=lambda entry: bool(entry.sr_of)):
        config = ConfigDict(base.to_dict())
        for change in entry.changes:
            config = change(config)
        config.stages = entry.stages
        for part in ("ocr", "focus"):
            config.init[part] = base.init[part] or str(folder / RECOGNIZERS)
        if entry.sr_of:
            config.init.sr = str(folder / entry.sr_of)
        made[entry.folder] = checks.checked(config)
    return made


def train(base: Experiment, folder: pathlib.Path, again: str) -> None:
    """Trains every row of the table below `folder`, each from where it was left.

    Args:
      again: the command that goes on, for the message when it is stopped.

    Raises:
      UserError: as `runner.train` does.
      Stopped: after Ctrl-C or SIGTERM; everything is saved.
    """
    from textsr_jax.train import runner

    made = plan(base, folder)
    for number, (name, config) in enumerate(made.items(), 1):
        print(f"{folder / name} ({number} of {len(made)})", flush=True)
        runner.train(config, folder / name, again)


@dataclasses.dataclass(frozen=True)
class Scored:
    """A row of the table: its models' scores on the test splits."""

    entry: Entry
    row: Row

    def as_json(self) -> dict[str, Any]:
        return {
            "sr": self.entry.sr,
            "fine_tuned_on": self.entry.fine_tuned_on,
            "training": self.entry.training,
            "workdir": self.entry.folder,
            "splits": self.row.splits,
            "mean": self.row.mean,
            "paper_on_textzoom": self.entry.printed,
        }


def score(folder: pathlib.Path, evaluation: Evaluation) -> list[Scored]:
    """Scores the trained models below `folder`, in the table's order.

    Raises:
      UserError: a model is not trained, or cannot be read.
    """
    rows = []
    for entry in ENTRIES:
        workdir = folder / entry.folder
        models = Models.load(workdir)
        if models.sr_variables is None or models.fine_tuned is None:
            raise UserError(f"{workdir}: is not trained to its end; train the table first")
        images = evaluation.enhance(models.sr, models.sr_variables)
        words = evaluation.read(models.ocr, models.fine_tuned, images)
        row = evaluation.row(models.config.sr.name, comparison.FINE_TUNED, images, words)
        rows.append(Scored(entry, row))
    return rows


def cells(rows: list[Scored]) -> tuple[list[str], list[list[str]]]:
    """The header and the rows as text: the paper's columns with our figures, then its own."""
    splits = list(rows[0].row.splits)
    header = ["SR model", "fine-tuned on", "training"]
    header += [f"accuracy {name}" for name in (*splits, "mean")] + ["PSNR mean"]
    header += [f"paper, TextZoom: {name}" for name in COLUMNS]
    body = []
    for scored in rows:
        entry, row = scored.entry, scored.row
        figures = [scores["accuracy"] for scores in (*row.splits.values(), row.mean)]
        figures += [row.mean["psnr"], *(entry.printed.get(name) for name in COLUMNS)]
        shown = ["-" if figure is None else f"{figure:.2f}" for figure in figures]
        body.append([entry.sr, entry.fine_tuned_on, entry.training, *shown])
    return header, body


def notes(evaluation: Evaluation) -> list[str]:
    """What has to be known to read the table."""
    counts = ", ".join(f"{name} {len(labels)}" for name, labels in evaluation.labels.items())
    return [
        f"Ours: {evaluation.title}, test words: {counts}. Accuracy in per cent, PSNR in dB; mean: "
        f"the plain mean over splits{evaluation.search.beyond_paper}.",
        "The paper's figures are of TextZoom, with its networks and its training. They stand here "
        "for the order of the rows; ours compare with them only where the words are TextZoom's "
        "and the networks the paper's.",
        "The paper prints one figure for bicubic, in its text, and none for the last two rows.",
    ]


def report(folder: pathlib.Path, evaluation: Evaluation) -> list[Scored]:
    """Scores the trained models, prints the table, and writes table1.json and table1.md.

    Raises:
      UserError: as `score` does, or the files cannot be written.
    """
    rows, below = score(folder, evaluation), notes(evaluation)
    header, body = cells(rows)
    # One word under the other keeps columns narrow.
    narrow = ["\n".join(name.split()) for name in header]
    table = tables.new_table(f"Table 1 and ablations, {evaluation.title}", narrow[:3], narrow[3:])
    for row in body:
        table.add_row(*row)
    tables.print_table(table, keys=3)
    print(*below, sep="\n")
    content: dict[str, Any] = {
        "words": evaluation.title,
        "rows": [row.as_json() for row in rows],
        "notes": below,
    }
    atomic.write_json(folder / "table1.json", content)
    lines = [header, ["---"] * len(header), *body]
    markdown = ["| " + " | ".join(line) + " |" for line in lines] + ["", *below]
    atomic.write_text(folder / "table1.md", "\n".join(markdown) + "\n")
    print(f"table: {folder / 'table1.md'}\nscores: {folder / 'table1.json'}")
    return rows


def run() -> None:
    """The command."""
    flag = config_flag.define_flag()
    folder_flag = flags.DEFINE_string("folder", None, "Where the workdirs and the table go.")

    def main(arguments: list[str]) -> None:
        if arguments:
            raise UserError(f"{arguments[0]!r}: this command takes flags only; --help lists them")
        config = config_flag.resolved(config_flag.from_flag(flag))
        if not folder_flag.value:
            raise UserError("--folder is missing; name a folder, for example --folder=runs/table1")
        folder = paths.named(folder_flag.value)
        again = shlex.join(["python", "-m", "textsr_jax.experiments.table1", *sys.argv[1:]])
        # Test splits that cannot be read shall be known before hours of training.
        evaluation = protocol.Evaluation.open(config)
        train(config, folder, again)
        report(folder, evaluation)

    run_script(main)


if __name__ == "__main__":
    run()
