"""How fast words are drawn in JAX beside the generator of prepared words, in one run.

  python -m benchmarks.drawing --out=drawing.json

Both use the same cores: the generator a process on each, JAX its own threads. Rounds of both take
turns, so that other work on the machine slows both down. A table, and JSON.
"""

import os
import statistics
import time
from collections.abc import Sequence
from typing import Any

import jax
from absl import flags
from tqdm import tqdm

from benchmarks import needs_extra
from configs import paper
from textsr_jax.cli.scripts import refuse, run_script
from textsr_jax.config.checks import checked
from textsr_jax.data.synthetic import generation
from textsr_jax.report.tables import new_table, print_table
from textsr_jax.runtime.atomic import write_json

with needs_extra(__name__):
    from benchmarks.data import machine, rate
    from textsr_jax.data import drawing

SEED = 0


class Drawer:
    """Draws batches in JAX.

    Args:
      batch: words at once.

    Attributes:
      start_s: seconds until the first batch was drawn, for letters, compilation and drawing.
    """

    def __init__(self, batch: int):
        config = checked(paper.get_config())
        self._batch, start = batch, time.perf_counter()
        settings = drawing.draw_settings(
            config.data.synthetic, batch_size=batch, max_length=config.max_length
        )
        self._settings = jax.device_put(settings)
        self._draw = jax.jit(drawing.draw)
        self._key = jax.random.key(SEED)
        self._number = 0
        jax.block_until_ready(self._next())
        self.start_s = time.perf_counter() - start

    def rate(self, words: int) -> float:
        """Words a second of at least so many words."""
        start = time.perf_counter()
        count = -(-words // self._batch)
        for _ in range(count):
            drawn = self._next()
        jax.block_until_ready(drawn)
        return count * self._batch / (time.perf_counter() - start)

    def _next(self) -> Any:
        self._number += 1
        return self._draw(jax.random.fold_in(self._key, self._number), self._settings)


def generator_rate(cores: int, words: int) -> float:
    """Words a second of the generator of prepared words, from a warm start."""
    fields = dict(paper.get_config().data.synthetic)
    del fields["workers"]
    # The processes load the fonts that they meet while they draw the first words.
    warm = 100 * cores
    settings = generation.GeneratorSettings(**(fields | {"train": warm + words + 1}))
    with generation.Workers(settings, cores) as drawn:
        pairs = drawn.draw("train")
        for _ in range(warm):
            next(pairs)
        return rate(pairs, words)[1]


def measure(words: int, rounds: int, batches: Sequence[int]) -> dict[str, Any]:
    """Words a second of the generator and of JAX, in turns.

    Args:
      words: of each round, at least.
      rounds: how many; medians count.
      batches: how many words JAX draws at once; a row for each.

    Returns:
      `machine`, `words`, and `rows` with `what`, `batch`, `by`, `words_per_s`, `rounds`, `ratio` to
      the generator, and `start_s`, the seconds until JAX had drawn its first batch.
    """
    cores = len(os.sched_getaffinity(0))
    drawers = {batch: Drawer(batch) for batch in batches}
    rates: dict[int | None, list[float]] = {}
    for _ in tqdm(range(rounds), desc="measuring", unit="round", disable=None):
        rates.setdefault(None, []).append(generator_rate(cores, words))
        for batch, drawer in drawers.items():
            rates.setdefault(batch, []).append(drawer.rate(words))
    device = jax.devices()[0]
    base = statistics.median(rates[None])
    rows = [
        {
            "what": "generator" if batch is None else "in JAX",
            "batch": batch,
            "by": f"{cores} processes" if batch is None else device.device_kind,
            "words_per_s": statistics.median(found),
            "rounds": found,
            "ratio": statistics.median(found) / base,
            "start_s": None if batch is None else drawers[batch].start_s,
        }
        for batch, found in rates.items()
    ]
    return {"machine": machine(), "words": words, "rows": rows}


def print_results(results: dict[str, Any]) -> None:
    """The rows of `measure` as a table."""
    table = new_table(
        f"words a second: {results['machine']}",
        ["what", "by"],
        ["batch", "words/s", "ratio", "s to\nthe first"],
    )
    for row in results["rows"]:
        table.add_row(
            row["what"],
            row["by"],
            str(row["batch"] or "-"),
            f"{row['words_per_s']:.0f}",
            f"{row['ratio']:.2f}",
            "-" if row["start_s"] is None else f"{row['start_s']:.1f}",
        )
    print_table(table, keys=2)


def main(arguments: list[str]) -> None:
    refuse(arguments)
    batches = [int(batch) for batch in flags.FLAGS.batches]
    results = measure(flags.FLAGS.words, flags.FLAGS.rounds, batches)
    print_results(results)
    if flags.FLAGS.out:
        write_json(flags.FLAGS.out, results)
        print(f"figures: {flags.FLAGS.out}")


def _define_flags() -> None:
    # Not on import: tests import several benchmarks, whose flags share names.
    flags.DEFINE_integer("words", 1024, "Words of each round, at least.", lower_bound=64)
    flags.DEFINE_integer("rounds", 3, "Rounds; the table has their median.", lower_bound=1)
    flags.DEFINE_list("batches", ["64", "256"], "Words that are drawn at once in JAX.")
    flags.DEFINE_string("out", None, "A JSON file for the figures.")


if __name__ == "__main__":
    _define_flags()
    run_script(main)
