"""All that is measured on a lent GPU, in one call: python -m benchmarks.accelerator --out=FILE

The parts of both stages' steps at several batch sizes, the whole steps beside compiled PyTorch, and
the drawing of words. The file is written after each of them, so that a cut leaves what was
measured. What does not begin within --minutes is left out.
"""

import functools
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from absl import flags

from benchmarks import needs_extra
from textsr_jax.cli.scripts import refuse, run_script
from textsr_jax.runtime import provenance
from textsr_jax.runtime.atomic import write_json
from textsr_jax.runtime.compilation import keep_compiled

with needs_extra(__name__):
    import torch

    from benchmarks import drawing, parts, train
    from benchmarks.trained_stages import STAGES, work

# The last job to begin should end within the eight minutes of a call.
_MINUTES = 6.5


def jobs(
    sizes: Sequence[int], dtype: str, runs: int, folder: str, *, gpu: bool
) -> dict[str, Callable[[], Any]]:
    """What is measured, by name, in the order of its worth.

    Args:
      sizes: batches whose steps are taken apart.
      dtype: the compute dtype.
      runs: how often each is timed.
      folder: for the words that are trained on.
      gpu: computes there.
    """
    config = train.experiment(dtype)

    def taken_apart(stage: str, size: int) -> Any:
        batches = train.training_batches(stage, config, size, folder)
        row = parts.measure(stage, config, next(batches), runs)
        parts.print_parts([row])
        return row

    def beside_torch(stage: str) -> Any:
        size = config[stage].batch_size if gpu else train.CPU_BATCH
        batches = train.training_batches(stage, config, size, folder)
        device = torch.device("cuda" if gpu else "cpu")
        peak = train.matrix_peak(dtype, 8192 if gpu else 2048, device)
        rows = [train.measure(work(stage, config), batches, runs, gpu=gpu)]
        found = {"machine": train.machine(gpu), "dtype": dtype, "matrix_peak_flops": peak}
        train.print_results(found | {"rows": rows})
        return found | {"rows": rows}

    def drawn() -> Any:
        results = drawing.measure(words=1024, rounds=3, batches=[64, 256])
        drawing.print_results(results)
        return results

    first, *others = sizes
    made: dict[str, Callable[[], Any]] = {}
    for size in (first, *others):
        for stage in STAGES:
            name = f"parts of {stage}, batch {size}"
            made[name] = functools.partial(taken_apart, stage, size)
        if size == first:
            for stage in STAGES:
                made[f"{stage} beside PyTorch"] = functools.partial(beside_torch, stage)
            made["drawing"] = drawn
    return made


def run(
    made: Mapping[str, Callable[[], Any]], out: str, about: Mapping[str, Any], minutes: float
) -> dict[str, Any]:
    """Runs jobs one after another, and writes what there is after each.

    Args:
      made: the jobs by name.
      out: the JSON file.
      about: what the file says beside.
      minutes: jobs that would begin later are left out.

    Returns:
      What the file holds: `about`, and by the jobs' names `measured` with the results, `seconds`,
      `failed` with the first line of an error, and `left_out`, a list.
    """
    results: dict[str, Any] = {
        **about,
        "measured": {},
        "seconds": {},
        "failed": {},
        "left_out": list(made),
    }
    begun = time.perf_counter()
    for name, job in made.items():
        start = time.perf_counter()
        if start - begun > 60 * minutes:
            print(f"{name}: left out, {minutes} minutes are over", flush=True)
            continue
        try:
            results["measured"][name] = job()
        except Exception as error:  # out of memory, and whatever else: the others are measured
            results["failed"][name] = (str(error).strip() or repr(error)).splitlines()[0]
            print(f"{name}: {results['failed'][name]}", flush=True)
        results["left_out"].remove(name)
        results["seconds"][name] = time.perf_counter() - start
        write_json(out, results)
    return results


def main(arguments: list[str]) -> None:
    refuse(arguments)
    gpu = train.prepare()
    # The whole steps are compiled twice: for their parts, and beside PyTorch.
    keep_compiled()
    sizes = train.batch_sizes(flags.FLAGS.batch)
    about = {
        "provenance": provenance.code(),
        "machine": train.machine(gpu),
        "devices": [device.device_kind for device in jax.devices()],
        "cores": len(os.sched_getaffinity(0)),
        "dtype": flags.FLAGS.dtype,
    }
    out = flags.FLAGS.out
    with tempfile.TemporaryDirectory() as folder:
        made = jobs(sizes, flags.FLAGS.dtype, flags.FLAGS.runs, folder, gpu=gpu)
        results = run(made, out, about, flags.FLAGS.minutes)
    print(f"{len(results['measured'])} of {len(made)} measured; figures: {out}")


def _define_flags() -> None:
    # Not on import: tests import several benchmarks, whose flags share names.
    flags.DEFINE_list("batch", ["16", "64", "256"], "Batch sizes whose steps are taken apart.")
    flags.DEFINE_enum("dtype", "bfloat16", ["float32", "bfloat16"], "The compute dtype.")
    flags.DEFINE_integer("runs", 5, "How often each is timed.", lower_bound=3)
    flags.DEFINE_float("minutes", _MINUTES, "What would begin later is left out.")
    flags.DEFINE_string("out", "accelerator.json", "The JSON file for the figures.")


if __name__ == "__main__":
    _define_flags()
    run_script(main)
