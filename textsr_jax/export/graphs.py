"""The float32 ONNX graphs: the SR network, the visual encoder, and the decoder's steps.

jax2onnx traces the same modules that JAX runs, with BatchNorm folded into convolutions. Weights are
constants: (outputs, inputs, rows, columns) for a convolution, (inputs, outputs) for a linear layer.
"""

import contextlib
import logging
import pathlib
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike

from textsr_jax.errors import needs
from textsr_jax.images import HR_SIZE, LR_SIZE
from textsr_jax.models import Network, Variables
from textsr_jax.models.cdistnet import CDistNet
from textsr_jax.models.cdistnet.attention import KeyValue
from textsr_jax.models.cdistnet.decoder import DecodingCache, Place
from textsr_jax.models.layers.pixels import SCALE
from textsr_jax.quantization import dequantize

with needs("onnx"):
    import onnx
    import onnxruntime

# The shape and dtype of a graph's input; a name in the shape is a dimension left open.
Input = tuple[tuple[int | str, ...], DTypeLike]

# Dimensions that may differ in every run.
IMAGES, WORDS, BEAMS, LENGTH = "images", "words", "beams", "length"

# The newest version whose operators ONNX Runtime's optimiser of float graphs all knows.
_OPSET = 21


def super_resolution(network: Network, variables: Variables) -> onnx.ModelProto:
    """`lr` float (images, 16, 64, 3) in [0, 1] to `sr` (images, 32, 128, 3), not clipped."""
    module = _plain(network, variables)
    shape = (IMAGES, LR_SIZE[1], LR_SIZE[0], 3)
    return _trace(lambda lr: module(lr), {"lr": _like(shape)}, ["sr"])


def encoder(network: Network, variables: Variables) -> onnx.ModelProto:
    """`images` float (images, 32, 128, 3) in [0, 1] to `memory` (images, 64, width)."""
    module = _plain(network, variables)
    shape = (IMAGES, HR_SIZE[1], HR_SIZE[0], 3)
    inputs = {"images": _like(shape)}
    return _trace(lambda images: module.encode(images), inputs, ["memory"])


def decoder_start(network: Network, variables: Variables) -> onnx.ModelProto:
    """`memory` (words, 64, width) to its keys and values in every layer, once for each word.

    The outputs are those of `memory_names`, each (words, heads, 64, width / heads).
    """
    module = _plain(network, variables)

    def start(memory: jax.Array) -> tuple[jax.Array, ...]:
        return tuple(part for layer in module.mdcdp for part in layer.visual.read(memory))

    shape = (WORDS, *_memory_shape(network, variables))
    return _trace(start, {"memory": _like(shape)}, memory_names(len(module.mdcdp)))


def decoder_step(network: Network, variables: Variables, steps: int) -> onnx.ModelProto:
    """One step of decoding: `Decoder.next_logits`, for caches that grow with each step.

    Inputs, for words x beams rows that have read `length` tokens, 1 to `steps`:
      `tokens` int32 (words, beams, length), the start token first;
      `positions` int32 (length,): 0, 1, ..., length - 1;
      those of `memory_names`, as `decoder_start` gives them;
      those of `cache_names`, float (words, beams, heads, length, width / heads): the outputs of the
        step before, in the present order of the beams, with any values at the last place.
    Outputs: `logits` float (words, beams, tokens), and the caches under `new_` names, with the last
    place filled.
    """
    module = _plain(network, variables)
    layers = len(module.mdcdp)
    # What is the same for all words becomes constants: the positional stream, its keys and values
    # in the first layer, and those of every token and position in the semantic streams.
    memory_length, width = _memory_shape(network, variables)
    blank = jnp.zeros((1, memory_length, width), jnp.float32)
    shared = jax.tree.map(np.asarray, module.init_cache(blank, steps))

    def step(tokens: jax.Array, positions: jax.Array, *arrays: jax.Array) -> tuple[jax.Array, ...]:
        words, beams, _ = tokens.shape

        def of_rows(x: jax.Array) -> jax.Array:
            return x.reshape(words * beams, *x.shape[2:])

        def of_beams(x: jax.Array) -> jax.Array:
            return x.reshape(words, beams, *x.shape[1:])

        def so_far(tables: KeyValue) -> KeyValue:
            key, value = (jnp.take(table, positions, axis=2, mode="clip") for table in tables)
            return key, value

        keys_values = list(zip(arrays[::2], arrays[1::2], strict=True))
        histories = [(of_rows(key), of_rows(value)) for key, value in keys_values[layers:]]
        cache = DecodingCache(
            memory=tuple(keys_values[:layers]),
            stream=shared.stream,
            first=None,
            positional=(so_far(shared.positional[0]), *histories),
            semantic=tuple((token, so_far(place)) for token, place in shared.semantic),
            tokens=of_rows(tokens),
        )
        logits, cache = module.next_logits(_LastPlace(positions), cache)
        written = [of_beams(part) for layer in cache.positional[1:] for part in layer]
        return of_beams(logits), *written

    heads = module.heads
    size = width // heads
    inputs = {
        "tokens": _like((WORDS, BEAMS, LENGTH), jnp.int32),
        "positions": _like((LENGTH,), jnp.int32),
    }
    inputs |= {name: _like((WORDS, heads, memory_length, size)) for name in memory_names(layers)}
    caches = cache_names(layers)
    inputs |= {name: _like((WORDS, BEAMS, heads, LENGTH, size)) for name in caches}
    outputs = ["logits", *(f"new_{name}" for name in caches)]
    return _trace(step, inputs, outputs)


