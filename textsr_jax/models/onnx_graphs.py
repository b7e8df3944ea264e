"""An ONNX graph as a pure function of JAX, so that gradients go through it.

It has what recognisers of PP-OCR need, of opset 11 and later, as https://onnx.ai/onnx/operators
defines them. `jaxonnxruntime` lacks some of it (HardSigmoid), and its convolutions with one
filter a channel take XLA's slow path on a CPU.
"""

import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from textsr_jax.errors import UserError, needs

# What a graph computes with. Values that depend on shapes alone stay NumPy's, known to the trace.
Value = Any
Attributes = Mapping[str, Any]
Weights = dict[str, np.ndarray]


class OnnxGraph:
    """The first output of an ONNX graph of one input.

    Attributes:
      weights: the arrays that the graph multiplies with, float32, by their names in the file; an
        argument of every call.

    Args:
      path: the file.
      logits: whether the last softmax is left out, so that its logits are what comes out.

    Raises:
      UserError: there is no such file, or it is no graph that this class can compute.
    """

    def __init__(self, path: str | pathlib.Path, *, logits: bool = False):
        with needs("onnx"):
            import onnx
        try:
            model = onnx.load(path)
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
        # The decoder's own error is protobuf's, which is no dependency of ours.
        except Exception as error:
            raise UserError(f"{path}: not an ONNX file ({error}); name one") from None
        graph = model.graph
        own = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
        opset = max(own, default=1)
        known = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self._nodes: list[tuple[str, Sequence[str], str, Attributes]] = []
        for node in graph.node:
            attributes = {
                field.name: onnx.helper.get_attribute_value(field) for field in node.attribute
            }
            if node.op_type == "Softmax":
                # Before opset 13 it is over all axes from this one on.
                attributes["flat"] = opset < 13
                attributes.setdefault("axis", 1 if opset < 13 else -1)
            if node.op_type == "Cast":
                attributes["to"] = onnx.helper.tensor_dtype_to_np_dtype(attributes["to"])
            if node.op_type == "Constant" and "value" in attributes:
                known[node.output[0]] = onnx.numpy_helper.to_array(attributes["value"])
                continue
            if node.op_type not in _OPERATIONS:
                raise UserError(
                    f"{path}: has the operation {node.op_type}, which cannot be computed in JAX; "
                    f"those that can are {', '.join(sorted(_OPERATIONS))}"
                )
            self._nodes.append((node.op_type, node.input, node.output[0], attributes))
        inputs = [entry.name for entry in graph.input if entry.name not in known]
        if len(inputs) != 1 or not graph.output:
            raise UserError(f"{path}: has {len(inputs)} inputs; name a graph of one")
        self._input, self._output = inputs[0], graph.output[0].name
        if logits:
            last = [node for node in self._nodes if node[0] == "Softmax"]
            if not last:
                raise UserError(f"{path}: has no softmax; name a recogniser that ends with one")
            self._output = last[-1][1][0]
        # Single numbers, exponents and bounds, stay known: `x ** 2` is then a product.
        self.weights: Weights = {
            name: array.astype(np.float32)
            for name, array in known.items()
            if np.issubdtype(array.dtype, np.floating) and array.size > 1
        }
        self._known = {name: array for name, array in known.items() if name not in self.weights}
        # The metadata, such as a recogniser's characters.
        self.metadata = {entry.key: entry.value for entry in model.metadata_props}

    def __call__(self, weights: Mapping[str, Any], x: jax.Array) -> jax.Array:
        """The output for the input `x`, float32, whose shape the graph must accept."""
        values: dict[str, Value] = {**self._known, **weights, self._input: x}
        for operation, inputs, output, attributes in self._nodes:
            if self._output in values:
                break
            arguments = [values[name] if name else None for name in inputs]
            values[output] = _OPERATIONS[operation](attributes, *arguments)
        return values[self._output]


def _is_known(*values: Value) -> bool:
    return all(value is None or isinstance(value, np.ndarray | np.generic) for value in values)


def _numbers(value: Value) -> list[int]:
    return [int(number) for number in np.ravel(value)]


def _elementwise(compute: Callable[..., Any]) -> Callable[..., Value]:
    return lambda attributes, *arguments: compute(*arguments)


def _divide(attributes: Attributes, a: Value, b: Value) -> Value:
    # Of whole numbers, sizes, the quotient is whole.
    return a // b if _is_known(a, b) and np.issubdtype(np.asarray(a).dtype, np.integer) else a / b


def _power(attributes: Attributes, x: Value, exponent: Value) -> Value:
    return x * x if _is_known(exponent) and np.all(exponent == 2) else x**exponent


def _clip(attributes: Attributes, x: Value, low: Value = None, high: Value = None) -> Value:
    return jnp.clip(x, low, high)


def _hard_sigmoid(attributes: Attributes, x: Value) -> Value:
    return jnp.clip(x * attributes.get("alpha", 0.2) + attributes.get("beta", 0.5), 0, 1)


