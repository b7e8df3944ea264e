"""Forward times of every network beside PyTorch's: python -m benchmarks.networks [NETWORK ...]

Both sides run in turns on two threads, with the same stand-in weights and images. Prints a table
and adds to the JSON file, which keeps the rows of networks that are not named.
"""

import json
import os
import pathlib
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import flags
from rich.table import Table
from tqdm import tqdm

from benchmarks import needs_extra
from benchmarks.golden import reference_tensors
from benchmarks.golden import vectors as golden_vectors
from textsr_jax import decoding
from textsr_jax.cli.scripts import run_script
from textsr_jax.errors import UserError
from textsr_jax.report.tables import print_table
from textsr_jax.runtime.atomic import write_json

with needs_extra(__name__):
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    from benchmarks import torch_networks

THREADS = 2
BATCHES = (1, 8)
READING, READING_BATCH = "reading", 16
SEED = 0
SPEEDS = pathlib.Path(__file__).parents[1] / "docs" / "speed.json"


class Sides(NamedTuple):
    """The same computation on both sides; each call returns when its result is there."""

    jax: Callable[[], Any]
    torch: Callable[[], Any]


def _sides(model: str, method: str, jax_inputs: tuple, torch_inputs: tuple) -> Sides:
    network, variables = golden_vectors.imported(model, SEED)
    compiled = jax.jit(lambda variables, *inputs: network(variables, *inputs, method=method))
    variables, jax_inputs = jax.device_put((variables, jax_inputs))
    twin = torch_networks.load(model, SEED)
    tensors = [torch.from_numpy(array) for array in torch_inputs]
    return Sides(
        lambda: jax.block_until_ready(compiled(variables, *jax_inputs)), lambda: twin(*tensors)
    )


def _image(batch: int, channels: int, height: int, width: int) -> np.ndarray:
    return reference_tensors.image("speed", (batch, channels, height, width), SEED)


def _super_resolution(model: str, batch: int) -> Sides:
    lr = _image(batch, 3, 16, 64)
    return _sides(model, "__call__", (golden_vectors.images(lr),), (lr,))


def _resampler(model: str, batch: int) -> Sides:
    hr = _image(batch, 3, 64, 256)
    return _sides(model, "__call__", (golden_vectors.images(hr),), (hr,))


def _text_focus(model: str, batch: int) -> Sides:
    gray, tokens = _image(batch, 1, 32, 128), _tokens(batch, 37)
    inputs = golden_vectors.images(gray), tokens.astype(np.int32)
    return _sides(model, "__call__", inputs, (gray, tokens))


def _cdistnet(model: str, batch: int) -> Sides:
    images, tokens = _image(batch, 3, 32, 128), _tokens(batch, 40)
    inputs = golden_vectors.images(images), tokens.astype(np.int32)
    # The published network reads pixel / 128 - 1.
    return _sides(model, "__call__", inputs, (images * np.float32(255 / 128) - 1, tokens))


def _crnn(model: str, batch: int) -> Sides:
    gray = _image(batch, 1, 32, 100)
    return _sides(model, "classify", (golden_vectors.images(gray),), (gray,))


def _tokens(batch: int, classes: int, length: int = 10) -> np.ndarray:
    return np.random.default_rng(SEED).integers(4, classes, (batch, length))


def _reading(model: str, batch: int) -> Sides:
    """CDistNet with beam 10 and at most 49 steps, from images to words."""
    del model
    network, variables = golden_vectors.imported("cdistnet", SEED)
    read = decoding.recognizer(network, beam=10, steps=49)
    images = _image(batch, 3, 32, 128)
    variables, inputs = jax.device_put((variables, golden_vectors.images(images)))
    twin = torch_networks.load("cdistnet", SEED)
    tensor = torch.from_numpy(images * np.float32(255 / 128) - 1)
    return Sides(lambda: jax.block_until_ready(read(variables, inputs)), lambda: twin.read(tensor))


