"""Activation ranges: what the tensors of a float32 graph hold on sample images, and where to clip.

ACIQ chooses a range for each tensor. ONNX Runtime's own calibrators are there to compare with.
"""

import pathlib
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from textsr_jax.errors import UserError, needs
from textsr_jax.export import RANGE_METHODS
from textsr_jax.quantization import aciq

with needs("onnx"):
    import onnx
    import onnxruntime
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod
    from onnxruntime.quantization.calibrate import create_calibrator

# A tensor has one range, divided into 2^8 - 1 steps.
BITS = 8
STEPS = 2**BITS - 1

_ORT_METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}
# How many values of a tensor are kept from each batch, drawn at random. Ranges need no more.
_DRAWN = 8192

Feed = dict[str, np.ndarray]


class Range(NamedTuple):
    """The values that an activation's codes span; 0 is among them."""

    low: float
    high: float


def ranges(
    model: onnx.ModelProto, feeds: Iterable[Feed], tensors: Sequence[str], method: str
) -> dict[str, Range]:
    """The range of each tensor of a float32 graph, from what it holds on samples.

    Args:
      model: the graph.
      feeds: inputs of the graph, of some images each. They are read once.
      tensors: names of float tensors in the graph; its inputs may be among them.
      method: one of `textsr_jax.export.RANGE_METHODS`.

    Raises:
      UserError: there is no such method.
    """
    if method not in RANGE_METHODS:
        raise UserError(
            f"--calibration={method}: no such method; take one of {', '.join(RANGE_METHODS)}"
        )
    if method == "aciq":
        drawn = _drawn(model, feeds, tensors)
        return {name: fit(values, ends) for name, (values, ends) in drawn.items()}
    return _by_onnx_runtime(model, feeds, tensors, _ORT_METHODS[method])


def fit(values: np.ndarray, ends: Range) -> Range:
    """ACIQ's range of an activation: Laplace, Gaussian or min-max, by the least squared error.

    The clip is `aciq.alpha` times the spread about the mean, cut at the smallest and the largest
    value. Values that are never negative, as after a ReLU, are half of a distribution about 0. Then
    the range starts at 0, and only values above 0 count for the spread.

    Args:
      values: float32, some of the values at random, of any shape.
      ends: the smallest and the largest of all values.
    """
    values = np.asarray(values, np.float32).ravel()
    low, high = min(0.0, ends.low), max(0.0, ends.high)
    candidates = [Range(low, high)]
    sample = values[values > 0] if low == 0 else values
    if sample.size:
        mean = 0.0 if low == 0 else float(sample.mean())
        deviation = np.abs(sample - mean)
        # Squares hold half the range of exponents. So values are divided by a power of two near
        # the largest, which changes no digit.
        unit = np.ldexp(np.float32(1), np.frexp(deviation.max())[1] - 1)
        gaussian = np.sqrt(np.square(deviation / unit).mean()) * unit
        spreads = {"laplace": deviation.mean(), "gaussian": gaussian}
        for prior, spread in spreads.items():
            clip = aciq.alpha(prior, BITS) * float(spread)
            candidates.append(
                Range(max(low, min(0.0, mean - clip)), min(high, max(0.0, mean + clip)))
            )
    return min(candidates, key=lambda candidate: squared_error(values, candidate))


def squared_error(values: np.ndarray, span: Range) -> float:
    """The mean squared error of values after rounding to codes, as the int8 graph rounds them."""
    scale = (span.high - span.low) / STEPS
    if not scale:
        return float(np.square(values, dtype=np.float64).mean())
    zero = round(-span.low / scale)
    codes = np.clip(np.round(values / scale) + zero, 0, STEPS)
    return float(np.square((codes - zero) * scale - values, dtype=np.float64).mean())


def _drawn(
    model: onnx.ModelProto, feeds: Iterable[Feed], tensors: Sequence[str]
) -> dict[str, tuple[np.ndarray, Range]]:
    """Some values of each tensor, drawn at random from every feed, and the ends of all values."""
    session = _open(model, tensors)
    inputs = {value.name for value in model.graph.input}
    inner = [name for name in tensors if name not in inputs]
    rng = np.random.default_rng(0)
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in tensors}
    ends = dict.fromkeys(tensors, Range(np.inf, -np.inf))
    for feed in feeds:
        made = dict(zip(inner, session.run(inner, feed), strict=True)) if inner else {}
        for name in tensors:
            values = (feed if name in inputs else made)[name].ravel()
            drawn[name].append(values[rng.integers(0, values.size, min(values.size, _DRAWN))])
            low, high = ends[name]
            ends[name] = Range(min(low, float(values.min())), max(high, float(values.max())))
    return {name: (np.concatenate(parts), ends[name]) for name, parts in drawn.items()}


def _open(model: onnx.ModelProto, tensors: Sequence[str]) -> onnxruntime.InferenceSession:
    """A session that also has `tensors` among its outputs."""
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    known = {value.name for value in (*shown.graph.input, *shown.graph.output)}
    shown.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        for name in tensors
        if name not in known
    )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        shown.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


class _Reader(CalibrationDataReader):
    """One feed, in the form that ONNX Runtime's calibrators take."""

    def __init__(self, feed: Feed):
        self._feeds: Iterator[Feed] = iter([feed])

    def get_next(self) -> Feed | None:
        return next(self._feeds, None)


def _by_onnx_runtime(
    model: onnx.ModelProto,
    feeds: Iterable[Feed],
    tensors: Sequence[str],
    method: CalibrationMethod,
) -> dict[str, Range]:
    wanted = set(tensors)
    types = {n.op_type for n in model.graph.node if wanted & {*n.input, *n.output}}
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "graph.onnx")
        onnx.save(model, path)
        calibrator = create_calibrator(
            path,
            sorted(types),
            str(pathlib.Path(folder, "augmented.onnx")),
            calibrate_method=method,
        )
        for feed in feeds:
            # One feed after another: a calibrator keeps all that one reader gives in memory.
            calibrator.collect_data(_Reader(feed))
        found = calibrator.compute_data()
        del calibrator
    spans = {}
    for name in tensors:
        low, high = (float(np.asarray(end).min()) for end in found[name].range_value)
        spans[name] = Range(min(0.0, low), max(0.0, high))
    return spans
