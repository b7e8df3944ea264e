"""Memory and time of the paper's models, in float32 and packed: python -m benchmarks.memory

Zero weights of the real shapes; every parameter at 8, 6 and 4 bits with a range for each channel.
Prints a table and writes a JSON file.
"""

import os
import pathlib
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from absl import flags
from rich.table import Table
from tqdm import tqdm

from configs import paper
from textsr_jax.cli.scripts import run_script
from textsr_jax.errors import UserError
from textsr_jax.images import HR_SIZE, LR_SIZE
from textsr_jax.models import Network, Variables, build_ocr, build_sr
from textsr_jax.quantization import dequantize, held_bytes, quantize, rule_set
from textsr_jax.report.tables import print_table
from textsr_jax.runtime.atomic import write_json
from textsr_jax.runtime.compilation import jit_sparingly

THREADS = 2
BATCHES = (1, 8)
WIDTHS = (None, 8, 6, 4)
ORDERS: dict[str, Callable[..., Any]] = {"XLA's own": jax.jit, "sparing": jit_sparingly}
MEMORY = pathlib.Path(__file__).parents[1] / "docs" / "memory.json"


class Work(NamedTuple):
    """A network and what is asked of it: images of (height, width) to the result of `method`."""

    title: str
    network: Network
    size: tuple[int, int]
    method: str


def works() -> dict[str, Work]:
    """Enlarging and encoding, by the network's part of the config."""
    config = paper.get_config()
    return {
        "sr": Work("STN + EDSR-32x256", build_sr(config.sr), LR_SIZE[::-1], "__call__"),
        "ocr": Work("CDistNet, encoding", build_ocr(config.ocr), HR_SIZE[::-1], "encode"),
    }


def held(work: Work, bits: int | None) -> tuple[Network, Variables]:
    """The network for variables of `bits`, all zeros, on the device; None for float32."""
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), work.network.template)
    if bits is None:
        return work.network, zeros
    packed = quantize(zeros, rule_set("all", bits, granularity="channel"))
    return work.network.through(dequantize), packed


def measure(
    work: Work,
    network: Network,
    variables: Variables,
    batch: int,
    jit: Callable[..., Any],
    runs: int,
) -> dict[str, Any]:
    """What XLA plans for a batch, what the process takes, and the median time of `runs`.

    Returns:
      weights: bytes of the variables that the function uses; temporary: what XLA plans beside
      weights, images and result; peak: all of these; risen: by how much the process grows while it
      runs, beyond what its allocator kept from before (some 30 MB here), None where the system does
      not say; seconds: of a call. The last two are None without runs.
    """
    images = jnp.zeros((batch, *work.size, 3))
    function = jit(lambda variables, images: network(variables, images, method=work.method))
    compiled = function.lower(variables, images).compile()
    planned = compiled.memory_analysis()
    times, rests, peaks = [], [], []
    if runs:
        jax.block_until_ready(compiled(variables, images))
    for _ in range(runs):
        # Other threads free what the run before took.
        time.sleep(0.2)
        rests.append(_resident(reset=True))
        start = time.perf_counter()
        jax.block_until_ready(compiled(variables, images))
        times.append(time.perf_counter() - start)
        peaks.append(_resident())
    return {
        "weights": planned.argument_size_in_bytes - images.nbytes,
        "temporary": planned.temp_size_in_bytes,
        "peak": planned.argument_size_in_bytes
        + planned.output_size_in_bytes
        + planned.temp_size_in_bytes,
        "risen": None if not runs or None in (*rests, *peaks) else max(peaks) - min(rests),
        "seconds": statistics.median(times) if times else None,
    }


def _resident(*, reset: bool = False) -> int | None:
    """The most bytes that this process has had in memory since the last reset; None if unknown."""
    try:
        if reset:
            pathlib.Path("/proc/self/clear_refs").write_text("5")
        status = pathlib.Path("/proc/self/status").read_text()
    except OSError:
        return None
    found = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    return 1024 * int(found[0]) if found else None


def main(arguments: list[str]) -> None:
    if arguments:
        raise UserError(f"{arguments[0]!r}: benchmarks.memory takes flags only")
    # XLA takes as many threads as it finds cores when it starts, which is in the first network.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
    rows = []
    cases = [(part, bits) for part in ("sr", "ocr") for bits in WIDTHS]
    for part, bits in tqdm(cases, desc="weights", disable=None):
        work = works()[part]
        network, variables = held(work, bits)
        row: dict[str, Any] = {
            "network": work.title,
            "bits": bits,
            "held": held_bytes(variables),
            "on_device": sum(leaf.nbytes for leaf in jax.tree.leaves(variables)),
            "ratio": held_bytes(variables) / held_bytes(work.network.template),
        }
        for order, jit in ORDERS.items():
            for batch in BATCHES:
                # XLA's own order is only there to compare; one image says what it costs.
                runs = flags.FLAGS.runs if batch == 1 or jit is jit_sparingly else 0
                figures = measure(work, network, variables, batch, jit, runs)
                rows.append({**row, "order": order, "batch": batch, **figures})
    write_json(flags.FLAGS.out, {"machine": machine(), "runs": flags.FLAGS.runs, "rows": rows})
    _print(rows)
    print(f"figures: {flags.FLAGS.out}")


def machine() -> str:
    """What the figures were taken on, and with what."""
    return f"{THREADS} cores of {os.uname().machine}, jax {jax.__version__}"


def _print(rows: list[dict[str, Any]]) -> None:
    table = Table(title=f"memory in 10^6 bytes, medians in ms: {machine()}")
    for column in ("network", "bits", "order"):
        table.add_column(column)
    numbers = ("batch", "held", "of float32", "used", "temporary", "peak", "risen", "ms")
    for column in numbers:
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(
            row["network"],
            "float32" if row["bits"] is None else str(row["bits"]),
            row["order"],
            str(row["batch"]),
            _mega(row["held"]),
            f"{100 * row['ratio']:.1f} %",
            *(_mega(row[name]) for name in ("weights", "temporary", "peak", "risen")),
            "-" if row["seconds"] is None else f"{1000 * row['seconds']:.0f}",
        )
    print_table(table, keys=3)


def _mega(size: int | None) -> str:
    return "-" if size is None else f"{size / 1e6:.1f}"


def _define_flags() -> None:
    flags.DEFINE_integer("runs", 5, "How often each function is timed.", lower_bound=1)
    flags.DEFINE_string("out", str(MEMORY), "The JSON file.")


if __name__ == "__main__":
    _define_flags()
    run_script(main)
