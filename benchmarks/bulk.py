"""How fast and how surely many crops are read: python -m benchmarks.bulk [--words=N] [--kills=K]

Words a second of the plain reader, and of `textsr_jax.bulk` with one and two workers, in one run;
what a cluster would reach, computed from these; and the memory of the workers while they read. With
--kills=K it kills drivers, workers and whole clusters, and counts what is lost or there twice.
"""

import collections
import dataclasses
import os
import pathlib
import platform
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
from absl import flags
from rich.table import Table

from benchmarks import needs_extra
from textsr_jax import reading
from textsr_jax.cli.scripts import run_script
from textsr_jax.errors import UserError
from textsr_jax.report.tables import print_table
from textsr_jax.runtime.atomic import write_json

with needs_extra(__name__):
    from pyarrow import parquet

    from textsr_jax.bulk import plans, running

ROOT = pathlib.Path(__file__).parents[1]
CORES = 2
# Words a second with two workers on two cores, by those of the plain reader.
LEAST_RATIO = 0.8
# Of the clusters whose rate is computed.
CLUSTERS = (64, 1024)
CROPS = 10**8
# What is killed.
VICTIMS = ("worker", "driver", "cluster")
# The name of a worker's process, and what follows while it loads the models.
_WORKER, _LOADING = "ray::MapWorker", "__init__"


def main(arguments: list[str]) -> None:
    if arguments:
        raise UserError(f"{arguments[0]!r}: benchmarks.bulk takes flags only")
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    results: dict[str, Any] = {
        "machine": f"{CORES} cores of {platform.machine()}, jax {jax.__version__}",
    }
    with tempfile.TemporaryDirectory() as name:
        place = pathlib.Path(name)
        source = flags.FLAGS.source or str(_drawn(place))
        if flags.FLAGS.kills:
            results["kills"] = _kill(source, place / "killed")
        else:
            results["rates"] = _rates(source, place)
    if flags.FLAGS.out:
        write_json(flags.FLAGS.out, results)


def _drawn(place: pathlib.Path) -> pathlib.Path:
    from benchmarks.reading import draw

    return draw(place, flags.FLAGS.words)["LR"]


def _rates(source: str, place: pathlib.Path) -> dict[str, Any]:
    reader = reading.load(flags.FLAGS.model)
    rows: list[dict[str, Any]] = []
    for readers in (1, 2):
        run = running.Run(source, str(place / f"{readers}"), reader, readers=readers)
        with Memory(os.getpid()) as memory:
            summary = running.read(run)
        rows.append(
            {
                "reader": f"bulk, {readers} worker{'s' * (readers > 1)}",
                "words_a_second": steady_rate(place / f"{readers}"),
                "seconds_in_all": summary["seconds"],
                "errors": summary["crops"] - summary["read"],
                **memory.by_quarter(),
            }
        )
    # Last, since its threads and its memory would stand beside the workers.
    rows.append({"reader": "plain", "words_a_second": _plain_rate(source, reader)})
    rate = {row["reader"]: row["words_a_second"] for row in rows}
    one, two, plain = rate["bulk, 1 worker"], rate["bulk, 2 workers"], rate["plain"]
    clusters = {cores: {"words_a_second": cores * two / 2} for cores in CLUSTERS}
    for cluster in clusters.values():
        cluster["hours_for_all"] = CROPS / cluster["words_a_second"] / 3600
    table = Table("reader", "words/s", "MB, first quarter", "MB, last quarter")
    for row in rows:
        memory_of = [f"{row[key]:.0f}" if key in row else "" for key in Memory.KEYS]
        table.add_row(row["reader"], f"{row['words_a_second']:.1f}", *memory_of)
    print_table(table)
    print(f"two workers by the plain reader: {two / plain:.2f} (at least {LEAST_RATIO})")
    for cores, cluster in clusters.items():
        print(
            f"computed, {cores} cores: {cluster['words_a_second']:.0f} words/s, "
            f"{cluster['hours_for_all']:.1f} hours for {CROPS:,} crops"
        )
    ratios = {"two_by_plain": two / plain, "two_by_one": two / one}
    return {"rows": rows, **ratios, "computed": clusters}