def _softmax(attributes: Attributes, x: Value) -> Value:
    if not attributes["flat"]:
        return jax.nn.softmax(x, axis=attributes["axis"])
    rows = int(np.prod(x.shape[: attributes["axis"]]))
    return jax.nn.softmax(x.reshape(rows, -1)).reshape(x.shape)


def _transpose(attributes: Attributes, x: Value) -> Value:
    return x.transpose(attributes.get("perm"))


def _reshape(attributes: Attributes, x: Value, shape: Value) -> Value:
    return x.reshape(
        [x.shape[axis] if size == 0 else size for axis, size in enumerate(_numbers(shape))]
    )


def _axes(attributes: Attributes, given: Value) -> tuple[int, ...] | None:
    """Axes, which are an attribute in older opsets and an argument in newer ones."""
    if given is not None:
        return tuple(_numbers(given))
    return tuple(attributes["axes"]) if "axes" in attributes else None


def _squeeze(attributes: Attributes, x: Value, axes: Value = None) -> Value:
    return x.squeeze(_axes(attributes, axes))


def _unsqueeze(attributes: Attributes, x: Value, axes: Value = None) -> Value:
    expand = np.expand_dims if _is_known(x) else jnp.expand_dims
    return expand(x, _axes(attributes, axes) or ())


def _concatenate(attributes: Attributes, *parts: Value) -> Value:
    join = np.concatenate if _is_known(*parts) else jnp.concatenate
    return join(parts, axis=attributes["axis"])


def _slice(
    attributes: Attributes,
    x: Value,
    starts: Value,
    ends: Value,
    axes: Value = None,
    steps: Value = None,
) -> Value:
    first, last = _numbers(starts), _numbers(ends)
    chosen = range(len(first)) if axes is None else _numbers(axes)
    strides = [1] * len(first) if steps is None else _numbers(steps)
    parts = [slice(None)] * x.ndim
    for axis, start, end, stride in zip(chosen, first, last, strides, strict=True):
        parts[axis] = slice(start, end, stride)
    return x[tuple(parts)]


def _mean(attributes: Attributes, x: Value, axes: Value = None) -> Value:
    return x.mean(_axes(attributes, axes), keepdims=bool(attributes.get("keepdims", 1)))


def _normalize(
    attributes: Attributes, x: Value, scale: Value, bias: Value, mean: Value, variance: Value
) -> Value:
    factor = scale / jnp.sqrt(variance + attributes.get("epsilon", 1e-5))
    shape = (1, -1) + (1,) * (x.ndim - 2)
    return x * factor.reshape(shape) + (bias - mean * factor).reshape(shape)