def memory_names(layers: int) -> list[str]:
    """Names of the keys and values of the visual memory in each of the decoder's layers."""
    return [f"memory_{part}_{layer}" for layer in range(layers) for part in ("keys", "values")]


def cache_names(layers: int) -> list[str]:
    """Names of the keys and values of the positional stream in the layers after the first."""
    return [f"{part}_{layer}" for layer in range(1, layers) for part in ("keys", "values")]


class _LastPlace(Place):
    """The last place of caches that have grown by one since the step before.

    Args:
      positions: int32 (length,): 0, 1, ..., length - 1.
    """

    def __init__(self, positions: jax.Array):
        super().__init__(positions.max())
        self._positions = positions

    def past(self, steps: int) -> jax.Array:
        return self._positions <= self.position

    def take(self, stream: jax.Array, rows: int) -> jax.Array:
        # One row, which stands for all.
        return jnp.take(stream, self.position[None], axis=1, mode="clip")

    def put(self, history: jax.Array, new: jax.Array, axis: int) -> jax.Array:
        trailing = (1,) * (history.ndim - axis - 1)
        is_last = (self._positions == self.position).reshape(-1, *trailing)
        return jnp.where(is_last, new, history)


class _Convolution:
    """A convolution by XLA's own operation alone, the one that ONNX has too.

    Args:
      kernel: float (rows, columns, inputs, outputs).
      bias: float (outputs,).
      strides, padding: as `jax.lax.conv_general_dilated` takes them.
    """

    def __init__(
        self,
        kernel: np.ndarray,
        bias: np.ndarray,
        strides: tuple[int, int],
        padding: str | Sequence[tuple[int, int]],
    ):
        self.weight = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1), np.float32)
        self.bias = np.asarray(bias, np.float32)
        self.strides, self.padding = strides, padding

    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        # Channels first, so that the weights in the graph are these arrays.
        x = jax.lax.conv_general_dilated(
            x.transpose(0, 3, 1, 2), cast(jax.Array, self.weight), self.strides, self.padding
        )
        return (x + self.bias[:, None, None]).transpose(0, 2, 3, 1)


def _shuffle_blocks(features: jax.Array, scale: int) -> jax.Array:
    """`pixel_shuffle` of channels in the order row, column, channel of the new pixels.

    It moves all channels of a pixel at once. In the published order they would move one by one, and
    ONNX Runtime would take as long for it as for three of EDSR-32x256's int8 convolutions.
    """
    batch, height, width, channels = features.shape
    channels //= scale * scale
    blocks = features.reshape(batch, height, width, scale, scale, channels)
    blocks = blocks.transpose(0, 1, 3, 2, 4, 5)
    return blocks.reshape(batch, height * scale, width * scale, channels)


def _same(x: jax.Array, *args: object, **kwargs: object) -> jax.Array:
    # In place of dropout, which does nothing here, and of BatchNorm that was folded.
    return x


