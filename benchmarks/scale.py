"""How data grow: python -m benchmarks.scale --data_root=TEXTZOOM --counts=20000,100000

Makes LMDBs of so many words from the training words of a data root, each again and again, and takes
time, disk and memory of preparing and of a start. LMDBs that are read as they are have their own
rows. What the published recogniser's 14 million words would take is computed; an LMDB of so many
tiny images is opened as it is. A table, and JSON.
"""

import concurrent.futures
import itertools
import multiprocessing
import os
import pathlib
import resource
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

import numpy as np
from absl import flags
from rich.table import Table

from benchmarks import needs_extra
from configs import paper
from textsr_jax import data, text
from textsr_jax.cli.scripts import run_script
from textsr_jax.config.checks import checked
from textsr_jax.config.settings import Data
from textsr_jax.errors import UserError
from textsr_jax.report.tables import print_table
from textsr_jax.runtime.atomic import write_json

with needs_extra(__name__):
    import lmdb

    from textsr_jax.data import lmdb_folders, png, textzoom
    from textsr_jax.data.batching import train_batches

PUBLISHED = 14_000_000
BATCH, TIMED = 16, 50  # words a batch, and batches whose rate is taken
PAIRS = {"label": "label", "image_hr": "image_hr", "image_lr": "image_lr"}
WORDS = {"label": "label", "image_hr": "image"}  # HR images stand for those of MJSynth

# What each row has: its title, its unit, and whether it is computed for more words.
MEASURED = {
    "source_gb": ("LMDB", "GB", True),
    "prepare_s": ("prepare", "s", True),
    "prepare_cpu_s": ("prepare, processor", "s", True),
    "disk_peak_gb": ("disk at the peak, beside the LMDB", "GB", True),
    "disk_gb": ("disk afterwards", "GB", True),
    "prepare_memory_mb": ("memory of preparing", "MB", True),
    "start_s": ("start to the first batch", "s", True),
    "start_cpu_s": ("start, processor", "s", True),
    "start_memory_mb": ("memory of a start", "MB", True),
    "keys_ms": ("keys of a batch", "ms", False),
    "rate": ("words a processor second", "", False),
    "as_is_start_s": ("LMDB as it is: start to the first batch", "s", False),
    "as_is_start_cpu_s": ("LMDB as it is: start, processor", "s", False),
    "as_is_memory_mb": ("LMDB as it is: memory of a start", "MB", False),
    "as_is_rate": ("LMDB as it is: words a processor second", "", False),
}


def training_records(root: str) -> list[dict[str, bytes]]:
    """The fields of all records in the train folders of a data root."""
    found = []
    for folder in textzoom.folders(root):
        if not folder.startswith("test/"):
            with lmdb_folders.open_samples(pathlib.Path(root) / folder, "TextZoom's") as samples:
                for number in samples.numbers:
                    values = {name: samples.get(name, number) for name in PAIRS}
                    found.append({name: value for name, value in values.items() if value})
    return found


def write(
    records: Sequence[dict[str, bytes]], count: int, folder: pathlib.Path, names: dict[str, str]
) -> None:
    """An LMDB of `count` records, repeated; `names` are the fields' names there, by those here."""
    folder.mkdir(parents=True)
    # A key and a node's head, pages that are half full, and up to a page more for a long value.
    largest = (max(len(record[name]) for record in records) for name in names)
    space = (1 << 26) + 2 * count * sum(64 + size + 4096 * (size > 1000) for size in largest)
    with (
        lmdb.open(str(folder), map_size=space, sync=False, writemap=True) as store,
        store.begin(write=True) as transaction,
    ):
        for name in sorted(names, key=lambda name: names[name]):
            for number, record in zip(range(1, count + 1), itertools.cycle(records), strict=False):
                key = b"%s-%09d" % (names[name].encode(), number)
                transaction.put(key, record[name], append=True)
        transaction.put(b"num-samples", b"%d" % count)


