"""Our models beside other readers: python -m benchmarks.peers [--data_root=DIR] [--words=LMDB]

All readers of `evaluation.word_readers` read the same crops, one at a time, on two threads, in one
run: LR images enlarged by bicubic interpolation, our SR images, and HR images. With which readers
does SR pay? The plot has the gain of each over how well it reads HR images.
"""

import hashlib
import os
import pathlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from absl import flags
from tqdm import tqdm

from benchmarks import needs_extra
from configs import paper
from textsr_jax import metrics, reading, text
from textsr_jax.cli.scripts import run_script
from textsr_jax.config.checks import checked
from textsr_jax.data import sources
from textsr_jax.errors import UserError, require
from textsr_jax.evaluation import protocol, word_readers
from textsr_jax.evaluation.gains import gain, mean_gains
from textsr_jax.evaluation.word_readers import ALONE, OURS, V6_SMALL, Read, WordReader
from textsr_jax.experiments import draw_plots
from textsr_jax.images import HR_SIZE, resize
from textsr_jax.report.tables import new_table, print_table
from textsr_jax.runtime import provenance
from textsr_jax.runtime.atomic import write_json
from textsr_jax.storage.shipped import SHIPPED

with needs_extra(__name__):
    from benchmarks.data import machine

THREADS = 2
# What is read: LR images are enlarged by bicubic interpolation, by our SR model, or by the reader
# itself as it sees fit (LR).
BICUBIC, SR, HR, LR, AS_IS = "LR, bicubic", "our SR", "HR", "LR", "as they are"
RESULTS = pathlib.Path(__file__).parents[1] / "docs" / "peers.json"

# What was wanted of the shipped models: accuracy in per cent, gains in points.
WANTED_ABOVE, WANTED_HELP, WANTED_HELP_SMALL = 5.0, 0.0, 1.5
WANTED_HR = {OURS: 94.0, ALONE: 90.0}
WANTED_LR = {OURS: 82.5, ALONE: 78.0}


@dataclass(frozen=True)
class Words:
    """A set of labelled crops.

    Attributes:
      name: of the split or folder.
      images: uint8 (height, width, 3) each, by what was done to them, such as `HR`.
      labels: the true words.
    """

    name: str
    images: dict[str, list[np.ndarray]]
    labels: list[str]


def low_resolution(data_root: str, limit: int | None = None) -> list[Words]:
    """The test splits below a TextZoom data root: LR images, bicubic ones, and HR.

    Args:
      data_root: the folder.
      limit: so many words of each split at most.

    Raises:
      UserError: there are none.
    """
    test = protocol.open_pairs(checked(paper.get_config()), data_root).test
    if not test:
        raise UserError(f"--data_root={data_root}: has no test folders; name one with test/easy")
    splits = []
    for name, source in test.items():
        records = [source[index] for index in range(len(source))][:limit]
        if not records:
            raise UserError(f"{data_root}: test/{name} has no readable word; remove or repair it")
        images = {
            LR: [record.lr for record in records],
            BICUBIC: [resize(record.lr, HR_SIZE) for record in records],
            HR: [record.hr for record in records],
        }
        splits.append(Words(name, images, [record.label for record in records]))
    return splits


def labelled(folder: str, limit: int | None = None) -> Words:
    """The crops of an LMDB of the recognition benchmarks, as they are.

    Raises:
      UserError: there are none with labels, or one cannot be read.
    """
    items = [item for source in sources.expand([folder]) for item in source.items()][:limit]
    if error := next((item.error for item in items if item.error), ""):
        raise UserError(error)
    labels = [item.label for item in items if item.label]
    if not items or len(labels) < len(items):
        raise UserError(f"--words={folder}: has images without labels; name an LMDB folder")
    return Words(pathlib.Path(folder).name, {AS_IS: [item.image for item in items]}, labels)


def measure(judge: str, read: Read, words: Words, images: str) -> tuple[dict[str, Any], np.ndarray]:
    """Reads crops one at a time.

    Args:
      judge: its name in the tables.
      read: the reader.
      words: the crops; the first one is read once before the clock starts.
      images: which of `words.images`.

    Returns:
      A row of the record: `accuracy` in per cent (case and accents apart, letters and digits only,
      no lexicon), `as_written` in per cent (the same characters in the same case), `words_per_s`,
      the number of words `n`, and what they are of. And which words were read: bool (n,).
    """
    crops = words.images[images]
    read(crops[0])
    start = time.perf_counter()
    found = [
        read(crop)
        for crop in tqdm(crops, desc=f"{judge}: {words.name}, {images}", unit="word", disable=None)
    ]
    seconds = time.perf_counter() - start
    right = metrics.correct_words(list(map(text.fold, found)), list(map(text.fold, words.labels)))
    row = {
        "reader": judge,
        "images": images,
        "words": words.name,
        "n": len(crops),
        "accuracy": 100 * float(right.mean()),
        "as_written": 100 * metrics.word_accuracy(found, words.labels, as_written=True),
        "words_per_s": len(crops) / seconds,
    }
    return row, right