def steady_rate(out: pathlib.Path) -> float:
    """Words a second from the first file of results to the last: without the workers' start."""
    files = sorted(out.glob("part-*.parquet"), key=lambda file: file.stat().st_mtime)
    begin, end = (files[index].stat().st_mtime for index in (0, -1))
    # Workers begin together: the files of the first ones hold words of before the first file.
    words = sum(parquet.read_metadata(file).num_rows for file in files[1:])
    return words / (end - begin)


def _plain_rate(source: str, reader: reading.Reader) -> float:
    """Words a second of `Reader.read` from files to texts, on all cores, behind a first batch."""
    from textsr_jax.data import sources

    def timed(count: int) -> float:
        items = (item for one in sources.expand([source]) for item in one.items())
        images = (item.image for item in items if item.image is not None)
        begin = time.perf_counter()
        some = [image for image, _ in zip(images, range(count), strict=False)]
        reader.read(some)
        return len(some) / (time.perf_counter() - begin)

    timed(64)
    return timed(flags.FLAGS.words)


class Memory:
    """Samples the memory of the workers below a process, in MB without what they share."""

    KEYS = ("mb_first_quarter", "mb_last_quarter")

    def __init__(self, pid: int):
        self._pid, self._samples = pid, list[float]()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> "Memory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._ended.wait(1):
            sizes = [_own_memory(pid) for pid in workers(self._pid)]
            if sizes:
                self._samples.append(max(sizes))

    def by_quarter(self) -> dict[str, float]:
        """The median of the largest worker's memory in the first and last quarter of the time."""
        count = len(self._samples) // 4
        if not count:
            return {}
        # The first quarter begins when the models are loaded.
        parts = self._samples[count // 2 : count // 2 + count], self._samples[-count:]
        return dict(zip(self.KEYS, map(statistics.median, parts), strict=True))


def _own_memory(pid: int) -> float:
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    # A process that has just ended has none.
    found = re.search(r"^RssAnon:\s*(\d+)", status, re.MULTILINE)
    return int(found[1]) / 1e3 if found else 0.0


def _parents() -> dict[int, int]:
    """The parent of each process."""
    found = {}
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name, in brackets, may hold anything.
            found[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue
    return found


def below(pid: int) -> list[int]:
    """The processes that a process has started, and those that they have started."""
    children = collections.defaultdict(list)
    for child, parent in _parents().items():
        children[parent].append(child)
    found = [pid]
    for parent in found:
        found += children[parent]
    return found[1:]


def workers(pid: int) -> list[int]:
    """The workers of Ray below a process that have loaded their models, and read crops."""
    return [child for child in below(pid) if _reads(child)]


def _reads(pid: int) -> bool:
    command = _command(pid)
    return command.startswith(_WORKER) and _LOADING not in command


def _command(pid: int) -> str:
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


@dataclasses.dataclass
class Killed:
    """What came of a run that was killed again and again.

    Attributes:
      victims: what was killed, in order.
      starts: how often the command was started.
      ids: of the results, in any order.
      errors: of the results, by id.
    """

    victims: list[str]
    starts: int
    ids: list[str]
    errors: dict[str, str]


def read_with_kills(
    command: Sequence[str], out: pathlib.Path, victims: Sequence[str], seed: int, patience: float
) -> Killed:
    """Gives a command of `textsr_jax.bulk` until it ends well, and kills while it runs.

    Each victim is killed at a random moment after a worker has begun to read.

    Args:
      command: the command.
      out: its folder of results.
      victims: of `VICTIMS`, in order.
      seed: of the moments and of the worker that is chosen.
      patience: the most seconds from the beginning of a worker to a kill.
    """
    rng, left, starts = random.Random(seed), list(victims), 0
    most = 2 * len(victims) + 2
    while True:
        starts += 1
        if starts > most:
            raise RuntimeError(f"the command did not end well after {most} starts")
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=sys.stderr)
        started: set[int] = set()
        try:
            while left and process.poll() is None:
                found = _wait_for_workers(process)
                time.sleep(rng.uniform(0, patience))
                started |= {*below(process.pid)}
                if process.poll() is None:
                    print(f"start {starts}: kills a {left[0]}", file=sys.stderr)
                    _kill_one(left.pop(0), process, found, rng)
            process.wait(timeout=600)
        finally:
            if process.poll() is None:
                process.kill()
            _end(started)
        if process.returncode == 0:
            break
    return Killed([*victims[: len(victims) - len(left)]], starts, *_results(out))


def _wait_for_workers(process: subprocess.Popen[bytes]) -> list[int]:
    while process.poll() is None:
        if found := workers(process.pid):
            return found
        time.sleep(0.25)
    return []


def _kill_one(
    victim: str, process: subprocess.Popen[bytes], found: list[int], rng: random.Random
) -> None:
    if victim == "worker":
        alive = [pid for pid in found if _reads(pid)]
        _end(rng.sample(alive, min(1, len(alive))))
    elif victim == "driver":
        process.kill()
    else:
        _end(below(process.pid))


def _end(pids: Iterator[int] | Sequence[int] | set[int]) -> None:
    for pid in pids:
        if "ray" in _command(pid):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


def _results(out: pathlib.Path) -> tuple[list[str], dict[str, str]]:
    ids, errors = [], {}
    for file in sorted(out.glob("part-*.parquet")):
        table = parquet.read_table(file, columns=["id", "error"]).to_pydict()
        ids += table["id"]
        errors |= {
            id: error for id, error in zip(*table.values(), strict=True) if error is not None
        }
    return ids, errors


def _kill(source: str, out: pathlib.Path) -> dict[str, Any]:
    victims = [VICTIMS[number % len(VICTIMS)] for number in range(flags.FLAGS.kills)]
    random.Random(flags.FLAGS.seed).shuffle(victims)
    command = [sys.executable, "-m", "textsr_jax.bulk", source, f"--out={out}", "--readers=2"]
    command += [f"--model={flags.FLAGS.model}"] * bool(flags.FLAGS.model)
    found = read_with_kills(command, out, victims, flags.FLAGS.seed, patience=8)
    place, files = plans.find_source(source)
    wanted = sum(
        piece.stop - (piece.first or 0)
        for pieces in plans.make(place, files)
        for piece in pieces
        if piece.stop is not None
    )
    twice = len(found.ids) - len(set(found.ids))
    print(
        f"killed {', '.join(found.victims)}; started {found.starts} times; {wanted} crops, "
        f"{wanted - len(set(found.ids))} lost, {twice} there twice, {len(found.errors)} errors"
    )
    return {
        "victims": found.victims,
        "starts": found.starts,
        "crops": wanted,
        "lost": wanted - len(set(found.ids)),
        "twice": twice,
        "errors": len(found.errors),
    }


def _define_flags() -> None:
    # Not on import: tests import several benchmarks, whose flags share names.
    flags.DEFINE_integer("words", 4000, "Words that each reads.", lower_bound=64)
    flags.DEFINE_string("model", None, "A packed file; default: the shipped models.")
    flags.DEFINE_string("source", None, "Crops to read; default: synthetic LR words.")
    flags.DEFINE_integer("kills", 0, "Kill so many processes instead.", lower_bound=0)
    flags.DEFINE_integer("seed", 0, "Of the moments and processes that are chosen.")
    flags.DEFINE_string("out", None, "The JSON file; default: none.")


if __name__ == "__main__":
    _define_flags()
    run_script(main)