def prepare(root: str, data_dir: str) -> dict[str, float]:
    """Prepares the LMDBs of a root in this process and its children."""
    with Watch(data_dir) as watch:
        wall, cpu, _ = taken(lambda: textzoom.load(root, data_dir))
    return {
        "prepare_s": wall,
        "prepare_cpu_s": cpu,
        "disk_peak_gb": watch.disk,
        "disk_gb": disk(data_dir),
        "prepare_memory_mb": watch.memory,
    }


def start(config: Data) -> dict[str, float]:
    """What `train.py` does with a prepared set until its first batch, and what follows."""

    def first() -> tuple[Any, Any, Any]:
        train = data.load(config).train
        batches = train_batches(train, batch_size=BATCH, max_length=30, seed=0)
        return train, batches, next(batches)

    with Watch() as watch:
        wall, cpu, (train, batches, batch) = taken(first)
    keys, _, _ = taken(lambda: [train[int(number)].key for number in batch.index])
    return {
        "start_s": wall,
        "start_cpu_s": cpu,
        "start_memory_mb": watch.memory,
        "keys_ms": 1000 * keys,
        "rate": rate(batches),
    }


def start_as_is(config: Data) -> dict[str, float]:
    """What `train.py` does with `config.words` until its first batch, and the rate of others."""

    def first() -> Iterator[Any]:
        words = data.load_words(config, text.ALPHANUMERIC, 30)
        batches = train_batches([], batch_size=BATCH, max_length=30, seed=0, beside=words)
        next(batches)
        return batches

    with Watch() as watch:
        wall, cpu, batches = taken(first)
    return {
        "as_is_start_s": wall,
        "as_is_start_cpu_s": cpu,
        "as_is_memory_mb": watch.memory,
        "as_is_rate": rate(batches),
    }


def taken(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Seconds, processor seconds of this process and its children, and what `work` returns."""
    wall, cpu = time.perf_counter(), _processor()
    result = work()
    return time.perf_counter() - wall, _processor() - cpu, result


def rate(batches: Iterator[Any]) -> float:
    """Words a processor second; Grain's threads read them ahead."""
    _, cpu, _ = taken(lambda: [next(batches) for _ in range(TIMED)])
    return TIMED * BATCH / cpu


def _processor() -> float:
    used = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


class Watch:
    """A context in which memory of this process, and the disk that a folder takes, are watched.

    Attributes:
      memory: the most that it took beyond what it had before, in MB, without mapped files.
      disk: the most that the folder took, in GB.

    Args:
      folder: the folder; None for none.
    """

    def __init__(self, folder: str | None = None) -> None:
        self._folder, self._before = folder, memory()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.memory = self.disk = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self._look()

    def _run(self) -> None:
        while not self._done.wait(0.05):
            self._look()

    def _look(self) -> None:
        self.memory = max(self.memory, memory() - self._before)
        if self._folder:
            self.disk = max(self.disk, disk(self._folder))


def memory() -> float:
    """The memory that this process has now, in MB, without mapped files."""
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) / 1e3


def disk(folder: str) -> float:
    """The disk that a folder takes, in GB. Files may vanish meanwhile."""
    total = 0
    for above, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(above, name)).st_blocks * 512
            except FileNotFoundError:
                continue
    return total / 1e9


def measure(
    records: Sequence[dict[str, bytes]], count: int, folder: str
) -> Iterator[dict[str, float]]:
    """A row: LMDBs of `count` words are made in a folder, and each work runs in a new process.

    Yields it after each work, since one of many words takes an hour and may be cut.
    """
    with tempfile.TemporaryDirectory(dir=folder) as place:
        root, words, data_dir = (os.path.join(place, name) for name in ("root", "words", "data"))
        write(records, count, pathlib.Path(root, "train1"), PAIRS)
        row = {"words": count, "source_gb": disk(root)}
        config = checked(paper.get_config()).data
        yield (row := row | alone(prepare, root, data_dir))
        yield (row := row | alone(start, config.replace(root=root, data_dir=data_dir)))
        shutil.rmtree(root)
        shutil.rmtree(data_dir)
        write(records, count, pathlib.Path(words), WORDS)
        yield row | alone(start_as_is, config.replace(words=words))


