"""How fast words come: python -m benchmarks.data [--data_root=TEXTZOOM]

Pairs a second of the synthetic words' generator, of preparing TextZoom's LMDBs, and of the training
batches that Grain reads from the prepared set, by workers and threads. A table, and JSON.
"""

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
from absl import flags
from rich.table import Table
from tqdm import tqdm

from benchmarks import needs_extra
from configs import paper
from textsr_jax import data
from textsr_jax.cli.scripts import run_script
from textsr_jax.data.synthetic import generation
from textsr_jax.errors import UserError
from textsr_jax.report.tables import print_table
from textsr_jax.runtime.atomic import write_json

with needs_extra(__name__):
    from textsr_jax.data import textzoom
    from textsr_jax.data.batching import train_batches
    from textsr_jax.data.records import Records

BATCH = 64
SEED = 0


def rate(words: Iterator[Any], count: int, size: int = 1) -> tuple[float, float]:
    """Seconds until the first item of `words`, and pairs a second of `count` items behind it.

    Args:
      words: at least count + 1 items.
      count: how many are timed.
      size: pairs an item.
    """
    start = time.perf_counter()
    next(words)
    first = time.perf_counter()
    for _ in range(count):
        next(words)
    return first - start, count * size / (time.perf_counter() - first)


def drawing(workers: int, words: int) -> dict[str, Any]:
    """The generator, drawing the first words of the paper config by some processes."""
    settings = dict(paper.get_config().data.synthetic)
    del settings["workers"]
    with generation.Workers(
        generation.GeneratorSettings(**(settings | {"train": words + 1})), workers
    ) as drawn:
        start, pairs = rate(drawn.draw("train"), words)
    return _row("generator", "processes", workers, pairs, start)


def preparing(root: str, folder: str) -> dict[str, Any]:
    """Reading LMDBs and writing them as TFDS keeps them, once for each data root."""
    start = time.perf_counter()
    builder = textzoom.load(root, folder)
    seconds = time.perf_counter() - start
    count = sum(split.num_examples for split in builder.info.splits.values())
    return _row("LMDB to prepared set", "processes", 1, count / seconds, 0.0)


def reading(source: Records, threads: int, words: int) -> dict[str, Any]:
    """Training batches by Grain: PNGs decoded and stacked."""
    batches = train_batches(
        source,
        batch_size=BATCH,
        max_length=paper.get_config().max_length,
        seed=SEED,
        threads=threads,
    )
    # What is read ahead of the clock must not count.
    for _ in range(16):
        next(batches)
    start, pairs = rate(batches, words // BATCH, BATCH)
    return _row("batches", "threads", threads, pairs, start)


def _row(what: str, unit: str, count: int, pairs: float, start: float) -> dict[str, Any]:
    return {
        "what": what,
        "unit": unit,
        "count": count,
        "pairs_per_s": pairs,
        "per_worker": pairs / count,
        "start_s": start,
    }


def main(arguments: list[str]) -> None:
    if arguments:
        raise UserError(f"{arguments[0]!r}: benchmarks.data takes flags only")
    counts = _counts(flags.FLAGS.workers)
    words = flags.FLAGS.words
    results: dict[str, Any] = {"machine": machine(), "words": words, "rows": []}
    with tempfile.TemporaryDirectory() as folder:
        config = paper.get_config().data
        config.data_dir, config.root = folder, flags.FLAGS.data_root
        config.synthetic.update(train=words, validation=1, test=1)
        works = [lambda count=count: drawing(count, words) for count in counts]
        if flags.FLAGS.data_root:
            works.append(lambda: preparing(flags.FLAGS.data_root, folder))
        works += [
            lambda count=count: reading(data.load(config).train, count, words) for count in counts
        ]
        for work in tqdm(works, desc="measuring", unit="row", disable=None):
            results["rows"].append(work())
            if flags.FLAGS.out:
                write_json(flags.FLAGS.out, results)
    _print(results)
    if flags.FLAGS.out:
        print(f"figures: {flags.FLAGS.out}")


def _counts(chosen: Sequence[str] | None) -> list[int]:
    if chosen is None:
        cores = len(os.sched_getaffinity(0))
        return sorted({min(2**power, cores) for power in range(cores.bit_length() + 1)})
    if not chosen or not all(count.isdigit() and int(count) for count in chosen):
        raise UserError(f"--workers={','.join(chosen)}: give numbers from 1, such as 1,2,4")
    return [int(count) for count in chosen]


def machine() -> str:
    """What the figures were taken on."""
    return f"{len(os.sched_getaffinity(0))} cores of {os.uname().machine}, jax {jax.__version__}"


def _print(results: dict[str, Any]) -> None:
    table = Table(title=f"pairs a second: {results['machine']}")
    table.add_column("what")
    table.add_column("by")
    for column in ("count", "pairs/s", "of each", "s to the first"):
        table.add_column(column, justify="right")
    for row in results["rows"]:
        table.add_row(
            row["what"],
            row["unit"],
            str(row["count"]),
            f"{row['pairs_per_s']:.0f}",
            f"{row['per_worker']:.0f}",
            f"{row['start_s']:.2f}" if row["unit"] == "processes" else "-",
        )
    print_table(table, keys=2)


def _define_flags() -> None:
    # Not on import: tests import several benchmarks, whose flags share names.
    flags.DEFINE_string(
        "data_root", "", "TextZoom's LMDB folders; without, batches are read from synthetic words."
    )
    flags.DEFINE_integer(
        "words", 2000, "Words that each row draws or reads; at least 256.", lower_bound=256
    )
    flags.DEFINE_list(
        "workers", None, "Numbers of processes and threads; default 1, 2, 4, ... up to the cores."
    )
    flags.DEFINE_string("out", None, "A JSON file for the figures.")


if __name__ == "__main__":
    _define_flags()
    run_script(main)
