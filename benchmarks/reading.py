"""How fast `read.py` reads: python -m benchmarks.reading [--model=FILE] [--onnx=DIR]

Words a second from image files to lines of text, in batches on two cores; seconds from the start of
a process to its first line, with no cache and with one. A table, and JSON.
"""

import contextlib
import io
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from absl import flags
from PIL import Image
from rich.table import Table
from tqdm import tqdm

from configs import paper
from textsr_jax import reading
from textsr_jax.cli import reading_lines
from textsr_jax.cli.scripts import run_script
from textsr_jax.data import sources
from textsr_jax.data.synthetic import generation
from textsr_jax.errors import UserError
from textsr_jax.report.tables import print_table
from textsr_jax.runtime import concurrency
from textsr_jax.runtime.atomic import write_json
from textsr_jax.storage.shipped import SHIPPED

ROOT = pathlib.Path(__file__).parents[1]
THREADS = 2
# What the issue asks for: words a second in batches, and seconds to the first word of a process
# that finds its functions compiled.
LEAST_WORDS, MOST_SECONDS = 100, 3.0
# What it gains to compute several batches at once.
ONE_BY_ONE = "JAX, one batch at a time"


def main(arguments: list[str]) -> None:
    if arguments:
        raise UserError(f"{arguments[0]!r}: benchmarks.reading takes flags only")
    # XLA takes as many threads as it finds cores when it starts; processes started here inherit it.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
    results: dict[str, Any] = {
        "model": pathlib.Path(flags.FLAGS.model or SHIPPED).name,
        "machine": f"{THREADS} cores of {platform.machine()}, jax {jax.__version__}",
    }
    with tempfile.TemporaryDirectory() as place:
        folders = draw(pathlib.Path(place), flags.FLAGS.words)
        results["first_line"] = first_lines(folders["LR"], pathlib.Path(place))
        results["batches"] = batches(folders)
    _print(results)
    if flags.FLAGS.out:
        write_json(flags.FLAGS.out, results)


def draw(place: pathlib.Path, count: int) -> dict[str, pathlib.Path]:
    """Folders of synthetic words as PNG files: LR, 16x64, and HR, 32x128, which are sharper."""
    settings = dict(paper.get_config().data.synthetic)
    del settings["workers"]
    settings = generation.GeneratorSettings(**(settings | {"train": count}))
    folders = {side: place / side for side in ("LR", "HR")}
    for folder in folders.values():
        folder.mkdir()
    for index in tqdm(range(count), desc="drawing", unit="word", disable=None):
        pair = generation.draw(settings, "train", index)
        for side, image in (("LR", pair.lr), ("HR", pair.hr)):
            Image.fromarray(np.asarray(image)).save(folders[side] / f"{index:05d}.png")
    return folders


def batches(folders: dict[str, pathlib.Path]) -> list[dict[str, Any]]:
    """Words a second of every reader and kind of image, the median of some runs."""
    readers: dict[str, Callable[[], reading.Reader]] = {
        "JAX": lambda: reading.load(flags.FLAGS.model)
    }
    readers[ONE_BY_ONE] = readers["JAX"]
    if flags.FLAGS.onnx:
        from textsr_jax.export import engine

        readers["ONNX Runtime, int8"] = lambda: engine.load(flags.FLAGS.onnx, "int8")
    rows = []
    for name, load in readers.items():
        reader = load()
        for side, folder in folders.items():
            with concurrency.at_most(1 if name == ONE_BY_ONE else concurrency.MOST):
                seconds = [_seconds_of(reader, folder) for _ in range(flags.FLAGS.runs + 1)]
            # The first run compiles.
            words = flags.FLAGS.words / statistics.median(seconds[1:])
            rows.append({"runtime": name, "images": side, "words_a_second": words})
    return rows


def _seconds_of(reader: reading.Reader, folder: pathlib.Path) -> float:
    start = time.perf_counter()
    found = sources.expand([str(folder)])
    items = (item for source in found for item in source.items())
    with contextlib.redirect_stdout(io.StringIO()) as lines:
        bad = reading_lines.write_lines(
            items, sources.count(found), lambda: reader, reading_lines.Output()
        )
    seconds = time.perf_counter() - start
    if bad or len(lines.getvalue().splitlines()) != flags.FLAGS.words:
        raise RuntimeError("not all words were read")
    return seconds


def first_lines(folder: pathlib.Path, place: pathlib.Path) -> list[dict[str, Any]]:
    """Seconds until `read.py` has read one image: in a user's first process, and in later ones."""
    image = sorted(folder.iterdir())[0]
    command = [sys.executable, "read.py", str(image)]
    if flags.FLAGS.model:
        flag = "model" if pathlib.Path(flags.FLAGS.model).is_file() else "workdir"
        command.append(f"--{flag}={flags.FLAGS.model}")
    environment = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    environment["XDG_CACHE_HOME"] = str(place / "cache")
    return [
        {"cache": "cold", "seconds": _first_line(command, environment)},
        {
            "cache": "warm",
            "seconds": statistics.median(
                _first_line(command, environment) for _ in range(flags.FLAGS.runs)
            ),
        },
    ]


def _first_line(command: Sequence[str], environment: dict[str, str]) -> float:
    start = time.perf_counter()
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        line = process.stdout.readline()
        seconds = time.perf_counter() - start
    if not line or process.returncode:
        raise RuntimeError(f"{' '.join(command)}: ended with {process.returncode}")
    return seconds


def _print(results: dict[str, Any]) -> None:
    table = Table(title=f"reading with {results['model']}: {results['machine']}")
    for column in ("what", "measured", "wanted", "met"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for row in results["batches"]:
        reached, what = row["words_a_second"], f"{row['runtime']}, {row['images']} images"
        wanted, met = f"at least {LEAST_WORDS}", "yes" if reached >= LEAST_WORDS else "no"
        if row["runtime"] == ONE_BY_ONE:
            wanted, met = "-", "-"
        table.add_row(what, f"{reached:.0f} words/s", wanted, met)
    for row in results["first_line"]:
        wanted, met = "-", "-"
        if row["cache"] == "warm":
            wanted = f"at most {MOST_SECONDS:g}"
            met = "yes" if row["seconds"] <= MOST_SECONDS else "no"
        table.add_row(
            f"first line of a process, {row['cache']} cache", f"{row['seconds']:.2f} s", wanted, met
        )
    print_table(table)


def _define_flags() -> None:
    flags.DEFINE_string("model", None, "A packed file or workdir; default: the shipped models.")
    flags.DEFINE_string("onnx", None, "A folder of textsr_jax.export to time beside it, int8.")
    flags.DEFINE_integer("words", 640, "Words of each kind.", lower_bound=64)
    flags.DEFINE_integer("runs", 3, "How often each is timed.", lower_bound=1)
    flags.DEFINE_string("out", None, "The JSON file; default: none.")


if __name__ == "__main__":
    _define_flags()
    run_script(main)