def open_many(count: int, folder: str) -> dict[str, float]:
    """A start with an LMDB of `count` words as it is, whose images have four pixels."""
    tiny = {"label": b"word", "image_hr": png.to_bytes(np.zeros((1, 4, 3), np.uint8), (1, 4, 3))}
    with tempfile.TemporaryDirectory(dir=folder) as place:
        words = os.path.join(place, "words")
        write([tiny], count, pathlib.Path(words), WORDS)
        return alone(start_as_is, checked(paper.get_config()).data.replace(words=words))


def alone(work: Callable[..., dict[str, float]], *arguments: object) -> dict[str, float]:
    """What `work` returns in a process of its own, whose memory is that of this work alone."""
    fresh = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=fresh) as pool:
        return pool.submit(work, *arguments).result()


def computed(rows: Sequence[dict[str, float]], count: int) -> dict[str, float]:
    """What `count` words would take, by the growth between the two largest rows."""
    small, large = sorted(rows, key=lambda row: row["words"])[-2:]
    share = (count - large["words"]) / (large["words"] - small["words"])
    grown = {
        name: large[name] + share * (large[name] - small[name])
        for name, (_, _, grows) in MEASURED.items()
        if grows
    }
    return {"words": count, **grown}


def main(arguments: list[str]) -> None:
    if arguments:
        raise UserError(f"{arguments[0]!r}: benchmarks.scale takes flags only")
    counts = flags.FLAGS.counts
    if not all(count.isdigit() and int(count) for count in counts) or len(set(counts)) < 2:
        raise UserError(f"--counts={','.join(counts)}: give two numbers or more, such as 1000,5000")
    if not flags.FLAGS.data_root:
        raise UserError("--data_root is missing; name a folder of TextZoom's LMDB folders")
    records = training_records(flags.FLAGS.data_root)
    folder = flags.FLAGS.folder or tempfile.gettempdir()
    rows: list[dict[str, float]] = []
    for count in sorted(map(int, counts)):
        rows.append({})
        for rows[-1] in measure(records, count, folder):
            print(f"{count} words: {rows[-1]}", flush=True)
            _keep({"rows": rows})
    published = computed(rows, PUBLISHED) | open_many(PUBLISHED, folder)
    _keep({"rows": rows, "published": published})
    _print(rows, published)


def _keep(figures: dict[str, Any]) -> None:
    if flags.FLAGS.out:
        write_json(flags.FLAGS.out, figures)


def _print(rows: Sequence[dict[str, float]], expected: dict[str, float]) -> None:
    table = Table(title="data by words; the last column is computed, but for LMDBs as they are")
    table.add_column("what")
    for row in [*rows, expected]:
        table.add_column(f"{row['words']:,}", justify="right")
    for name, (what, unit, _) in MEASURED.items():
        numbers = (row.get(name) for row in [*rows, expected])
        shown = ["-" if number is None else f"{number:.3g} {unit}".strip() for number in numbers]
        table.add_row(what, *shown)
    print_table(table, keys=1)


def _define_flags() -> None:
    # Not on import: tests import several benchmarks, whose flags share names.
    flags.DEFINE_string("data_root", "", "TextZoom's LMDB folders, whose train folders are taken.")
    flags.DEFINE_list("counts", ["20000", "100000"], "Numbers of words, two or more.")
    flags.DEFINE_string("folder", "", "Where LMDBs are made and deleted; 30 kB a word.")
    flags.DEFINE_string("out", None, "A JSON file for the figures.")


if __name__ == "__main__":
    _define_flags()
    run_script(main)
