"""Convolutions and their gradients beside XLA's own: python -m benchmarks.convolutions

Processor milliseconds on one core, medians of runs in turns. Other work on the machine moves them
less than it moves the time on the clock.
"""

import os
import statistics
import time
from collections.abc import Callable

import jax
from rich.table import Table
from tqdm import tqdm

from textsr_jax.cli.scripts import run_script
from textsr_jax.errors import UserError
from textsr_jax.models.layers import convolution
from textsr_jax.report.tables import print_table

RUNS = 7
# Batch, height, width, inputs, outputs, rows and columns of the kernel.
SHAPES = (
    (2, 16, 64, 256, 256, 3),
    (16, 16, 64, 256, 256, 3),
    (2, 8, 32, 512, 512, 3),
    (64, 8, 32, 64, 64, 3),
    (64, 8, 32, 128, 128, 3),
    (64, 8, 32, 128, 128, 1),
    (64, 16, 64, 32, 32, 1),
)
PARTS = ("forward", "input's gradient", "kernel's gradient")


def functions(size: int) -> dict[str, Callable[..., jax.Array]]:
    """Each part of `PARTS` as a compiled function of images, kernel and cotangent."""
    options = {"dimension_numbers": ("NHWC", "HWIO", "NHWC")}
    pads = ((size // 2, size // 2),) * 2

    def forward(x: jax.Array, kernel: jax.Array, cotangent: jax.Array) -> jax.Array:
        return convolution.convolve(x, kernel, (1, 1), pads, **options)

    def input_gradient(x: jax.Array, kernel: jax.Array, cotangent: jax.Array) -> jax.Array:
        return jax.vjp(lambda x: forward(x, kernel, cotangent), x)[1](cotangent)[0]

    def kernel_gradient(x: jax.Array, kernel: jax.Array, cotangent: jax.Array) -> jax.Array:
        return jax.vjp(lambda kernel: forward(x, kernel, cotangent), kernel)[1](cotangent)[0]

    return dict(zip(PARTS, (forward, input_gradient, kernel_gradient), strict=True))


def measure(shape: tuple[int, ...], runs: int) -> dict[str, tuple[float, float]]:
    """Median processor seconds of XLA's way and of ours, by part."""
    *images, inputs, outputs, size = shape
    keys = jax.random.split(jax.random.key(0), 3)
    given = (
        jax.random.normal(keys[0], (*images, inputs)),
        jax.random.normal(keys[1], (size, size, inputs, outputs)),
        jax.random.normal(keys[2], (*images, outputs)),
    )

    def compiled() -> dict[str, Callable[..., jax.Array]]:
        # New functions each time: JAX traces a function once.
        made = functions(size)
        return {part: jax.jit(function).lower(*given).compile() for part, function in made.items()}

    with convolution.counted():
        plain = compiled()
    fast = compiled()
    times: dict[str, tuple[list[float], list[float]]] = {part: ([], []) for part in PARTS}
    for turn in tqdm(range(runs + 1), desc=str(shape), unit="turn", disable=None):
        for part in PARTS:
            for taken, function in zip(times[part], (plain[part], fast[part]), strict=True):
                start = time.process_time()
                jax.block_until_ready(function(*given))
                # The first run touches its memory for the first time.
                if turn:
                    taken.append(time.process_time() - start)
    return {
        part: (statistics.median(xla), statistics.median(own)) for part, (xla, own) in times.items()
    }


def main(arguments: list[str]) -> None:
    if arguments:
        raise UserError(f"{arguments[0]!r}: benchmarks.convolutions takes flags only")
    # XLA takes as many threads as it finds cores when it starts.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    table = Table(title="processor ms on one core, float32: XLA's way | ours")
    table.add_column("batch, height, width, inputs, outputs, kernel")
    for part in PARTS:
        table.add_column(part, justify="right")
    for shape in SHAPES:
        row = measure(shape, RUNS)
        cells = (f"{1e3 * xla:.1f} | {1e3 * own:.1f}" for xla, own in row.values())
        table.add_row(", ".join(map(str, shape[:-1])) + f", {shape[-1]}x{shape[-1]}", *cells)
    print_table(table)


if __name__ == "__main__":
    run_script(main)
