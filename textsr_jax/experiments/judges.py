"""SR models under judges: python -m textsr_jax.experiments.judges --sr=FILE,... --data_root=DIR

Every judge reads the bicubic, SR and HR images of the test splits: the recognisers of --judge, the
shipped reader, PP-OCRv4 to v6 and Tesseract. One that is not installed is left out with a line.
Models whose configs differ in nothing but the seed make one row: the mean and the deviation over
the seeds. Writes tables as JSON, what was read (the same command goes on with it after a stop), and
a plot of the gains over how well each judge reads HR images.
"""

import dataclasses
import functools
import itertools
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
from absl import flags
from tqdm import tqdm

from textsr_jax.cli.scripts import refuse, run_script
from textsr_jax.config.differences import first_difference
from textsr_jax.config.settings import Data, Experiment
from textsr_jax.errors import UserError, require
from textsr_jax.evaluation import named_models, word_readers
from textsr_jax.evaluation.judging import (
    BICUBIC,
    HR,
    Judge,
    Readings,
    Shown,
    Words,
    compare,
    digest,
    over_seeds,
)
from textsr_jax.evaluation.named_models import NamedModel
from textsr_jax.evaluation.protocol import Evaluation, Images
from textsr_jax.evaluation.word_readers import Read
from textsr_jax.experiments import draw_plots
from textsr_jax.report.tables import new_table, print_table
from textsr_jax.runtime import atomic, provenance
from textsr_jax.storage import packed_files, workdirs
from textsr_jax.storage.shipped import SHIPPED

FILE = "judges.json"


def open_words(words: Data) -> Evaluation:
    """The test splits of a data set, searched and scored as published.

    Raises:
      UserError: there are none, or they cannot be read.
    """
    return Evaluation.open(Experiment().replace(data=words.to_dict()))


def load_judges(files: Sequence[str], evaluation: Evaluation) -> tuple[list[Judge], list[str]]:
    """All judges, and for each that is not installed the line that says what is missing.

    Args:
      files: parameter files, packed files or workdirs of recognisers.
      evaluation: reads by those, word by word as `evaluate.py` does.

    Raises:
      UserError: a file has no recogniser, or cannot be read.
    """
    judges = []
    for name, model in _titled([named_models.load_judge(file, Experiment()) for file in files]):
        read = functools.partial(evaluation.read, model.network, model.variables)
        judges.append(Judge(name, digest(jax.tree.leaves(model.variables)), read))
    found, missing = word_readers.peers(len(os.sched_getaffinity(0)))
    # Tesseract starts a process a word: it reads last.
    found.sort(key=lambda reader: reader.name == word_readers.TESSERACT)
    for reader in [*word_readers.ours(SHIPPED), *found]:
        read = functools.partial(_one_by_one, reader.name, reader.read)
        # Another release's file has another size.
        judges.append(Judge(reader.name, f"{reader.megabytes} MB", read))
    return judges, missing


def _one_by_one(name: str, read: Read, images: Images) -> Words:
    return {
        split: [read(row) for row in tqdm(rows, f"{name}: {split}", leave=False, disable=None)]
        for split, rows in images.items()
    }


def load_images(sources: Sequence[str], evaluation: Evaluation) -> list[Shown]:
    """Bicubic images, those of each SR model, and HR images.

    Args:
      sources: parameter files, packed files or workdirs of SR models.
      evaluation: the test splits.

    Raises:
      UserError: a source has no SR model, or cannot be read.
    """
    shown = [Shown(BICUBIC, "", evaluation.bicubic())]
    first: dict[str, NamedModel] = {}
    for source, recipe in zip(sources, _recipes(sources), strict=True):
        model = named_models.load_sr(source, Experiment())
        # One network of a recipe is compiled for all seeds.
        network = first.setdefault(recipe, model).network
        images = evaluation.enhance(network, model.variables)
        shown.append(Shown(recipe, pathlib.Path(source).name, images))
    names = {recipe: name for recipe, (name, _) in zip(first, _titled(first.values()), strict=True)}
    shown[1:] = [dataclasses.replace(one, name=names[one.name]) for one in shown[1:]]
    return [*shown, Shown(HR, "", evaluation.hr)]


def _recipes(sources: Sequence[str]) -> list[str]:
    """For each model the first one of its recipe: their configs differ in nothing but the seed.

    Sizes of networks that neither uses may differ too: configs get new ones. A parameter file has
    no config, and is a recipe of its own.
    """
    firsts: dict[str, Experiment] = {}
    found = []
    for source in sources:
        path, first = pathlib.Path(source), source
        if path.is_dir() or packed_files.is_packed_file(path):
            config = workdirs.load_config(path).replace(seed=0)
            same = (name for name, other in firsts.items() if not first_difference(other, config))
            first = next(same, source)
            firsts.setdefault(first, config)
        found.append(first)
    return found


def _titled(models: Any) -> list[tuple[str, NamedModel]]:
    """The models with names that differ: the second `edsr` is `edsr 2`."""
    found: dict[str, NamedModel] = {}
    for model in models:
        title, number = model.name, 1
        while title in found:
            number += 1
            title = f"{model.name} {number}"
        found[title] = model
    return list(found.items())


