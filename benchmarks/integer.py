"""Packed networks in floats and in integers on an accelerator: python -m benchmarks.integer

Times EDSR-32x256 with its STN and CDistNet's encoder, all parameters at 8 bits, on the device that
JAX takes: expanded to float32 and to bfloat16, and int8 by int8 with float32 or bfloat16 between
layers. Values do not change the times, so the weights are random. Prints a table, writes a file.
"""

import functools
import pathlib
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
from absl import flags
from rich.table import Table
from tqdm import tqdm

from configs import paper
from textsr_jax.cli.scripts import run_script
from textsr_jax.errors import UserError
from textsr_jax.images import HR_SIZE, LR_SIZE
from textsr_jax.models import Network, Variables, build_ocr, build_sr
from textsr_jax.quantization import dequantize, quantize, rule_set
from textsr_jax.quantization.integer_products import accelerated
from textsr_jax.report.tables import print_table
from textsr_jax.runtime.atomic import write_json

RESULTS = pathlib.Path(__file__).parents[1] / "docs" / "integer.json"
# By its name: the dtype between layers, and what turns a network into one for packed weights.
SIDES: dict[str, tuple[str, Callable[[Network], Network]]] = {
    "float32": ("float32", lambda network: network.through(dequantize)),
    "bfloat16": ("bfloat16", lambda network: network.through(dequantize)),
    "int8, float32": ("float32", accelerated),
    "int8, bfloat16": ("bfloat16", accelerated),
}


def main(arguments: list[str]) -> None:
    if arguments:
        raise UserError(f"{arguments[0]!r}: benchmarks.integer takes flags only")
    rows = []
    for title, build, size, method in (
        ("STN + EDSR-32x256", _sr, LR_SIZE, "__call__"),
        ("CDistNet, encoding", _ocr, HR_SIZE, "encode"),
    ):
        variables = packed(build("float32"))
        for batch in flags.FLAGS.batch:
            images = jax.random.uniform(jax.random.key(1), (batch, *size[::-1], 3))
            seconds = measure(build, variables, images, method, flags.FLAGS.runs)
            rows.append({"network": title, "batch": batch, "seconds": seconds})
            write_json(
                flags.FLAGS.out, {"machine": machine(), "runs": flags.FLAGS.runs, "rows": rows}
            )
    _print(rows)
    print(f"figures: {flags.FLAGS.out}")


def packed(network: Network) -> Variables:
    """Random variables of a network, every parameter at 8 bits, a range for each channel."""
    return quantize(network.init(jax.random.key(0)), rule_set("all", 8, granularity="channel"))


def measure(
    build: Callable[[str], Network],
    variables: Variables,
    images: jax.Array,
    method: str,
    runs: int,
) -> dict[str, float]:
    """The median seconds of a call by side, all sides in turns behind a first call of each.

    Args:
      build: makes the network that computes in a dtype.
      variables: packed.
      images: (batch, H, W, 3) in [0, 1].
      method: what is called of the network.
      runs: timed calls of each side.
    """
    calls = {}
    for side, (dtype, expanding) in SIDES.items():
        network = expanding(build(dtype))
        function = jax.jit(functools.partial(network.__call__, method=method))
        calls[side] = functools.partial(function, variables, images)
    times: dict[str, list[float]] = {side: [] for side in calls}
    for call in calls.values():
        jax.block_until_ready(call())
    for _ in tqdm(range(runs), desc=f"batch {len(images)}", unit="turn", disable=None):
        for side, call in calls.items():
            start = time.perf_counter()
            jax.block_until_ready(call())
            times[side].append(time.perf_counter() - start)
    return {side: statistics.median(values) for side, values in times.items()}


def machine() -> str:
    """What the times were taken on, and with what."""
    return f"{jax.devices()[0].device_kind}, jax {jax.__version__}"


def _sr(dtype: str) -> Network:
    config = paper.get_config()
    config.sr.dtype = dtype
    return build_sr(config.sr)


def _ocr(dtype: str) -> Network:
    config = paper.get_config()
    config.ocr.dtype = dtype
    return build_ocr(config.ocr)


def _print(rows: list[dict[str, Any]]) -> None:
    table = Table(title=f"forward, packed weights, medians in ms a batch: {machine()}")
    table.add_column("network")
    for column in ("batch", *SIDES):
        table.add_column(column, justify="right")
    for row in rows:
        seconds = (f"{1000 * row['seconds'][side]:.2f}" for side in SIDES)
        table.add_row(row["network"], str(row["batch"]), *seconds)
    print_table(table)


def _define_flags() -> None:
    # Not on import: tests import several benchmarks, whose flags share names.
    flags.DEFINE_integer("runs", 20, "How often each side runs; at least 5.", lower_bound=5)
    flags.DEFINE_multi_integer("batch", [1, 16, 64], "Images at once; repeat it for more.")
    flags.DEFINE_string("out", str(RESULTS), "The JSON file.")


if __name__ == "__main__":
    _define_flags()
    run_script(main)
