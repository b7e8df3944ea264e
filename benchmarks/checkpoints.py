"""What a checkpoint of the paper's recogniser costs: python -m benchmarks.checkpoints

Seconds of its digests, of a save until training goes on and until it is on the disk, and of a
restore, for the state that stage 2 of configs/paper.py trains. Files go into a temporary folder.
"""

import statistics
import tempfile
import time
from collections.abc import Callable

import jax
import numpy as np
from rich.table import Table

from configs import paper
from textsr_jax.cli.scripts import run_script
from textsr_jax.errors import UserError
from textsr_jax.models import build_ocr
from textsr_jax.report.tables import print_table
from textsr_jax.storage import checkpoints, digests
from textsr_jax.storage.checkpoints import Checkpoints
from textsr_jax.train import state as states

RUNS = 3


def state() -> states.TrainState:
    """Random numbers, which no compression makes small, of the state's shapes."""
    config, rng = paper.get_config(), np.random.default_rng(0)
    template = jax.eval_shape(
        lambda: states.create(
            build_ocr(config.ocr).template,
            states.make_optimizer(config.stage2),
            jax.random.key(0),
            averaged=config.stage2.average > 0,
        )
    )

    def draw(leaf: jax.ShapeDtypeStruct) -> jax.Array:
        return jax.numpy.asarray(rng.standard_normal(leaf.shape), leaf.dtype)

    return jax.block_until_ready(jax.tree.map(draw, template))


def seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def main(arguments: list[str]) -> None:
    if arguments:
        raise UserError(f"{arguments[0]!r}: benchmarks.checkpoints takes flags only")
    tree = state()
    template = checkpoints.abstract(tree)
    taken: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        saved = Checkpoints(folder)
        for step in range(RUNS):
            begun = time.perf_counter()
            work = {
                "digests alone": lambda: digests.of_arrays(tree),
                "save, until training goes on": lambda step=step: saved.save(step, tree, {}),
                "what is left of it, in the background": saved.wait,
                "restore": lambda: saved.restore(template),
            }
            for name, function in work.items():
                taken.setdefault(name, []).append(seconds(function))
            print(f"run {step + 1} of {RUNS}: {time.perf_counter() - begun:.0f} s", flush=True)
        saved.close()
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(tree))
    table = Table(title=f"a checkpoint of {size / 1e6:.0f} MB, {jax.devices()[0].device_kind}")
    table.add_column("what")
    table.add_column(f"seconds, median of {RUNS}", justify="right")
    for name, times in taken.items():
        table.add_row(name, f"{statistics.median(times):.2f}")
    print_table(table)


if __name__ == "__main__":
    run_script(main)