def quality(shown: Sequence[Shown], evaluation: Evaluation) -> list[dict[str, Any]]:
    """The mean PSNR (dB; None for HR) and SSIM over the splits, for each of the images."""
    rows = []
    for one in shown:
        unread = {split: [""] * len(labels) for split, labels in evaluation.labels.items()}
        mean = evaluation.row(one.name, "", one.images, unread).mean
        rows.append({"sr": one.name, "source": one.source, "psnr": mean["psnr"]})
        rows[-1]["ssim"] = mean["ssim"]
    return rows


def tables(results: dict[str, Any]) -> list[Any]:
    """The tables of a record: the images' quality and who reads what; then the networks' gains."""
    splits = list(results["words"])
    read = new_table("accuracy, %", ["judge", "SR", "source"], [*splits, "mean", "gain", "PSNR"])
    # Every judge reads all images.
    for row, images in zip(results["rows"], itertools.cycle(results["quality"]), strict=False):
        figures = [*row["splits"].values(), row["mean"]]
        read.add_row(
            row["judge"],
            row["sr"],
            row["source"],
            *(f"{figure:.1f}" for figure in figures),
            f"{row['gain']:+.1f}" if "gain" in row else "",
            "" if images["psnr"] is None else f"{images['psnr']:.2f}",
        )
    columns = ["HR\n%", "SR\n%", "gain", "deviation\nover seeds", "error of\na gain", "n"]
    gained = new_table("gain over bicubic, points", ["judge", "SR"], columns)
    for row in results["networks"]:
        spread = row["deviation"]
        gained.add_row(
            row["judge"],
            row["sr"],
            f"{row['strength']:.1f}",
            f"{row['mean']:.1f}",
            f"{row['gain']:+.1f}",
            "-" if spread is None else f"{spread:.1f}",
            f"{row['error']:.1f}",
            str(row["trainings"]),
        )
    return [read, gained]


def plot(results: dict[str, Any]) -> Any:
    """The figure of each network's gains over how well the judges read HR images."""
    from textsr_jax.report import reader_plots

    networks: dict[str, list[reader_plots.Judged]] = {}
    for row in results["networks"]:
        spread = row["error"] if row["deviation"] is None else row["deviation"]
        judged = reader_plots.Judged(row["judge"], row["strength"], row["gain"], spread, {})
        networks.setdefault(row["sr"], []).append(judged)
    title = f"SR beside bicubic images: {sum(results['words'].values())} words"
    return reader_plots.network_gains(networks, title)


def report(
    sources: Sequence[str], files: Sequence[str], evaluation: Evaluation, out: pathlib.Path
) -> dict[str, Any]:
    """Judges all models, prints the tables and writes the JSON file, what was read, and the plot.

    Args:
      sources: as `load_images` takes them, one at least.
      files: as `load_judges` takes them.
      evaluation: the test splits.
      out: the JSON file. NAME_words.json and NAME.png are written beside it.

    Returns:
      The record in the JSON file.

    Raises:
      UserError: as of `load_images` and `load_judges`, or a file cannot be written.
    """
    judges, missing = load_judges(files, evaluation)
    for line in missing:
        print(f"left out: {line}", flush=True)
    shown = load_images(sources, evaluation)
    readings = Readings(out.with_name(f"{out.stem}_words.json"))
    rows = compare(shown, judges, evaluation.labels, readings)
    results: dict[str, Any] = {
        "data": evaluation.title,
        "fingerprint": evaluation.fingerprint,
        "words": {split: len(labels) for split, labels in evaluation.labels.items()},
        "provenance": provenance.code(),
        "quality": quality(shown, evaluation),
        "rows": rows,
        "networks": over_seeds(rows),
    }
    for table in tables(results):
        print_table(table, keys=2)
    atomic.write_json(out, results)
    picture = out.with_suffix(".png")
    draw_plots.write(picture, plot(results))
    print(f"figures: {out}\nplot: {picture}")
    return results


def main(arguments: list[str]) -> None:
    refuse(arguments)
    if not (_SR.value and _DATA_ROOT.value):
        raise UserError("--sr and --data_root are needed; name SR models, and TextZoom's folders")
    # It is needed when all is read.
    require("matplotlib", "plots")
    evaluation = open_words(Data(root=_DATA_ROOT.value))
    report(_SR.value, _JUDGE.value or [], evaluation, pathlib.Path(_OUT.value))


if __name__ == "__main__":
    _SR = flags.DEFINE_list(
        "sr", [], "SR models, by commas: parameter files, packed files or workdirs."
    )
    _JUDGE = flags.DEFINE_list(
        "judge", [], "Recognisers that judge, by commas: such files or workdirs."
    )
    _DATA_ROOT = flags.DEFINE_string(
        "data_root", None, "TextZoom's LMDB folders, of which test/* are read."
    )
    _OUT = flags.DEFINE_string(
        "out", FILE, "The JSON file; NAME_words.json and NAME.png are written beside it."
    )
    run_script(main)
