"""Int8 beside float32 on a CPU: python -m benchmarks.int8 [--model=SOURCE --data_root=DIR]

Times EDSR-32x256 and the published visual encoder in PyTorch, JAX and ONNX Runtime, in turns on
two threads; with trained models also what int8 costs in PSNR, accuracy and words.
"""

import os
import pathlib
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from absl import flags
from rich.table import Table
from tqdm import tqdm

from benchmarks import needs_extra
from benchmarks.golden import reference_tensors
from benchmarks.golden import vectors as golden_vectors
from textsr_jax import reading
from textsr_jax.cli.scripts import run_script
from textsr_jax.data.samples import training_images
from textsr_jax.decoding.word_search import WordSearch
from textsr_jax.evaluation import protocol
from textsr_jax.evaluation.protocol import Evaluation, Images, Row
from textsr_jax.export import GRAPHS, RANGE_METHODS
from textsr_jax.models import Network, Variables
from textsr_jax.report.tables import print_table
from textsr_jax.runtime.atomic import write_json

with needs_extra(__name__):
    import onnxruntime
    import torch

    from benchmarks import torch_networks
    from textsr_jax.export import exporting, graphs
    from textsr_jax.export.engine import OnnxEngine, open_session, to_float
    from textsr_jax.export.int8 import quantize

THREADS = 2
BATCHES = (1, 4)
BEAMS = (1, 10)
COMPARED_WORDS = 500
SEED = 0
EDSR, ENCODER = "EDSR-32x256", "visual encoder"
TORCH, JAX, ORT, INT8 = "PyTorch float32", "JAX float32", "ONNX float32", "ONNX int8"
RESULTS = pathlib.Path(__file__).parents[1] / "docs" / "int8.json"


def main(arguments: list[str]) -> None:
    del arguments
    # XLA takes as many threads as it finds cores when it starts, which is in the first network.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
    torch.set_num_threads(THREADS)
    results: dict[str, Any] = {"machine": machine(), "speed": [], "stand_in_error": []}
    lr = _images(16, 64)
    if flags.FLAGS.model:
        source = exporting.load_exportable(flags.FLAGS.model)
        lr = to_float(
            training_images(source.config.data, flags.FLAGS.data_root, flags.FLAGS.images)
        )
        results["models"] = compare_models(source, [*flags.FLAGS.calibration])
        _print_rows(results["models"])
        write_json(flags.FLAGS.out, results)
    for title, model, method, images in (
        (EDSR, "edsr", "__call__", lr[:32]),
        (ENCODER, "cdistnet", "encode", _images(32, 128)),
    ):
        speed, error = measure(title, model, golden_vectors.imported(model, SEED), method, images)
        results["speed"] += speed
        results["stand_in_error"] += error
        _print_speed(results["speed"])
        write_json(flags.FLAGS.out, results)
    results["targets"] = targets(results)
    write_json(flags.FLAGS.out, results)
    _print_errors(results["stand_in_error"])
    _print_targets(results["targets"])
    print(f"figures: {flags.FLAGS.out}")