NETWORKS = {
    "edsr": _super_resolution,
    "tbsrn": _super_resolution,
    "tsrn": _super_resolution,
    "tpgsr": _super_resolution,
    "tatt": _super_resolution,
    "lemma": _super_resolution,
    "resampler": _resampler,
    "text_focus": _text_focus,
    "cdistnet": _cdistnet,
    "crnn": _crnn,
    READING: _reading,
}


def _seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def measure(sides: Sides, runs: int) -> dict[str, Any]:
    """Medians of `runs` of both sides, which take turns after a first run that does not count."""
    # PyTorch plans its convolutions in the first run, JAX compiles.
    for side in sides:
        side()
    times = [[_seconds(side) for side in sides] for _ in range(runs)]
    jax_s, torch_s = (statistics.median(values) for values in zip(*times, strict=True))
    return {"jax_s": jax_s, "torch_s": torch_s, "ratio": jax_s / torch_s, "runs": runs}


def gflop(sides: Sides) -> float:
    """10^9 FLOPs of PyTorch's side: 2 a multiplication and sum of convolutions and products."""
    # The fused kernels of recurrent layers and of attention are not counted, their parts are.
    with (
        torch.backends.mkldnn.flags(enabled=False, allow_tf32=None),
        sdpa_kernel(SDPBackend.MATH),
        FlopCounterMode(display=False) as counter,
    ):
        sides.torch()
    return counter.get_total_flops() / 1e9


def main(arguments: list[str]) -> None:
    for name in arguments:
        if name not in NETWORKS:
            raise UserError(f"{name!r}: no such network; take some of {', '.join(NETWORKS)}")
    run(arguments or list(NETWORKS))
    _print(taken()["rows"])
    print(f"times: {flags.FLAGS.out}")


def taken() -> dict[str, Any]:
    """The content of the JSON file: `machine`, and `rows` of `network`, `batch` and `measure`."""
    out = pathlib.Path(flags.FLAGS.out)
    return json.loads(out.read_text()) if out.exists() else {"machine": machine(), "rows": []}


def run(chosen: Sequence[str]) -> None:
    """Measures the networks of these names and puts their rows into the JSON file."""
    # XLA takes as many threads as it finds cores when it starts, which is in the first network.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
    torch.set_num_threads(THREADS)
    rows, names = taken()["rows"], list(NETWORKS)
    with (
        tqdm(total=len(chosen), desc="networks", unit="network", disable=None) as bar,
        torch.no_grad(),
    ):
        for name in chosen:
            rows = [row for row in rows if row["network"] != name]
            for batch in (READING_BATCH,) if name == READING else BATCHES:
                times = measure(NETWORKS[name](name, batch), flags.FLAGS.runs)
                rows.append({"network": name, "batch": batch, **times})
            rows.sort(key=lambda row: (names.index(row["network"]), row["batch"]))
            write_json(flags.FLAGS.out, {"machine": machine(), "rows": rows})
            bar.update()


def machine() -> str:
    """What the times were taken on, and with what."""
    versions = f"jax {jax.__version__}, torch {torch.__version__.split('+')[0]}"
    return f"{THREADS} cores of {os.uname().machine}, {versions}"


def _print(rows: list[dict[str, Any]]) -> None:
    table = Table(title=f"forward, medians in ms: {machine()}")
    table.add_column("network")
    for column in ("batch", "JAX", "PyTorch", "ratio", "JAX an image", "PyTorch an image"):
        table.add_column(column, justify="right")
    for row in rows:
        jax_ms, torch_ms = 1000 * row["jax_s"], 1000 * row["torch_s"]
        table.add_row(
            row["network"],
            str(row["batch"]),
            f"{jax_ms:.1f}",
            f"{torch_ms:.1f}",
            f"{row['ratio']:.2f}",
            f"{jax_ms / row['batch']:.1f}",
            f"{torch_ms / row['batch']:.1f}",
        )
    print_table(table)


def define_flags() -> None:
    """`--runs` and `--out`, also for `benchmarks.fidelity`, which takes missing times."""
    flags.DEFINE_integer("runs", 5, "How often each side runs; at least 5.", lower_bound=5)
    flags.DEFINE_string("out", str(SPEEDS), "The JSON file.")


if __name__ == "__main__":
    define_flags()
    run_script(main)
