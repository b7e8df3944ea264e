"""Reads all crops of a source on Ray: plans, skips what is there, shows progress, and sums up."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import hashlib
import json
import pathlib
import pickle
import sys
import time
from collections.abc import Iterator
from typing import Any

from textsr_jax.bulk import cluster, datasets, parts, places, plans
from textsr_jax.bulk.parts import Counts, PartReader
from textsr_jax.bulk.places import Place
from textsr_jax.bulk.plans import Plan
from textsr_jax.errors import Stopped, UserError, needs
from textsr_jax.reading import Reader
from textsr_jax.runtime.progress import Progress

with needs("bulk"):
    import ray

SUMMARY = "summary.json"
# Seconds between two lines of progress: on a terminal, in a file.
_OFTEN, _SELDOM = 0.5, 30.0
# Footers that are read at once.
_THREADS = 32
# How tracebacks show a `UserError`.
_USER_ERROR = f"{UserError.__module__}.{UserError.__qualname__}: "


@dataclasses.dataclass(frozen=True)
class Run:
    """What is read, and how.

    Attributes:
      source: as `plans.find_source` takes it.
      out: the folder of results, a path or a URL.
      reader: reads; its file must lie at the same place on all nodes.
      address: of a cluster, as `cluster.joined` takes it.
      gpus_per_reader: the share of a GPU that each worker has; 0 for CPUs.
      sr: whether results have the SR images.
      pages: whether the images are whole photographs, whose words are found first.
      readers: how many workers; None for as many as there is room for.
    """

    source: str
    out: str
    reader: Reader
    address: str | None = None
    gpus_per_reader: float = 0
    sr: bool = False
    pages: bool = False
    readers: int | None = None


class Done:
    """What a run has read so far, and how fast.

    Attributes:
      counts: of all parts.
    """

    def __init__(self) -> None:
        self.counts = Counts()
        self._begin = self._last = time.perf_counter()
        self._read_from: float | None = None

    def add(self, counts: Counts, seconds: float) -> None:
        """Adds a part that is done now, and took a worker so many seconds."""
        self.counts += counts
        self._last = time.perf_counter()
        if self._read_from is None:
            self._read_from = self._last - seconds

    @property
    def seconds(self) -> float:
        """From the beginning to the last part."""
        return self._last - self._begin

    @property
    def rate(self) -> float | None:
        """Crops a second since a worker began to read; None while no part is done."""
        if self._read_from is None:
            return None
        return self.counts.crops / (self._last - self._read_from)

    def __str__(self) -> str:
        shown = f"{self.counts.crops} crops" + (f", {self.rate:.1f}/s" if self.rate else "")
        if errors := self.counts.errors:
            most = ", ".join(f"{kind}: {number}" for kind, number in errors.most_common(3))
            shown += f", {errors.total()} errors ({most})"
        return shown


def read(run: Run) -> dict[str, Any]:
    """Reads what is not read yet and returns the summary, which is also `SUMMARY` in the folder.

    It holds `crops`; `read`; `errors`, by kind; `parts`; the settings; and of this run
    `crops_of_this_run`; `seconds`, with the start of the workers; and `crops_per_second`, without
    it, or null where nothing was left. A finished run is returned as it was, with 0 for
    `crops_of_this_run`.

    Raises:
      UserError: there are no crops; the folder holds other results; or the cluster fails.
      Stopped: by Ctrl-C or SIGTERM; the same call goes on.
    """
    out = places.find(run.out)
    plan, source = _plan(run, out)
    done = {file for file in out.walk() if "/" not in file}
    todo = [part for part in range(plan.parts) if plans.result_file(part) not in done]
    if not todo and SUMMARY in done:
        return json.loads(out.read(SUMMARY)) | {"crops_of_this_run": 0}
    now = Done()
    if todo:
        try:
            now = _read_parts(run, plan, source, todo)
        except KeyboardInterrupt:
            raise Stopped(f"stopped; the same command goes on, results are in {run.out}") from None
    summary = _summary(plan) | {
        "crops_of_this_run": now.counts.crops,
        "seconds": round(now.seconds, 3),
        "crops_per_second": now.rate and round(now.rate, 2),
    }
    with out.replacing(SUMMARY) as stream:
        stream.write((json.dumps(summary, indent=2) + "\n").encode())
    return summary


def _plan(run: Run, out: Place) -> tuple[Plan, Place]:
    """The plan in the folder of results, made if it is not there; and the place of the source."""
    settings = {
        "source": places.shown_name(run.source),
        "sr": run.sr,
        "pages": run.pages,
        "reader": _identity(run.reader),
    }
    if not out.is_there(plans.FILE):
        source, files = plans.find_source(run.source)
        parts = plans.make(source, files, *(plans.PAGES if run.pages else plans.CROPS))
        return plans.write(out, parts, settings), source
    plan = plans.load(out)
    # Older plans are of crops, and do not say so.
    made = {"pages": False} | plan.settings
    for name, value in settings.items():
        if made.get(name) != value:
            raise UserError(
                f"{out.name}: its results were made with {name} {made.get(name)!r}, not {value!r}; "
                "name another --out, or give the same command again"
            )
    return plan, plans.place_of(run.source)


def _identity(reader: Reader) -> str:
    """What says that two readers read the same: their models and settings."""
    about = reader.description
    file = pathlib.Path(about.source) if about is not None and about.source else None
    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:16] if file and file.is_file() else ""
    return f"{reader!r} {digest}".strip()


def _read_parts(run: Run, plan: Plan, source: Place, todo: list[int]) -> Done:
    """Reads parts on Ray, and shows progress meanwhile."""
    done = Done()
    often = _OFTEN if sys.stderr.isatty() else _SELDOM
    with (
        cluster.joined(run.address, run.readers),
        Progress(total=len(todo), unit="part", mininterval=often) as progress,
    ):
        try:
            for counts, seconds in _results(run, plan, source, todo):
                done.add(counts, seconds)
                progress.update()
                progress.set_postfix_str(str(done), refresh=False)
        except ray.exceptions.RayError as error:
            raise _failed(error) from error
    return done


def _results(
    run: Run, plan: Plan, source: Place, todo: list[int]
) -> Iterator[tuple[Counts, float]]:
    """Yields the counts of each part, and its seconds, when its file is there, in any order."""
    numbers = ray.data.from_items([{"part": part} for part in todo], override_num_blocks=len(todo))
    read = numbers.map_batches(
        PartReader,
        batch_size=1,
        batch_format="numpy",
        fn_constructor_args=(plan, source, pickle.dumps(run.reader), run.gpus_per_reader),
        compute=datasets.pool(run.readers),
        **datasets.resources(run.gpus_per_reader),
    )
    for row in read.iter_rows():
        yield Counts.of_json(row["counts"]), row["seconds"]


def _failed(error: Exception) -> UserError:
    """The error for the user: the worker's own if it was one, or what Ray said of the cluster."""
    # Ray wraps errors of workers several times; their lines stand in its message.
    lines = [line.strip() for line in str(error).splitlines()]
    for line in lines:
        if line.startswith(_USER_ERROR):
            return UserError(line.removeprefix(_USER_ERROR))
    reason = next(filter(None, lines), "no reason given")
    return UserError(
        f"Ray failed ({type(error).__name__}: {reason}); the same command goes on from what is done"
    )


def _summary(plan: Plan) -> dict[str, Any]:
    """The sums over all files of results, which are there now."""
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as threads:
        each = threads.map(functools.partial(parts.counts_of, plan.out), range(plan.parts))
        total = sum(each, Counts())
    return {
        **plan.settings,
        "parts": plan.parts,
        "crops": total.crops,
        "read": total.crops - total.errors.total(),
        "errors": dict(total.errors.most_common()),
    }
