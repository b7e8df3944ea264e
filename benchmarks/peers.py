"""Our models beside PP-OCRv4: python -m benchmarks.peers [--data_root=DIR] [--words=LMDB]

Both read the same crops, one at a time, on two threads, in one run: how many words right, how many
a second. PP-OCRv4 also judges our SR images, which it never saw: do they help it?
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
from rich.table import Table
from tqdm import tqdm

from benchmarks import needs_extra
from configs import paper
from textsr_jax import metrics, reading, text
from textsr_jax.cli.scripts import run_script
from textsr_jax.config.checks import checked
from textsr_jax.data import sources
from textsr_jax.decoding.word_search import WordSearch
from textsr_jax.errors import UserError, installing
from textsr_jax.evaluation import protocol
from textsr_jax.images import HR_SIZE, resize
from textsr_jax.report.tables import print_table
from textsr_jax.runtime import provenance
from textsr_jax.storage import workdirs
from textsr_jax.storage.atomic import write_json
from textsr_jax.storage.shipped import SHIPPED

with needs_extra(__name__):
    from benchmarks.data import machine

THREADS = 2
PEER, OURS = "PP-OCRv4", "ours"
# Our recogniser's best beam by one look, whatever its config says.
ALONE = "ours, the recogniser alone"
BICUBIC, LR, SR, HR, AS_IS = "LR, bicubic", "LR", "our SR", "HR", "as they are"
RESULTS = pathlib.Path(__file__).parents[1] / "docs" / "peers.json"

# What was wanted of the shipped models: accuracy in per cent, gains in points.
WANTED_GAIN, WANTED_HELP, WANTED_WORDS = 12.0, 0.0, 85.0

# An image, uint8 (height, width, 3), RGB, to the word in it.
Read = Callable[[np.ndarray], str]


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


def pp_ocr(threads: int) -> Read:
    """PP-OCRv4's recogniser in ONNX Runtime, by RapidOCR; it neither detects nor turns words.

    Raises:
      UserError: RapidOCR is not installed.
    """
    try:
        from rapidocr_onnxruntime import RapidOCR
    except ImportError as error:
        raise UserError(
            f"{PEER}: RapidOCR is not installed ({error}); {installing('benchmarks')}"
        ) from error
    engine = RapidOCR(intra_op_num_threads=threads, inter_op_num_threads=1)

    def read(image: np.ndarray) -> str:
        # It takes the channels in OpenCV's order.
        blue_first = np.ascontiguousarray(image[..., ::-1])
        found, _ = engine(blue_first, use_det=False, use_cls=False, use_rec=True)
        return found[0][0] if found else ""

    return read


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


def measure(reader: str, read: Read, words: Words, images: str) -> dict[str, Any]:
    """Reads crops one at a time.

    Args:
      reader: its name in the tables.
      read: the reader.
      words: the crops; the first one is read once before the clock starts.
      images: which of `words.images`.

    Returns:
      `accuracy` in per cent (case and accents apart, letters and digits only, no lexicon),
      `words_per_s`, the number of words `n`, and what they are of.
    """
    crops = words.images[images]
    read(crops[0])
    start = time.perf_counter()
    found = [
        read(crop)
        for crop in tqdm(crops, desc=f"{reader}: {words.name}, {images}", unit="word", disable=None)
    ]
    seconds = time.perf_counter() - start
    return {
        "reader": reader,
        "images": images,
        "words": words.name,
        "n": len(crops),
        "accuracy": 100
        * metrics.word_accuracy(list(map(text.fold, found)), list(map(text.fold, words.labels))),
        "words_per_s": len(crops) / seconds,
    }


def compare(
    peer: Read,
    readers: dict[str, reading.Reader],
    splits: Sequence[Words],
    others: Sequence[Words],
) -> list[dict[str, Any]]:
    """The rows of all readers; see `measure`.

    Args:
      peer: reads an image at a time.
      readers: our pair by `OURS` and, if that differs, by `ALONE`. LR images they enlarge
        themselves, others they read as `Reader.read` decides.
      splits: what `low_resolution` gives; our SR images are added to them.
      others: what `labelled` gives.
    """

    def word_by(reader: reading.Reader) -> Read:
        return lambda image: reader.read([image])[0].text

    ours = {name: word_by(reader) for name, reader in readers.items()}
    plan = []
    for words in splits:
        words.images[SR] = list(readers[OURS].enhance(words.images[LR]))
        plan += [(PEER, peer, words, images) for images in (BICUBIC, SR, HR)]
        plan += [(name, read, words, images) for name, read in ours.items() for images in (LR, HR)]
    for words in others:
        plan += [(name, read, words, AS_IS) for name, read in ((PEER, peer), *ours.items())]
    # One reader after the other: worker threads of the first keep spinning for a while.
    plan.sort(key=lambda step: step[0])
    return [measure(*step) for step in plan]


def means(rows: Sequence[dict[str, Any]], splits: Sequence[str]) -> dict[str, float]:
    """Of each reader and kind of images, "reader, images", the plain mean accuracy of `splits`."""
    kinds = {(row["reader"], row["images"]) for row in rows if row["words"] in splits}
    return {
        ", ".join(kind): float(
            np.mean(
                [
                    row["accuracy"]
                    for row in rows
                    if (row["reader"], row["images"]) == kind and row["words"] in splits
                ]
            )
        )
        for kind in sorted(kinds)
    }


def targets(rows: Sequence[dict[str, Any]], mean: dict[str, float]) -> list[dict[str, Any]]:
    """What was wanted beside what was reached."""
    wanted = []
    if mean:
        bicubic = mean[f"{PEER}, {BICUBIC}"]
        for name in (OURS, ALONE):
            if f"{name}, {LR}" in mean:
                gain = mean[f"{name}, {LR}"] - bicubic
                wanted.append((f"{name}, LR above {PEER} on bicubic, points", WANTED_GAIN, gain))
        help_ = mean[f"{PEER}, {SR}"] - bicubic
        wanted.append((f"{PEER} on our SR images above bicubic, points", WANTED_HELP, help_))
    wanted += [
        (f"{row['reader']}, {row['words']}, %", WANTED_WORDS, row["accuracy"])
        for row in rows
        if row["reader"] != PEER and row["images"] == AS_IS
    ]
    return [
        {"what": what, "target": target, "reached": reached, "met": reached >= target}
        for what, target, reached in wanted
    ]


def _tables(results: dict[str, Any]) -> list[Table]:
    rows, splits, others = results["rows"], results["splits"], results["others"]
    tables = []
    for names, title in ((splits, "low-resolution words"), (others, "word crops")):
        if not names:
            continue
        table = Table(title=f"{title} read rightly, without lexicon")
        table.add_column("reader")
        table.add_column("images")
        for name in names:
            table.add_column(f"{name}\n%", justify="right")
        if names is splits:
            table.add_column("mean\n%", justify="right")
        table.add_column("words/s", justify="right")
        kinds = dict.fromkeys((row["reader"], row["images"]) for row in rows)
        for kind in kinds:
            found = {row["words"]: row for row in rows if (row["reader"], row["images"]) == kind}
            if not set(names) <= found.keys():
                continue
            cells = [f"{found[name]['accuracy']:.1f}" for name in names]
            if names is splits:
                cells.append(f"{results['means'][', '.join(kind)]:.1f}")
            seconds = sum(found[name]["n"] / found[name]["words_per_s"] for name in names)
            count = sum(found[name]["n"] for name in names)
            table.add_row(*kind, *cells, f"{count / seconds:.1f}")
        tables.append(table)
    table = Table(title="wanted and reached")
    table.add_column("what")
    for column in ("wanted", "reached", "met"):
        table.add_column(column, justify="right")
    for row in results["targets"]:
        table.add_row(
            row["what"],
            f"{row['target']:.1f}",
            f"{row['reached']:.1f}",
            "yes" if row["met"] else "no",
        )
    return [*tables, table]


def main(arguments: list[str]) -> None:
    if arguments:
        raise UserError(f"{arguments[0]!r}: benchmarks.peers takes flags only")
    if not flags.FLAGS.data_root and not flags.FLAGS.words:
        raise UserError("nothing to read; name folders in --data_root or --words")
    # XLA takes as many threads as it finds cores when it starts, which is in the first network.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
    peer, model = pp_ocr(THREADS), pathlib.Path(flags.FLAGS.model)
    readers, config = {OURS: reading.load(model)}, workdirs.load_config(model)
    if WordSearch.of(config.decoding).margin is not None:
        config.decoding.language_weight = config.decoding.second_look = 0.0
        readers[ALONE] = reading.load(model, config=config)
    splits = []
    if flags.FLAGS.data_root:
        splits = low_resolution(flags.FLAGS.data_root, flags.FLAGS.limit)
    others = [labelled(folder, flags.FLAGS.limit) for folder in flags.FLAGS.words]
    rows = compare(peer, readers, splits, others)
    names = [words.name for words in splits]
    mean = means(rows, names)
    results = {
        "machine": machine(),
        "model": model.name,
        "model_sha256": hashlib.sha256(model.read_bytes()).hexdigest() if model.is_file() else None,
        "provenance": provenance.code(),
        "splits": names,
        "others": [words.name for words in others],
        "rows": rows,
        "means": mean,
        "targets": targets(rows, mean),
    }
    print(f"{model.name} beside {PEER} on {results['machine']}")
    for table in _tables(results):
        print_table(table)
    write_json(flags.FLAGS.out, results)
    print(f"figures: {flags.FLAGS.out}")


def _define_flags() -> None:
    # Not on import: tests import several benchmarks, whose flags share names.
    flags.DEFINE_string("data_root", None, "TextZoom's LMDB folders, of which test/* are read.")
    flags.DEFINE_multi_string("words", [], "An LMDB folder of a recognition benchmark; repeatable.")
    flags.DEFINE_string("model", str(SHIPPED), "Our models: a packed file or a workdir.")
    flags.DEFINE_integer("limit", None, "So many words of each set at most.", lower_bound=1)
    flags.DEFINE_string("out", str(RESULTS), "The JSON file.")


if __name__ == "__main__":
    _define_flags()
    run_script(main)
