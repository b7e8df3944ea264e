"""Int8 graphs: float32 graphs with QuantizeLinear and DequantizeLinear around what is quantised.

ONNX Runtime runs its int8 kernel for an operator that has them around it. Activations are uint8,
with a range for each tensor. Weights are int8, with a range for each output channel, symmetric
about 0.
"""

from collections.abc import Iterable

import numpy as np

from textsr_jax.errors import needs
from textsr_jax.export import activation_ranges
from textsr_jax.quantization import aciq

with needs("onnx"):
    import onnx
    from onnx import numpy_helper
    from onnxruntime.quantization import CalibrationMethod, QuantType
    from onnxruntime.quantization.calibrate import TensorData, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

_WEIGHTED = ("Conv", "Gemm", "MatMul")
_PIXEL_CHANNELS = 3


def quantize(
    graph: onnx.ModelProto, feeds: Iterable[activation_ranges.Feed], method: str, weight_bits: int
) -> onnx.ModelProto:
    """The int8 graph of a float32 graph.

    Args:
      graph: of `textsr_jax.export.graphs`.
      feeds: inputs of the graph; activation ranges are taken from them.
      method: how those are chosen, one of `textsr_jax.export.RANGE_METHODS`.
      weight_bits: 7 or 8. x86 processors before VNNI add two products in 16 bits, which overflow
        with large 8-bit weights; 7 suits all processors.
    """
    model = onnx.ModelProto()
    model.CopyFrom(graph)
    for number, node in enumerate(model.graph.node):
        node.name = f"{node.op_type}_{number}"
    chosen = _chosen(model)
    tensors = _activations(model, chosen)
    spans = activation_ranges.ranges(model, feeds, tensors, method)
    data = TensorsData(
        CalibrationMethod.MinMax,
        {
            name: TensorData(lowest=np.float32(span.low), highest=np.float32(span.high))
            for name, span in spans.items()
        },
    )
    quantizer = QDQQuantizer(
        model,
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=data,
        nodes_to_quantize=[node.name for node in chosen],
        nodes_to_exclude=[],
        op_types_to_quantize=sorted({node.op_type for node in chosen}),
        extra_options={
            "TensorQuantOverrides": _weight_scales(model, chosen, weight_bits),
            # Their results are added to float32 values, and normalised.
            "OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"],
        },
    )
    quantized = quantizer.quantize_model()
    _spare_sums(quantized, {node.name for node in chosen})
    return quantized


def weight_clips(weight: np.ndarray, bits: int) -> np.ndarray:
    """ACIQ's clip of each output channel, for codes symmetric about 0.

    The distribution is taken to have its centre at 0, so that code 0 is the value 0. The spread is
    b = mean |w| for Laplace, and s = root mean square for Gaussian. Each channel has three clips to
    choose from: these two, cut at the largest magnitude, and that magnitude itself (min-max). It
    takes the one with the least squared error.

    Args:
      weight: float (outputs, values).
      bits: 2 to 8; the codes are -(2^(bits - 1) - 1) .. 2^(bits - 1) - 1.

    Returns:
      float32 (outputs,). A clip is 0 where all weights of its channel are 0.
    """
    magnitude = np.abs(np.asarray(weight, np.float32))
    # Squares hold half the range of exponents. So weights are divided by a power of two near the
    # largest, which changes no digit.
    unit = np.ldexp(np.float32(1), np.frexp(magnitude.max(axis=1, keepdims=True))[1] - 1)
    weight, magnitude = weight / unit, magnitude / unit
    largest = magnitude.max(axis=1)
    spreads = {
        "laplace": magnitude.mean(axis=1),
        "gaussian": np.sqrt(np.square(magnitude).mean(axis=1)),
    }
    clips = [largest]
    clips += [np.minimum(largest, aciq.alpha(p, bits) * b) for p, b in spreads.items()]
    errors = [np.square(rounded(weight, clip, bits) - weight).sum(axis=1) for clip in clips]
    best = np.argmin(errors, axis=0)
    return np.take_along_axis(np.asarray(clips, np.float32), best[None], axis=0)[0] * unit[:, 0]


