"""Who knows when not to read: python -m benchmarks.risk --data_root=DIR [--model=FILE]

Risk over coverage on the LR test words: ours, ours alone, and PP-OCRv6 small on bicubic images.
Every reader's thresholds are set on the same held-out words, validation and drawn ones.
"""

import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from absl import flags
from tqdm import tqdm

from benchmarks import needs_extra
from textsr_jax import reading
from textsr_jax.cli.scripts import run_script
from textsr_jax.decoding.word_search import WordSearch
from textsr_jax.errors import UserError, require
from textsr_jax.evaluation import risk, word_readers
from textsr_jax.experiments import draw_plots, fit_temperature
from textsr_jax.images import HR_SIZE, resize
from textsr_jax.report.tables import new_table, print_table
from textsr_jax.runtime import provenance
from textsr_jax.runtime.atomic import write_json
from textsr_jax.storage import packed_files
from textsr_jax.storage.shipped import SHIPPED

with needs_extra(__name__):
    from benchmarks.data import machine
    from textsr_jax.data.records import Record

THREADS = 2
DOCS = pathlib.Path(__file__).parents[1] / "docs"

# LR images, uint8 (16, 64, 3), RGB, to readings at temperature 1.
Read = Callable[[Sequence[np.ndarray]], list[reading.Reading]]


def peer(threads: int) -> Read:
    """PP-OCRv6's small recogniser on bicubic images.

    Raises:
      UserError: RapidOCR is not installed.
    """
    judge = word_readers.pp_ocr_6_small(threads)
    read_scored = judge.read_scored
    assert read_scored is not None

    def read(images: Sequence[np.ndarray]) -> list[reading.Reading]:
        found = []
        for image in tqdm(images, desc=judge.name, unit="word", disable=None):
            text, score = read_scored(resize(image, HR_SIZE))
            # It has no scores of letters.
            found.append(reading.Reading(text, score, (score,) * len(text)))
        return found

    return read


def measure(
    reader: str, read: Read, held_out: Sequence[Record], test: Sequence[Record]
) -> dict[str, Any]:
    """Sets thresholds on held-out words, and counts errors on test words.

    Args:
      reader: its name in the tables.
      read: the reader; it leaves out nothing.
      held_out: the words that set thresholds.
      test: the words of the curve.

    Returns:
      `reader`, `held_out` and `test` (how many words), `accuracy` and `area` (under the curve) on
      the test words, the curve as `coverage` and `selective_risk`, and `points`: what
      `risk.word_points` gives. Parts are in [0, 1].
    """
    fitted, found = (
        risk.Words.of(read([record.lr for record in records]), [r.label for r in records])
        for records in (held_out, test)
    )
    coverage, selective = risk.curve(found)
    return {
        "reader": reader,
        "held_out": len(fitted),
        "test": len(found),
        "accuracy": float((found.returned & ~found.wrong).mean()),
        "area": risk.area(coverage, selective),
        "coverage": coverage.round(6).tolist(),
        "selective_risk": selective.round(6).tolist(),
        "points": [point.as_json() for point in risk.word_points(fitted, found)],
    }


def our_readers(model: pathlib.Path) -> dict[str, Read]:
    """Our models as they read and, if that differs, the recogniser's best beam by one look."""
    config = packed_files.load(model).experiment(model).replace(decoding={"temperature": 1.0})
    readers = {word_readers.OURS: reading.load(model, config=config).read}
    if WordSearch.of(config.decoding).margin is not None:
        alone = config.replace(decoding={"language_weight": 0.0, "second_look": 0.0})
        readers[word_readers.ALONE] = reading.load(model, config=alone).read
    return readers


def _print(rows: Sequence[dict[str, Any]]) -> None:
    figures = ["threshold\nlog p", "returned\n%", "returned and\nwrong, %", "wrong of\nreturned, %"]
    table = new_table(
        f"{rows[0]['test']} LR test words; thresholds of {rows[0]['held_out']} held-out words",
        ["reader", "risk asked for"],
        figures,
    )
    for row in rows:
        for point in row["points"]:
            bound, wrong = point["threshold"], point["selective_risk"]
            table.add_row(
                row["reader"],
                f"{100 * point['asked']:g} %",
                "none" if bound is None else f"{bound:.4f}",
                f"{100 * point['coverage']:.1f}",
                f"{100 * point['risk']:.2f}",
                "" if wrong is None else f"{100 * wrong:.2f}",
            )
    print_table(table, keys=2)
    for row in rows:
        print(f"{row['reader']}: {100 * row['accuracy']:.1f} % right, AURC {row['area']:.4f}")


def main(arguments: list[str]) -> None:
    if arguments:
        raise UserError(f"{arguments[0]!r}: benchmarks.risk takes flags only")
    require("matplotlib", "plots")
    from textsr_jax.report import reader_plots

    # XLA takes as many threads as it finds cores when it starts, which is in the first network.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
    model, read_peer = pathlib.Path(flags.FLAGS.model), peer(THREADS)
    sources, name = fit_temperature.words(model, flags.FLAGS.data_root, flags.FLAGS.drawn)
    held_out = [*sources[fit_temperature.VALIDATION], *sources[fit_temperature.DRAWN]]
    readers = {**our_readers(model), word_readers.V6_SMALL: read_peer}
    test = sources[fit_temperature.TEST]
    rows = [measure(reader, read, held_out, test) for reader, read in readers.items()]
    _print(rows)
    about = {"machine": machine(), "model": model.name, "provenance": provenance.code()}
    write_json(flags.FLAGS.json, {**about, "data": name, "rows": rows})
    draw_plots.write(
        flags.FLAGS.plot, reader_plots.risk_coverage(rows, f"{len(test)} LR test words")
    )
    print(f"figures: {flags.FLAGS.json}, {flags.FLAGS.plot}")


def _define_flags() -> None:
    # Not on import: tests import several benchmarks, whose flags share names.
    flags.DEFINE_string("data_root", None, "TextZoom's LMDB folders; default: the model's data.")
    flags.DEFINE_string("model", str(SHIPPED), "Our models: a packed file.")
    flags.DEFINE_integer("drawn", 1000, "Words that are drawn for the thresholds.", lower_bound=1)
    flags.DEFINE_string("json", str(DOCS / "risk_coverage.json"), "The file for the figures.")
    flags.DEFINE_string("plot", str(DOCS / "risk_coverage.png"), "The file for the picture.")


if __name__ == "__main__":
    _define_flags()
    run_script(main)