def _plain(network: Network, variables: Variables) -> Any:
    """The module with plain convolutions, BatchNorm folded in, and no dropout."""
    module = network.module(dequantize(variables))
    # A list, because the loop changes the module that it walks over.
    for _, node in list(nnx.iter_graph(module)):
        if not isinstance(node, nnx.Module):
            continue
        for name, child in list(vars(node).items()):
            if isinstance(child, nnx.Dropout):
                setattr(node, name, _same)
            elif isinstance(child, nnx.Conv):
                # A BatchNorm is named after its convolution: `bn1` for `conv1`, `end_bn` for `end`.
                norms = (name.replace("conv", "bn"), f"{name}_bn")
                norm = next(
                    (n for n in norms if isinstance(vars(node).get(n), nnx.BatchNorm)), None
                )
                conv = _fold(child, None if norm is None else vars(node)[norm])
                if norm is not None:
                    setattr(node, norm, _same)
                if name == "upsample" and hasattr(node, "shuffle"):
                    order = np.arange(conv.bias.size).reshape(-1, SCALE * SCALE).T.ravel()
                    conv.weight, conv.bias = conv.weight[order], conv.bias[order]
                    node.shuffle = _shuffle_blocks
                setattr(node, name, conv)
    return module


def _fold(conv: nnx.Conv, norm: nnx.BatchNorm | None) -> _Convolution:
    """A convolution with the BatchNorm after it folded in."""
    kernel = np.asarray(conv.kernel[...], np.float64)
    bias = np.zeros(kernel.shape[-1])
    if conv.bias is not None:
        bias = np.asarray(conv.bias[...], np.float64)
    if norm is not None:
        mean, variance, scale, shift = (
            np.asarray(cast(nnx.Param[jax.Array], part)[...], np.float64)
            for part in (norm.mean, norm.var, norm.scale, norm.bias)
        )
        factor = scale / np.sqrt(variance + norm.epsilon)
        kernel, bias = kernel * factor, (bias - mean) * factor + shift
    strides = conv.strides or 1
    down, across = (strides, strides) if isinstance(strides, int) else strides
    padding: Any = conv.padding
    if isinstance(padding, int):
        padding = [(padding, padding)] * 2
    return _Convolution(kernel, bias, (down, across), padding)


def _memory_shape(network: Network, variables: Variables) -> tuple[int, int]:
    images = jax.ShapeDtypeStruct((1, HR_SIZE[1], HR_SIZE[0], 3), jnp.float32)
    module = cast(CDistNet, network.module(dequantize(variables)))
    return jax.eval_shape(module.encode, images).shape[1:]


def _like(shape: tuple[int | str, ...], dtype: DTypeLike = jnp.float32) -> Input:
    return shape, dtype


def _trace(
    function: Callable[..., Any], inputs: dict[str, Input], outputs: list[str]
) -> onnx.ModelProto:
    """The ONNX graph of `function`, without transpositions and additions around convolutions.

    Args:
      function: takes and returns arrays by position.
      inputs: shapes and dtypes by name; a string in a shape is a dimension left open.
      outputs: names of the outputs.
    """
    free = sorted({d for shape, _ in inputs.values() for d in shape if isinstance(d, str)})
    symbols = dict(zip(free, jax.export.symbolic_shape(", ".join(free)), strict=True))
    specs = [
        jax.ShapeDtypeStruct(tuple(symbols[d] if isinstance(d, str) else d for d in shape), dtype)
        for shape, dtype in inputs.values()
    ]
    with needs("onnx"), _quiet():
        from jax2onnx import to_onnx
        from jax2onnx.plugins.jax.core import jit
    # jax2onnx 0.17 asks JAX's private module for a class that JAX 0.12 has in the public one alone.
    jit.jcore = jax.extend.core
    with _quiet():
        model = to_onnx(
            function,
            specs,
            model_name="textsr_jax",
            opset=_OPSET,
            input_names=list(inputs),
            output_names=outputs,
        )
    return _tidied(model)


def _tidied(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph after ONNX Runtime's basic optimiser, which uses standard operators alone."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3
    # jax2onnx 0.13 moves transpositions, but does not correct the shapes noted after them.
    del model.graph.value_info[:]
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "graph.onnx")
        options.optimized_model_filepath = str(path)
        onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        return onnx.load(path)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hides jax2onnx's warnings about its own work from users."""
    loggers: Sequence[logging.Logger] = [logging.getLogger(n) for n in ("onnx_ir", "jax2onnx")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