def rounded(weight: np.ndarray, clips: np.ndarray, bits: int) -> np.ndarray:
    """Weights (outputs, values) after rounding to codes, with one clip for each output."""
    limit = 2 ** (bits - 1) - 1
    scale = np.asarray(np.where(clips > 0, clips, 1) / limit, np.float32)[:, None]
    return np.clip(np.round(weight / scale), -limit, limit) * scale


def _chosen(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The nodes that run in int8: layers with weights, and nodes between convolutions.

    Four kinds stay in float32. Convolutions to the three channels of pixels cost next to nothing.
    Linear layers before a convolution place the rectifier's control points, and their rounding
    would move the whole image. Attention, softmax and normalisation stay too. EDSR's stream, a sum
    that grows from block to block, is rounded at each block: in float32 it would cost 6 % of the
    time.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    before_convolutions = _before(model, "Conv", makers)

    def is_layer(node: onnx.NodeProto) -> bool:
        if node.op_type not in _WEIGHTED or node.input[1] not in constants:
            return False
        if node.op_type == "Conv":
            return constants[node.input[1]].dims[0] > _PIXEL_CHANNELS
        # A constant with more axes is a table of keys or values, which attention reads.
        return len(constants[node.input[1]].dims) == 2 and node.name not in before_convolutions

    def passes_on(node: onnx.NodeProto) -> bool:
        return node.op_type in ("Add", "Relu", "Reshape", "Transpose")

    convolved: set[str] = set()
    chosen = []
    for node in model.graph.node:
        # The shape that Reshape takes is not an activation.
        sources = node.input[:1] if node.op_type == "Reshape" else node.input
        if is_layer(node):
            chosen.append(node)
            if node.op_type == "Conv":
                convolved.add(node.output[0])
        elif passes_on(node) and all(name in convolved for name in sources):
            chosen.append(node)
            convolved.add(node.output[0])
    return chosen


def _before(model: onnx.ModelProto, kind: str, makers: dict[str, onnx.NodeProto]) -> set[str]:
    """The names of all nodes whose results reach a node of the kind."""
    found: set[str] = set()
    waiting = [node for node in model.graph.node if node.op_type == kind]
    while waiting:
        for name in waiting.pop().input:
            maker = makers.get(name)
            if maker is not None and maker.name not in found:
                found.add(maker.name)
                waiting.append(maker)
    return found


def _spare_sums(model: onnx.ModelProto, chosen: set[str]) -> None:
    """Connects nodes that run in float32 to the float32 results themselves, not to rounded ones."""
    made_by = {name: node for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        if node.name in chosen or node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            continue
        for place, name in enumerate(node.input):
            back = made_by.get(name)
            there = back and made_by.get(back.input[0])
            if (
                not back
                or not there
                or [back.op_type, there.op_type] != ["DequantizeLinear", "QuantizeLinear"]
            ):
                continue
            maker = made_by.get(there.input[0])
            if maker is None or maker.name not in chosen:
                node.input[place] = there.input[0]


def _activations(model: onnx.ModelProto, nodes: Iterable[onnx.NodeProto]) -> list[str]:
    constants = {tensor.name for tensor in model.graph.initializer}
    names = []
    for node in nodes:
        sources = node.input[:1] if node.op_type == "Reshape" else node.input
        names += [name for name in (*sources, *node.output) if name not in constants]
    return list(dict.fromkeys(names))


def _weight_scales(
    model: onnx.ModelProto,
    nodes: Iterable[onnx.NodeProto],
    bits: int,
) -> dict[str, list[dict[str, object]]]:
    """The scales of all weights, in the form that ONNX Runtime's quantiser takes."""
    arrays = {tensor.name: tensor for tensor in model.graph.initializer}
    limit = 2 ** (bits - 1) - 1
    scales = {}
    for node in nodes:
        if node.op_type not in _WEIGHTED or node.input[1] in scales:
            continue
        weight = numpy_helper.to_array(arrays[node.input[1]])
        axis = 0 if node.op_type == "Conv" else weight.ndim - 1
        clips = weight_clips(np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1), bits)
        # Any step suits a channel of zeros, but its bias is counted in such steps.
        clips = np.where(clips > 0, clips, clips.max() or 1e-3)
        channels: list[dict[str, object]]
        channels = [{"scale": np.float32(clip / limit), "zero_point": np.int8(0)} for clip in clips]
        channels[0]["axis"] = axis
        scales[node.input[1]] = channels
    return scales