def _padding(
    attributes: Attributes, size: Sequence[int], kernel: Sequence[int], strides: Sequence[int]
) -> tuple[tuple[int, int], ...]:
    """Rows and columns added before and after."""
    kind = attributes.get("auto_pad", b"NOTSET").decode()
    if kind == "NOTSET":
        pads = attributes.get("pads", [0] * 4)
        return (pads[0], pads[2]), (pads[1], pads[3])
    if kind not in ("SAME_UPPER", "SAME_LOWER"):
        return (0, 0), (0, 0)
    padding = []
    for length, width, stride in zip(size, kernel, strides, strict=True):
        more = max((-(-length // stride) - 1) * stride + width - length, 0)
        less, rest = more // 2, more - more // 2
        padding.append((less, rest) if kind == "SAME_UPPER" else (rest, less))
    return tuple(padding)


def _pool(attributes: Attributes, x: Value, *, largest: bool) -> Value:
    """Means or maxima of windows; what is added around is in neither."""
    for field in ("ceil_mode", "count_include_pad", "storage_order"):
        if attributes.get(field):
            raise ValueError(f"a pooling has {field}={attributes[field]}, which is not supported")
    if any(step != 1 for step in attributes.get("dilations", ())):
        raise ValueError("a pooling has dilations, which are not supported")
    kernel = attributes["kernel_shape"]
    strides = attributes.get("strides", [1] * len(kernel))
    padding = ((0, 0), (0, 0), *_padding(attributes, x.shape[2:], kernel, strides))
    window, steps = (1, 1, *kernel), (1, 1, *strides)
    if largest:
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, steps, padding)
    total = jax.lax.reduce_window(x, 0.0, jax.lax.add, window, steps, padding)
    counted = np.ones((1, 1, *x.shape[2:]), np.float32)
    return total / jax.lax.reduce_window(counted, 0.0, jax.lax.add, window, steps, padding)


def _convolve(attributes: Attributes, x: Value, kernel: Value, bias: Value = None) -> Value:
    """A convolution of (batch, channels, height, width)."""
    groups = attributes.get("group", 1)
    strides = tuple(attributes.get("strides", (1, 1)))
    dilations = tuple(attributes.get("dilations", (1, 1)))
    padding = _padding(attributes, x.shape[2:], kernel.shape[2:], strides)
    x = x.transpose(0, 2, 3, 1)
    if groups == kernel.shape[0] == x.shape[-1] > 1 and dilations == (1, 1):
        made = _each_channel(x, kernel[:, 0].transpose(1, 2, 0), strides, padding)
    elif kernel.shape[2:] == (1, 1) and strides == (1, 1) and groups == 1 and not np.any(padding):
        made = x @ kernel[:, :, 0, 0].T
    else:
        made = jax.lax.conv_general_dilated(
            x,
            kernel.transpose(2, 3, 1, 0),
            strides,
            padding,
            rhs_dilation=dilations,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
        )
    return (made if bias is None else made + bias).transpose(0, 3, 1, 2)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _each_channel(
    x: jax.Array,
    kernel: jax.Array,
    strides: tuple[int, int],
    padding: tuple[tuple[int, int], tuple[int, int]],
) -> jax.Array:
    """A convolution with one filter a channel, as a sum of shifted products.

    XLA's own takes ten times as long on a CPU, and so does the gradient that JAX derives of this
    sum.

    Args:
      x: float (batch, height, width, channels).
      kernel: float (rows, columns, channels).
      strides, padding: of rows and of columns.
    """
    return _shifted_sum(jnp.pad(x, ((0, 0), *padding, (0, 0))), kernel, strides)


def _shifted_sum(x: jax.Array, kernel: jax.Array, strides: tuple[int, int]) -> jax.Array:
    rows, columns, _ = kernel.shape
    height = (x.shape[1] - rows) // strides[0] + 1
    width = (x.shape[2] - columns) // strides[1] + 1
    total: Value = 0.0
    for row in range(rows):
        for column in range(columns):
            total += (
                kernel[row, column]
                * (
                    x[
                        :,
                        row : row + (height - 1) * strides[0] + 1 : strides[0],
                        column : column + (width - 1) * strides[1] + 1 : strides[1],
                    ]
                )
            )
    return jnp.asarray(total)


def _each_channel_forward(x: Any, kernel: Any, strides: Any, padding: Any) -> Any:
    return _each_channel(x, kernel, strides, padding), (x, kernel)


def _each_channel_backward(strides: Any, padding: Any, kept: Any, gradient: jax.Array) -> Any:
    x, kernel = kept
    # Of the input: the filter turned by 180 degrees, over the gradient with zeros between.
    spread = [(0, 0, 0)]
    for axis in (0, 1):
        before = kernel.shape[axis] - 1 - padding[axis][0]
        reach = (gradient.shape[1 + axis] - 1) * strides[axis] + 1
        after = x.shape[1 + axis] + kernel.shape[axis] - 1 - before - reach
        spread.append((before, after, strides[axis] - 1))
    wide = jax.lax.pad(gradient, jnp.zeros((), gradient.dtype), [*spread, (0, 0, 0)])
    # Otherwise XLA pads once for each of the shifted products.
    of_x = _shifted_sum(jax.lax.optimization_barrier(wide), kernel[::-1, ::-1], (1, 1))
    _, of_kernel = jax.vjp(
        lambda kernel: _shifted_sum(jnp.pad(x, ((0, 0), *padding, (0, 0))), kernel, strides), kernel
    )
    return of_x, *of_kernel(gradient)


_each_channel.defvjp(_each_channel_forward, _each_channel_backward)


_OPERATIONS: Mapping[str, Callable[..., Value]] = {
    "Add": _elementwise(lambda a, b: a + b),
    "AveragePool": functools.partial(_pool, largest=False),
    "BatchNormalization": _normalize,
    "Cast": lambda attributes, x: x.astype(attributes["to"]),
    "Clip": _clip,
    "Concat": _concatenate,
    "Conv": _convolve,
    "Div": _divide,
    "Erf": _elementwise(jax.lax.erf),
    "GlobalAveragePool": _elementwise(lambda x: x.mean((2, 3), keepdims=True)),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _elementwise(lambda x: x * jnp.clip(x / 6 + 0.5, 0, 1)),
    "Identity": _elementwise(lambda x: x),
    "MatMul": _elementwise(lambda a, b: a @ b),
    "MaxPool": functools.partial(_pool, largest=True),
    "Mul": _elementwise(lambda a, b: a * b),
    "Pow": _power,
    "ReduceMean": _mean,
    "Relu": _elementwise(lambda x: jnp.maximum(x, 0)),
    "Reshape": _reshape,
    "Shape": _elementwise(lambda x: np.array(x.shape, np.int64)),
    "Sigmoid": _elementwise(jax.nn.sigmoid),
    "Slice": _slice,
    "Softmax": _softmax,
    "Sqrt": _elementwise(lambda x: jnp.sqrt(x)),
    "Squeeze": _squeeze,
    "Sub": _elementwise(lambda a, b: a - b),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