def compare(
    readers: Sequence[WordReader],
    enhance: Callable[[list[np.ndarray]], np.ndarray],
    splits: Sequence[Words],
    others: Sequence[Words],
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows of all judges, and what each gains by SR.

    Args:
      readers: the judges; each ends before the next begins.
      enhance: makes our SR images, uint8 (n, 32, 128, 3), of LR images.
      splits: what `low_resolution` gives; our SR images are added to them.
      others: what `labelled` gives.

    Returns:
      What `measure` gives for each judge and kind of images. And for each judge and split the gain
      of SR over bicubic: `points`, and how many words it turned right (`helped`) and wrong
      (`hurt`) of `n`.
    """
    for words in splits:
        words.images[SR] = list(enhance(words.images[LR]))
    rows, gains = [], []
    for judge in readers:
        whole = judge.read_crop or judge.read
        for words in splits:
            row, bicubic = measure(judge.name, judge.read, words, BICUBIC)
            rows.append(row)
            row, sr = measure(judge.name, judge.read, words, SR)
            rows += [row, measure(judge.name, judge.read, words, HR)[0]]
            if judge.read_crop is not None:
                rows.append(measure(judge.name, whole, words, LR)[0])
            gains.append(gain(judge.name, words.name, bicubic, sr))
        rows += [measure(judge.name, whole, words, AS_IS)[0] for words in others]
    return rows, gains


def means(rows: Sequence[dict[str, Any]], splits: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Plain means over `splits`, by judge and kind of images: `accuracy` and `as_written`."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row["words"] in splits:
            found.setdefault(row["reader"], {}).setdefault(row["images"], []).append(row)
    return {
        judge: {
            images: {
                score: float(np.mean([row[score] for row in kind]))
                for score in ("accuracy", "as_written")
            }
            for images, kind in kinds.items()
        }
        for judge, kinds in found.items()
    }


def targets(
    mean: dict[str, dict[str, Any]], gained: dict[str, dict[str, float]]
) -> list[dict[str, Any]]:
    """What was wanted beside what was reached: accuracy in per cent, gains in points.

    Args:
      mean: what `means` gives; without splits there are no targets.
      gained: what `mean_gains` gives.
    """
    wanted = []
    for name in (OURS, ALONE):
        if name in mean:
            kinds = {images: scores["accuracy"] for images, scores in mean[name].items()}
            wanted += [
                (f"{name}, LR, %", WANTED_LR[name], kinds[LR]),
                (f"{name}, HR, %", WANTED_HR[name], kinds[HR]),
            ]
    if OURS in mean and V6_SMALL in mean:
        above = mean[OURS][LR]["accuracy"] - mean[V6_SMALL][BICUBIC]["accuracy"]
        wanted.append((f"{OURS}, LR above {V6_SMALL} on bicubic, points", WANTED_ABOVE, above))
    for name, scores in gained.items():
        target = WANTED_HELP_SMALL if name == V6_SMALL else WANTED_HELP
        wanted.append((f"{name} on our SR images above bicubic, points", target, scores["points"]))
    return [
        {"what": what, "target": target, "reached": reached, "met": reached >= target}
        for what, target, reached in wanted
    ]


def plot(results: dict[str, Any]) -> Any:
    """The figure of the gains over how well each judge reads HR images.

    Args:
      results: the record, of at least one split.
    """
    from textsr_jax.report import reader_plots

    judged = [
        reader_plots.Judged(
            name,
            results["means"][name][HR]["accuracy"],
            gained["points"],
            gained["error"],
            {one["words"]: one["points"] for one in results["gains"] if one["reader"] == name},
        )
        for name, gained in results["mean_gains"].items()
    ]
    words = sum(row["n"] for row in results["gains"]) // len(judged)
    return reader_plots.gains(judged, f"our SR images beside bicubic ones: {words} words")


def _tables(results: dict[str, Any]) -> list[Any]:
    rows, splits, others = results["rows"], results["splits"], results["others"]
    by_kind: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        by_kind.setdefault((row["reader"], row["images"]), {})[row["words"]] = row
    names = [judge["name"] for judge in results["judges"]]
    tables = []
    if splits:
        figures = [*(f"{name}\n%" for name in splits), "mean\n%", "as\nwritten", "SR's\ngain"]
        table = new_table("low-resolution words", ["reader", "images"], [*figures, "words/s"])
        for name in names:
            for images, scores in results["means"][name].items():
                found = by_kind[name, images]
                gained = results["mean_gains"][name]["points"]
                table.add_row(
                    name,
                    images,
                    *(f"{found[split]['accuracy']:.1f}" for split in splits),
                    f"{scores['accuracy']:.1f}",
                    f"{scores['as_written']:.1f}",
                    f"{gained:+.1f}" if images == SR else "",
                    _speed([found[split] for split in splits]),
                )
        tables.append(table)
    figures = ["MB"]
    for other in others:
        figures += [f"{other}\n%", "as\nwritten", "words/s"]
    table = new_table("file sizes, and words as they are", ["reader"], figures)
    for judge in results["judges"]:
        found = [by_kind[judge["name"], AS_IS][other] for other in others]
        cells = ["-" if judge["megabytes"] is None else f"{judge['megabytes']:.1f}"]
        for row in found:
            cells += [f"{row['accuracy']:.1f}", f"{row['as_written']:.1f}", _speed([row])]
        table.add_row(judge["name"], *cells)
    tables.append(table)
    if results["targets"]:
        table = new_table("wanted and reached", ["what"], ["wanted", "reached", "met"])
        for row in results["targets"]:
            met = "yes" if row["met"] else "no"
            table.add_row(row["what"], f"{row['target']:.1f}", f"{row['reached']:.1f}", met)
        tables.append(table)
    return tables


def _speed(rows: Sequence[dict[str, Any]]) -> str:
    seconds = sum(row["n"] / row["words_per_s"] for row in rows)
    return f"{sum(row['n'] for row in rows) / seconds:.1f}"


def main(arguments: list[str]) -> None:
    if arguments:
        raise UserError(f"{arguments[0]!r}: benchmarks.peers takes flags only")
    if not flags.FLAGS.data_root and not flags.FLAGS.words:
        raise UserError("nothing to read; name folders in --data_root or --words")
    require("matplotlib", "plots")
    # XLA takes as many threads as it finds cores when it starts, which is in the first network.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
    model = pathlib.Path(flags.FLAGS.model)
    others, missing = word_readers.peers(THREADS)
    for line in missing:
        print(f"left out: {line}")
    readers = [*others, *word_readers.ours(model)]
    splits = []
    if flags.FLAGS.data_root:
        splits = low_resolution(flags.FLAGS.data_root, flags.FLAGS.limit)
    crops = [labelled(folder, flags.FLAGS.limit) for folder in flags.FLAGS.words]
    rows, gains = compare(readers, reading.load(model).enhance, splits, crops)
    names = [words.name for words in splits]
    mean, gained = means(rows, names), mean_gains(gains)
    results = {
        "machine": machine(),
        "model": model.name,
        "model_sha256": hashlib.sha256(model.read_bytes()).hexdigest() if model.is_file() else None,
        "provenance": provenance.code(),
        "judges": [{"name": judge.name, "megabytes": judge.megabytes} for judge in readers],
        "splits": names,
        "others": [words.name for words in crops],
        "rows": rows,
        "means": mean,
        "gains": gains,
        "mean_gains": gained,
        "targets": targets(mean, gained),
    }
    print(f"{model.name} beside {len(others)} other readers on {results['machine']}")
    for table in _tables(results):
        print_table(table)
    write_json(flags.FLAGS.out, results)
    print(f"figures: {flags.FLAGS.out}")
    if splits:
        picture = pathlib.Path(flags.FLAGS.out).with_name("sr_gain.png")
        draw_plots.write(picture, plot(results))
        print(f"plot: {picture}")


def _define_flags() -> None:
    # Not on import: tests import several benchmarks, whose flags share names.
    flags.DEFINE_string("data_root", None, "TextZoom's LMDB folders, of which test/* are read.")
    flags.DEFINE_multi_string("words", [], "An LMDB folder of a recognition benchmark; repeatable.")
    flags.DEFINE_string("model", str(SHIPPED), "Our models: a packed file or a workdir.")
    flags.DEFINE_integer("limit", None, "So many words of each set at most.", lower_bound=1)
    flags.DEFINE_string("out", str(RESULTS), "The JSON file; sr_gain.png is written beside it.")


if __name__ == "__main__":
    _define_flags()
    run_script(main)
