"""How words should be searched: python -m benchmarks.decoding --data_root=TEXTZOOM

Accuracy by `config.decoding.language_weight` and by `.second_look`, on words that training held out
for validation and on drawn words, numbers and codes, as tables and JSON; never on words of a test.
"""

import pathlib
from typing import Any

import numpy as np
from absl import flags
from rich.table import Table
from tqdm import tqdm

from textsr_jax import metrics, reading
from textsr_jax.cli.scripts import run_script
from textsr_jax.config.settings import Experiment
from textsr_jax.data.synthetic import generation
from textsr_jax.errors import UserError
from textsr_jax.evaluation import protocol
from textsr_jax.report.tables import print_table
from textsr_jax.runtime.atomic import write_json
from textsr_jax.storage import workdirs
from textsr_jax.storage.shipped import SHIPPED

# What each field of `config.decoding` is tried at, the other as the models have it.
VALUES = {
    "language_weight": (0.0, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4),
    "second_look": (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0),
}
KINDS = ("dictionary", "numbers", "codes")
# Of drawn words, beside the models' own training.
SEED = 1_000_000


def held_out(data_root: str, config: Experiment) -> dict[str, tuple[list[np.ndarray], list[str]]]:
    """The validation words of a data root: images as the camera took them, and HR, with labels."""
    splits = protocol.open_pairs(config, data_root).validation_splits.values()
    records = [source[index] for source in splits for index in range(len(source))]
    if not records:
        raise UserError(f"--data_root={data_root}: has no words for validation; name train folders")
    labels = [record.label for record in records]
    sides = {"LR": [record.lr for record in records], "HR": [record.hr for record in records]}
    return {f"validation, {side}": (images, labels) for side, images in sides.items()}


def drawn(count: int) -> dict[str, tuple[list[np.ndarray], list[str]]]:
    """`count` drawn words of each of `KINDS`: LR images with labels."""
    sets = {}
    for kind in KINDS:
        settings = generation.GeneratorSettings(words=kind, seed=SEED, min_length=2, max_length=14)
        pairs = [generation.draw(settings, "validation", index) for index in range(count)]
        sets[f"drawn {kind}, LR"] = [pair.lr for pair in pairs], [pair.label for pair in pairs]
    return sets


def measure(
    model: str | pathlib.Path, field: str, sets: dict[str, tuple[list[np.ndarray], list[str]]]
) -> list[dict[str, Any]]:
    """A row for each of a field's `VALUES`: the accuracy in per cent of each set."""
    config, rows = workdirs.load_config(model), []
    for value in tqdm(VALUES[field], desc=field, disable=None):
        reader = reading.load(model, config=config.replace(decoding={field: value}))
        row: dict[str, Any] = {field: value}
        for name, (images, labels) in sets.items():
            found = [one.text for one in reader.read(images)]
            row[name] = 100 * metrics.word_accuracy(found, labels)
        rows.append(row)
    return rows


def main(arguments: list[str]) -> None:
    if arguments or not flags.FLAGS.data_root:
        wrong = f"{arguments[0]!r}: takes flags only; name" if arguments else "name"
        raise UserError(f"{wrong} TextZoom's LMDB folders in --data_root")
    model = pathlib.Path(flags.FLAGS.model)
    sets = held_out(flags.FLAGS.data_root, workdirs.load_config(model)) | drawn(flags.FLAGS.drawn)
    results = {field: measure(model, field, sets) for field in VALUES}
    counts = {name: len(labels) for name, (_, labels) in sets.items()}
    for field, rows in results.items():
        table = Table(title=f"{model.name}: words read rightly by config.decoding.{field}, %")
        table.add_column(field, justify="right")
        for name, count in counts.items():
            table.add_column(f"{name}\n{count} words", justify="right")
        for row in rows:
            table.add_row(f"{row[field]:g}", *(f"{row[name]:.1f}" for name in sets))
        print_table(table)
    if flags.FLAGS.out:
        write_json(flags.FLAGS.out, {"model": model.name, "words": counts, **results})


def _define_flags() -> None:
    # Not on import: tests import several benchmarks, whose flags share names.
    flags.DEFINE_string("data_root", None, "TextZoom's LMDB folders, of which train* are read.")
    flags.DEFINE_string("model", str(SHIPPED), "The models: a packed file or a workdir.")
    flags.DEFINE_integer("drawn", 300, "Words drawn of each kind.", lower_bound=1)
    flags.DEFINE_string("out", None, "The JSON file; default: none.")


if __name__ == "__main__":
    _define_flags()
    run_script(main)
