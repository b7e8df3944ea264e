"""Training steps beside PyTorch's: python -m benchmarks.train [--only=stage1] [--dtype=bfloat16]

Both sides train the paper's networks from the same stand-in weights on the same batch, in turns.
Prints a table of times, of the share of the chip's measured matrix peak and of the time spent
waiting for data; writes JSON. With --parts it takes JAX's step apart instead.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from ml_collections import ConfigDict
from rich.table import Table
from tqdm import tqdm

from benchmarks import needs_extra
from configs import paper
from textsr_jax import data
from textsr_jax.cli.scripts import run_script
from textsr_jax.errors import UserError
from textsr_jax.report.tables import print_table
from textsr_jax.runtime.atomic import write_json

with needs_extra(__name__):
    import torch

    from benchmarks import parts, torch_training
    from benchmarks.trained_stages import (
        SEED,
        STAGES,
        Work,
        pure_step,
        rates,
        step_functions,
        work,
    )
    from textsr_jax.data.batching import Batch, Replaced, train_batches
    from textsr_jax.train import speed

THREADS = 2
SIDES = {
    "jax_s": "JAX",
    "jax_kept_s": "JAX, HR attention kept",
    "fed_s": "JAX, fed by Grain",
    "torch_s": "PyTorch",
}
CPU_BATCH = 2
WORDS = 1024  # drawn where no data root is given


def measure(work: Work, batches: Iterator[Batch], runs: int, *, gpu: bool) -> dict[str, Any]:
    """Times of both sides' steps on one batch in turns, then of JAX's fed by `batches`.

    Args:
      work: the stage.
      batches: of the training; the first one is what both sides take.
      runs: how often each side is timed, behind a first run that compiles.
      gpu: computes there; PyTorch by `torch.compile`, in bfloat16 where JAX does.

    Returns:
      Medians in `jax_s` and `torch_s`, for stage 1 also `jax_kept_s`, where the batch brings the
      attention to HR images; `flops` of a step, which XLA counts before it optimises; `fed_s`, of
      a step that takes each batch from `batches`, and `waiting`, the part of it spent asking for
      one. The device works meanwhile, so it stands still for less.
    """
    batch = next(batches)
    step, state = step_functions(work)
    frozen, ready = jax.device_put((work.frozen, batch))
    flops = speed.flops(pure_step(work), state, frozen, ready)
    compiled = step.lower(state, frozen, ready).compile()
    states_of = {"jax": state}
    functions = {"jax": (compiled, ready)}
    if work.stage == "stage1":
        known = ready.replace(attention=work.attend(work.frozen, batch))
        step, states_of["jax_kept"] = step_functions(work)
        compiled_kept = step.lower(states_of["jax_kept"], frozen, known).compile()
        functions["jax_kept"] = (compiled_kept, known)

    def in_jax(side: str) -> Callable[[], None]:
        def run() -> None:
            function, given = functions[side]
            states_of[side], parts = function(states_of[side], frozen, given)
            jax.block_until_ready((states_of[side], parts))

        return run

    device = torch.device("cuda" if gpu else "cpu")
    twin = work.twin.to(device)
    torch_step = torch_training.make_step(
        twin,
        work.settings,
        rates(work.settings, 2 * runs),
        bfloat16=work.dtype == "bfloat16",
        compiled=gpu,
    )
    tensors = twin.tensors(batch, device)

    def in_torch() -> None:
        torch_step(*tensors)
        if gpu:
            torch.cuda.synchronize()

    sides = {side: in_jax(side) for side in functions} | {"torch": in_torch}
    row = in_turns(sides, runs, f"{work.stage}, batch {len(batch.lr)}")
    start, asking, before = time.perf_counter(), 0.0, None
    for _ in range(runs):
        asked = time.perf_counter()
        given = next(batches)
        asking += time.perf_counter() - asked
        states_of["jax"], parts = compiled(states_of["jax"], frozen, jax.device_put(given))
        # As the loop does: a step is looked at when the next one is under way.
        if before is not None:
            bool(before["finite"])
        before = parts
    jax.block_until_ready(states_of["jax"])
    total = time.perf_counter() - start
    return {
        "stage": work.stage,
        "batch": len(batch.lr),
        "runs": runs,
        **row,
        "flops": flops,
        "fed_s": total / runs,
        "waiting": asking / total,
    }


def in_turns(sides: dict[str, Callable[[], None]], runs: int, title: str) -> dict[str, float]:
    """Median seconds of each side, as `NAME_s`, behind a first run that does not count."""
    times: dict[str, list[float]] = {side: [] for side in sides}
    for turn in tqdm(range(runs + 1), desc=title, unit="turn", disable=None):
        for side, run in sides.items():
            # Worker threads of the side before spin for a while.
            time.sleep(0.2)
            start = time.perf_counter()
            run()
            if turn:
                times[side].append(time.perf_counter() - start)
    return {f"{side}_s": statistics.median(values) for side, values in times.items()}


def matrix_peak(dtype: str, size: int, device: torch.device, runs: int = 5) -> float:
    """FLOP/s of the fastest product of two square matrices, of either side."""
    square = jnp.ones((size, size), dtype)
    tensor = torch.ones(size, size, dtype=getattr(torch, dtype), device=device)
    product = jax.jit(jnp.matmul)

    def in_torch() -> None:
        torch.mm(tensor, tensor)
        if device.type == "cuda":
            torch.cuda.synchronize()

    fastest = float("inf")
    for run in (lambda: product(square, square).block_until_ready(), in_torch):
        run()
        for _ in range(runs):
            start = time.perf_counter()
            run()
            fastest = min(fastest, time.perf_counter() - start)
    return 2 * size**3 / fastest


def training_batches(
    stage: str, config: ConfigDict, batch_size: int, folder: str
) -> Iterator[Batch]:
    """The stage's real batches: prepared data, Grain; what changes images is left out of the step.

    Args:
      folder: for prepared data. Stage 2 reads its images from an array, as it reads SR images.
    """
    config = config.copy_and_resolve_references()
    config.data.data_dir = folder
    config.data.synthetic.update(train=WORDS, validation=1, test=1)
    source = data.load(config.data).train
    if stage == "stage2":
        images = np.stack([source[index].hr for index in range(len(source))])
        source = Replaced(source, images)
    return train_batches(source, batch_size=batch_size, max_length=config.max_length, seed=SEED)


def main(arguments: list[str]) -> None:
    if arguments:
        raise UserError(f"{arguments[0]!r}: benchmarks.train takes flags only")
    gpu = prepare()
    dtype = flags.FLAGS.dtype or ("bfloat16" if gpu else "float32")
    config = experiment(dtype, flags.FLAGS.data_root)
    results: dict[str, Any] = {"machine": machine(gpu), "dtype": dtype, "rows": []}
    if not flags.FLAGS.parts:
        results["matrix_peak_flops"] = matrix_peak(
            dtype, 8192 if gpu else 2048, torch.device("cuda" if gpu else "cpu")
        )
    with tempfile.TemporaryDirectory() as folder:
        for stage in [flags.FLAGS.only] if flags.FLAGS.only else STAGES:
            default = config[stage].batch_size if gpu else CPU_BATCH
            for size in batch_sizes(flags.FLAGS.batch) or [default]:
                batches = training_batches(stage, config, size, folder)
                if flags.FLAGS.parts:
                    row = parts.measure(stage, config, next(batches), flags.FLAGS.runs)
                else:
                    row = measure(work(stage, config), batches, flags.FLAGS.runs, gpu=gpu)
                results["rows"].append(row)
                if flags.FLAGS.out:
                    write_json(flags.FLAGS.out, results)
    (parts.print_parts(results["rows"]) if flags.FLAGS.parts else print_results(results))
    if flags.FLAGS.out:
        print(f"figures: {flags.FLAGS.out}")


def prepare() -> bool:
    """Readies both sides, before JAX is asked for its devices; returns whether there is a GPU.

    Raises:
      UserError: JAX sees a GPU, and PyTorch does not.
    """
    if not torch.cuda.is_available():
        # XLA takes as many threads as it finds cores when it starts.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
        torch.set_num_threads(THREADS)
    # Both sides share a GPU's memory.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    gpu = jax.default_backend() == "gpu"
    if gpu and not torch.cuda.is_available():
        raise UserError("PyTorch sees no GPU where JAX sees one; install PyTorch's CUDA build")
    # For float32 on GPUs: TF32 on both sides.
    torch.set_float32_matmul_precision("high")
    return gpu


def experiment(dtype: str, data_root: str = "") -> ConfigDict:
    """The paper's config in a compute dtype; without TextZoom's folders words are drawn."""
    config = paper.get_config()
    config.data.root = data_root
    config.sr.dtype = config.ocr.dtype = config.focus.dtype = dtype
    return config


def batch_sizes(values: Sequence[str]) -> list[int]:
    """The numbers of `--batch`; raises `UserError` where one is less than 2."""
    for value in values:
        # BatchNorm1d has nothing to normalise in one.
        if not value.isdecimal() or int(value) < 2:
            raise UserError(f"--batch={','.join(values)}: {value!r} is no whole number from 2 on")
    return [int(value) for value in values]


def machine(gpu: bool) -> str:
    """What the times were taken on, and with what."""
    versions = f"jax {jax.__version__}, torch {torch.__version__.split('+')[0]}"
    device = jax.devices()[0].device_kind if gpu else f"{THREADS} cores of {os.uname().machine}"
    return f"{device}, {versions}"


def print_results(results: dict[str, Any]) -> None:
    """A row for each side of each stage; shares are of the fastest matrix product."""
    peak, dtype = results["matrix_peak_flops"], results["dtype"]
    table = Table(
        title=f"a training step, medians: {results['machine']}, {dtype}; fastest matrix product "
        f"{peak / 1e12:.3g} TFLOP/s"
    )
    table.add_column("stage")
    table.add_column("side")
    columns = ("batch", "s a step", "of PyTorch's", "pairs/s", "TFLOP/s", "of the peak", "waiting")
    for column in columns:
        table.add_column(column, justify="right")
    for row in results["rows"]:
        for side, title in SIDES.items():
            seconds = row.get(side)
            if seconds is None:
                continue
            rate = row["flops"] / seconds
            # Of the same work: what was computed before is not counted against the time.
            counted = side != "jax_kept_s"
            table.add_row(
                STAGES[row["stage"]],
                title,
                str(row["batch"]),
                f"{seconds:.3g}",
                f"{seconds / row['torch_s']:.2f}",
                f"{row['batch'] / seconds:.3g}",
                f"{rate / 1e12:.3g}" if counted else "-",
                f"{100 * rate / peak:.0f} %" if counted else "-",
                f"{100 * row['waiting']:.1f} %" if side == "fed_s" else "-",
            )
    print_table(table, keys=2)


def _define_flags() -> None:
    # Not on import: tests import several benchmarks, whose flags share names.
    flags.DEFINE_enum("only", None, list(STAGES), "One stage instead of both.")
    flags.DEFINE_list(
        "batch",
        [],
        f"Pairs a step, from 2 on, or several such numbers; default {CPU_BATCH} on a CPU, else the "
        "paper config's.",
    )
    flags.DEFINE_bool("parts", False, "Takes JAX's step apart instead; without PyTorch's side.")
    flags.DEFINE_enum(
        "dtype",
        None,
        ["float32", "bfloat16"],
        "The compute dtype; default float32 on a CPU, else bfloat16.",
    )
    flags.DEFINE_integer("runs", 5, "How often each side is timed.", lower_bound=3)
    flags.DEFINE_string(
        "data_root", "", f"TextZoom's LMDB folders; without, {WORDS} synthetic words are drawn."
    )
    flags.DEFINE_string("out", None, "A JSON file for the figures.")


if __name__ == "__main__":
    _define_flags()
    run_script(main)