def measure(
    title: str, model: str, imported: tuple[Network, Variables], method: str, images: np.ndarray
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Times of a published network with stand-in weights, and how far int8 lies from float32.

    Args:
      title: its name in the tables.
      model: its name in `torch_networks`.
      imported: the network and its variables.
      method: what is timed, "__call__" or "encode".
      images: float (n, H, W, 3); the first half calibrates, the second measures the error.

    Returns:
      A row per batch size, and a row per number of weight bits.
    """
    network, variables = imported
    traced = (graphs.encoder if method == "encode" else graphs.super_resolution)(*imported)
    name = traced.graph.input[0].name
    half = len(images) // 2
    feeds = [{name: images[start : start + 4]} for start in range(0, half, 4)]
    sessions = {ORT: open_session(traced.SerializeToString(), THREADS)}
    reference = sessions[ORT].run(None, {name: images[half:]})[0]
    errors = []
    for bits in (8, 7):
        session = open_session(quantize(traced, feeds, "aciq", bits).SerializeToString(), THREADS)
        difference = session.run(None, {name: images[half:]})[0] - reference
        mse = float(np.square(difference).mean())
        ratio = 10 * np.log10(reference.var() / mse)
        errors.append(
            {"network": title, "weight_bits": bits, "mse": mse, "signal_to_noise_db": float(ratio)}
        )
    sessions[INT8] = session
    twin = torch_networks.load(model, SEED)
    compiled = jax.jit(lambda variables, images: network(variables, images, method=method))
    variables = jax.device_put(variables)

    def in_torch(batch: np.ndarray) -> Callable[[], Any]:
        tensor = torch.from_numpy(batch.transpose(0, 3, 1, 2).copy())
        if method != "encode":
            return lambda: twin(tensor)
        # The published network reads pixel / 128 - 1.
        tensor = tensor * (255 / 128) - 1
        return lambda: twin.encode(tensor)

    rows = []
    for size in BATCHES:
        batch = np.ascontiguousarray(images[:size])
        sides: dict[str, Callable[[], Any]] = {
            TORCH: in_torch(batch),
            JAX: lambda batch=batch: jax.block_until_ready(compiled(variables, batch)),
        }
        for side, session in sessions.items():
            sides[side] = lambda session=session, batch=batch: session.run(None, {name: batch})
        medians = in_turns(sides, flags.FLAGS.runs, f"{title}, batch {size}")
        rows.append(
            {
                "network": title,
                "batch": size,
                "runs": flags.FLAGS.runs,
                "seconds_an_image": {side: s / size for side, s in medians.items()},
            }
        )
    return rows, errors


def in_turns(sides: dict[str, Callable[[], Any]], runs: int, title: str) -> dict[str, float]:
    """Median seconds of each side; every timed run has one before it that does not count.

    Worker threads of the side before keep spinning for a while; that first run outlasts them.
    """
    times: dict[str, list[float]] = {side: [] for side in sides}
    with torch.no_grad():
        for run in sides.values():
            run()
        for _ in tqdm(range(runs), desc=title, unit="turn", disable=None):
            for side, run in sides.items():
                run()
                start = time.perf_counter()
                run()
                times[side].append(time.perf_counter() - start)
    return {side: statistics.median(values) for side, values in times.items()}


def compare_models(source: exporting.Exportable, calibrations: Sequence[str]) -> dict[str, Any]:
    """PSNR, accuracy and words of models in JAX, and in ONNX Runtime in float32 and int8.

    Args:
      source: the models.
      calibrations: how activations are calibrated, each an int8 row.
    """
    words = protocol.open_pairs(source.config, flags.FLAGS.data_root)
    lr = training_images(source.config.data, flags.FLAGS.data_root, flags.FLAGS.images)
    traced = exporting.trace(source)
    steps = source.config.decoding.steps
    runtimes = {ORT: traced}
    for method in calibrations:
        runtimes[f"{INT8}, {method}"] = exporting.quantize_graphs(traced, lr, steps, method, 7)
    sessions = {
        side: {name: open_session(models[name].SerializeToString(), THREADS) for name in GRAPHS}
        for side, models in runtimes.items()
    }
    # Images do not depend on the beams, and EDSR-32x256 takes minutes for them.
    evaluation = Evaluation(source.config, words)
    plain_images = evaluation.enhance(*source.sr)
    made: dict[str, Images] = {}
    for side, opened in sessions.items():
        reader = reading.Reader(OnnxEngine(opened, WordSearch(beam=1, steps=steps)))
        made[side] = {name: reader.enhance(list(part)) for name, part in evaluation.lr.items()}
    rows = []
    for beam in BEAMS:
        config = source.config.replace(decoding={"beam": beam})
        evaluation = Evaluation(config, words)
        read = evaluation.read(*source.ocr, plain_images)
        plain = evaluation.row(JAX, source.name, plain_images, read)
        rows.append(_scores(plain, plain, beam))
        for side, opened in sessions.items():
            reader = reading.Reader(OnnxEngine(opened, evaluation.search))
            found = {name: _texts(reader.read_enhanced(part)) for name, part in made[side].items()}
            rows.append(_scores(evaluation.row(side, source.name, made[side], found), plain, beam))
    return {
        "source": source.name,
        "data": evaluation.title,
        "calibration_images": len(lr),
        "rows": rows,
    }


def _texts(readings: Sequence[reading.Reading]) -> list[str]:
    return [one.text for one in readings]


def _scores(row: Row, plain: Row, beam: int) -> dict[str, Any]:
    """A row's scores, and how many of some hundred words, spread evenly, JAX reads otherwise."""
    here, there = ([w for part in r.words.values() for w in part] for r in (row, plain))
    chosen = np.linspace(0, len(here) - 1, min(COMPARED_WORDS, len(here))).round().astype(int)
    return {
        "side": row.sr,
        "beam": beam,
        "psnr": row.mean["psnr"],
        "accuracy": row.mean["accuracy"],
        "words": len(chosen),
        "differ": sum(here[index] != there[index] for index in chosen),
    }


def targets(results: dict[str, Any]) -> list[dict[str, Any]]:
    """What was wanted beside what was reached, on this machine."""

    wanted = []
    for row in results["speed"]:
        seconds, least = row["seconds_an_image"], {EDSR: 4.0, ENCODER: 2.0}[row["network"]]
        what = f"{row['network']}, int8 against PyTorch, batch {row['batch']}"
        wanted.append((what, "x", least, seconds[TORCH] / seconds[INT8]))
    if "models" in results:
        rows = results["models"]["rows"]
        for beam in BEAMS:
            plain, *others = [row for row in rows if row["beam"] == beam]
            found = next(row for row in others if row["side"].startswith(INT8))
            if beam == BEAMS[0]:
                wanted.append(("SR's loss", "dB", 0.1, plain["psnr"] - found["psnr"]))
            lost = plain["accuracy"] - found["accuracy"]
            wanted.append((f"the models' loss, beam {beam}", "points", 0.5, lost))
    return [
        {
            "what": what,
            "unit": unit,
            "target": target,
            "reached": reached,
            "met": reached >= target if unit == "x" else reached <= target,
        }
        for what, unit, target, reached in wanted
    ]


def machine() -> str:
    """What the times were taken on, and with what."""
    info = pathlib.Path("/proc/cpuinfo")
    features = info.read_text().split() if info.exists() else []
    vnni = "with" if any(f in features for f in ("avx_vnni", "avx512_vnni")) else "without"
    versions = ", ".join(
        f"{name} {version.split('+')[0]}"
        for name, version in (
            ("jax", jax.__version__),
            ("torch", torch.__version__),
            ("onnxruntime", onnxruntime.__version__),
        )
    )
    return f"{THREADS} cores of {platform.machine()} {vnni} VNNI, {versions}"


def _images(height: int, width: int) -> np.ndarray:
    array = reference_tensors.image("speed", (32, 3, height, width), SEED)
    return golden_vectors.images(array).astype(np.float32)


def _print_speed(rows: Sequence[dict[str, Any]]) -> None:
    table = Table(title=f"forward, medians in ms an image: {machine()}")
    table.add_column("network")
    for column in ("batch", TORCH, JAX, ORT, INT8, "PyTorch / int8", "float32 / int8 in ONNX"):
        table.add_column(column, justify="right")
    for row in rows:
        seconds = row["seconds_an_image"]
        table.add_row(
            row["network"],
            str(row["batch"]),
            *(f"{1000 * seconds[side]:.1f}" for side in (TORCH, JAX, ORT, INT8)),
            f"{seconds[TORCH] / seconds[INT8]:.2f}",
            f"{seconds[ORT] / seconds[INT8]:.2f}",
        )
    print_table(table)


def _print_rows(found: dict[str, Any]) -> None:
    table = Table(title=f"{found['source']}, calibrated on {found['calibration_images']} images")
    table.add_column("side")
    for column in ("beam", "PSNR\ndB", "accuracy\n%", "words that\nJAX reads otherwise"):
        table.add_column(column, justify="right")
    for row in found["rows"]:
        share = 100 * row["differ"] / row["words"]
        table.add_row(
            row["side"],
            str(row["beam"]),
            f"{row['psnr']:.3f}",
            f"{row['accuracy']:.2f}",
            f"{row['differ']} of {row['words']}, {share:.1f} %",
        )
    print_table(table)


def _print_errors(rows: Sequence[dict[str, Any]]) -> None:
    table = Table(title="int8 against float32, stand-in weights")
    table.add_column("network")
    for column in ("bits of weights", "mean squared error", "signal to noise, dB"):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(
            row["network"],
            str(row["weight_bits"]),
            f"{row['mse']:.2e}",
            f"{row['signal_to_noise_db']:.1f}",
        )
    print_table(table)


def _print_targets(rows: Sequence[dict[str, Any]]) -> None:
    table = Table(title="targets")
    table.add_column("what")
    for column in ("target", "reached", "met"):
        table.add_column(column, justify="right")
    for row in rows:
        bound = "at least" if row["unit"] == "x" else "at most"
        table.add_row(
            row["what"],
            f"{bound} {row['target']:g} {row['unit']}",
            f"{row['reached']:.3f} {row['unit']}",
            "yes" if row["met"] else "no",
        )
    print_table(table)


def _define_flags() -> None:
    flags.DEFINE_string(
        "model", None, "A workdir or packed file whose PSNR, accuracy and words are compared."
    )
    flags.DEFINE_string(
        "data_root", None, "TextZoom's LMDB folders, to calibrate and test the models on."
    )
    flags.DEFINE_integer("images", 300, "Images to calibrate on.", lower_bound=1)
    flags.DEFINE_multi_enum(
        "calibration",
        ["aciq"],
        RANGE_METHODS,
        "How activation ranges are found; repeat it to compare.",
    )
    flags.DEFINE_integer("runs", 5, "How often each side is timed; at least 3.", lower_bound=3)
    flags.DEFINE_string("out", str(RESULTS), "The JSON file.")


if __name__ == "__main__":
    _define_flags()
    run_script(main)
