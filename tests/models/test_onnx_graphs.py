"""ONNX graphs in JAX: every operation as ONNX Runtime computes it, and gradients through them."""

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from textsr_jax.errors import UserError
from textsr_jax.models.onnx_graphs import _OPERATIONS, OnnxGraph

RNG = np.random.default_rng(0)


def write(path, nodes, constants=(), opset=11, inputs=1):
    """Writes a graph from `x` to `y`, whose last node makes `y`."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in "xz"[:inputs]],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants],
    )
    opsets = [helper.make_opsetid("", opset)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def conv(kernel, bias=None, **attributes):
    names = ["x", "w"] + ([] if bias is None else ["b"])
    constants = [("w", kernel)] + ([] if bias is None else [("b", bias)])
    return [helper.make_node("Conv", names, ["y"], **attributes)], constants


def one(operation, *constants, opset=11, **attributes):
    """A single node of `x` and constants."""
    names = [f"c{place}" for place in range(len(constants))]
    node = helper.make_node(operation, ["x", *names], ["y"], **attributes)
    return [node], list(zip(names, constants, strict=True)), opset


# (batch, channels, height, width), odd and even sides.
IMAGE = (2, 6, 7, 10)
WHOLE = {"dtype": np.int64}
CASES = {
    "add": one("Add", normal(6, 1, 1)),
    "sub": one("Sub", normal(7, 1)),
    "mul": one("Mul", normal(10)),
    "div": one("Div", np.float32(3)),
    "square": one("Pow", np.float32(2)),
    "pow": one("Pow", np.float32(3)),
    "erf": one("Erf"),
    "relu": one("Relu"),
    "sigmoid": one("Sigmoid"),
    "hard sigmoid": one("HardSigmoid"),
    "hard sigmoid of PP-OCR": one("HardSigmoid", alpha=1 / 6, beta=0.5),
    "hard swish": one("HardSwish", opset=14),
    "clip": one("Clip", np.float32(0), np.float32(0.7)),
    "identity": one("Identity"),
    "matmul": one("MatMul", normal(10, 3)),
    "softmax": one("Softmax", opset=13),
    "softmax 11": one("Softmax"),
    "softmax 11, last": one("Softmax", axis=-1),
    "softmax of channels": one("Softmax", axis=1, opset=13),
    "transpose": one("Transpose", perm=[0, 2, 3, 1]),
    "reverse": one("Transpose"),
    "reshape": one("Reshape", np.array([0, -1, 10], **WHOLE)),
    "unsqueeze": one("Unsqueeze", axes=[1, 3]),
    "unsqueeze 13": one("Unsqueeze", np.array([0], **WHOLE), opset=13),
    "slice": one(
        "Slice",
        np.array([1, -9], **WHOLE),
        np.array([2**62, 8], **WHOLE),
        np.array([2, 3], **WHOLE),
        np.array([1, 2], **WHOLE),
    ),
    "slice first axes": one("Slice", np.array([0, 2], **WHOLE), np.array([1, 5], **WHOLE)),
    "mean": one("ReduceMean", axes=[2], keepdims=0),
    "mean of all": one("ReduceMean"),
    "mean 18": one("ReduceMean", np.array([-1], **WHOLE), opset=18),
    "global pool": one("GlobalAveragePool"),
    "cast": one("Cast", to=TensorProto.FLOAT),
    "batch norm": one("BatchNormalization", normal(6), normal(6), normal(6), normal(6) ** 2),
    "average pool": one("AveragePool", kernel_shape=[3, 2], strides=[3, 2]),
    "average pool, padded": one("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    "max pool": one("MaxPool", kernel_shape=[2, 2], strides=[2, 1]),
    "max pool, same": one("MaxPool", kernel_shape=[2, 2], auto_pad="SAME_UPPER"),
    "max pool, same, lower": one("MaxPool", kernel_shape=[2, 2], auto_pad="SAME_LOWER"),
    "conv": conv(normal(4, 6, 3, 3), normal(4), pads=[1, 1, 1, 1]),
    "conv, strides": conv(normal(4, 6, 3, 3), pads=[1, 0, 1, 2], strides=[2, 1]),
    "conv, same": conv(normal(4, 6, 2, 2), normal(4), auto_pad="SAME_UPPER"),
    "conv, same, strides": conv(normal(4, 6, 3, 2), auto_pad="SAME_UPPER", strides=[2, 3]),
    "conv, valid": conv(normal(4, 6, 3, 2), auto_pad="VALID"),
    "conv, 1x1": conv(normal(4, 6, 1, 1), normal(4)),
    "conv, 1x1, strides": conv(normal(4, 6, 1, 1), strides=[2, 2]),
    "conv, groups": conv(normal(4, 3, 3, 3), group=2),
    "conv, dilations": conv(normal(4, 6, 3, 3), dilations=[2, 1]),
    "depthwise": conv(normal(6, 1, 3, 3), normal(6), group=6, pads=[1, 1, 1, 1]),
    "depthwise, strides": conv(normal(6, 1, 5, 3), group=6, pads=[2, 1, 2, 0], strides=[2, 1]),
    "depthwise, no padding": conv(normal(6, 1, 3, 3), group=6, strides=[3, 2]),
    "depthwise, dilations": conv(normal(6, 1, 3, 3), group=6, dilations=[2, 2]),
    "depthwise, doubled": conv(normal(12, 1, 3, 3), group=6),
    "sqrt": (
        [helper.make_node("Mul", ["x", "x"], ["a"]), helper.make_node("Sqrt", ["a"], ["y"])],
        [],
    ),
    "concat": ([helper.make_node("Concat", ["x", "x"], ["y"], axis=-1)], []),
    "squeeze": (
        [
            helper.make_node("ReduceMean", ["x"], ["a"], axes=[1, 2]),
            helper.make_node("Squeeze", ["a"], ["y"], axes=[1, 2]),
        ],
        [],
    ),
    "squeeze of all": (
        [
            helper.make_node("ReduceMean", ["x"], ["a"], axes=[1, 2]),
            helper.make_node("Squeeze", ["a"], ["y"]),
        ],
        [],
    ),
    # Sizes that follow from the input's: (2, 6, 7, 10) to (2, 420).
    "sizes": (
        [
            helper.make_node("Shape", ["x"], ["s"]),
            helper.make_node("Slice", ["s", "zero", "one"], ["n"]),
            helper.make_node("Slice", ["s", "one", "four"], ["rest"]),
            helper.make_node("Squeeze", ["n"], ["flat"]),
            helper.make_node("Unsqueeze", ["flat"], ["again"], axes=[0]),
            helper.make_node("Mul", ["again", "area"], ["total"]),
            helper.make_node("Div", ["total", "two"], ["half"]),
            helper.make_node("Cast", ["half"], ["whole"], to=TensorProto.INT64),
            helper.make_node("Concat", ["again", "whole"], ["wanted"], axis=0),
            helper.make_node("Reshape", ["x", "wanted"], ["y"]),
        ],
        [
            ("zero", np.array([0], **WHOLE)),
            ("one", np.array([1], **WHOLE)),
            ("four", np.array([4], **WHOLE)),
            ("two", np.array([2], **WHOLE)),
            ("area", np.array([420], **WHOLE)),
        ],
    ),
}


def test_every_operation_has_a_case():
    tested = {node.op_type for nodes, *_ in CASES.values() for node in nodes}
    assert tested == set(_OPERATIONS)


@pytest.mark.parametrize("case", CASES)
def test_an_operation_computes_what_onnx_runtime_does(case, tmp_path):
    path = write(tmp_path / "graph.onnx", *CASES[case])
    x = normal(*IMAGE)
    (truth,) = onnxruntime.InferenceSession(path).run(None, {"x": x})
    graph = OnnxGraph(path)
    found = jax.jit(graph)(graph.weights, x)
    assert found.shape == truth.shape
    np.testing.assert_allclose(found, truth, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("case", [name for name in CASES if name.startswith("depthwise")])
def test_the_gradient_of_one_filter_a_channel_is_that_of_jaxs_own_convolution(case, tmp_path):
    nodes, constants = CASES[case][:2]
    graph = OnnxGraph(write(tmp_path / "graph.onnx", nodes, constants))
    fields = {field.name: helper.get_attribute_value(field) for field in nodes[0].attribute}
    pads = fields.get("pads", [0] * 4)

    def own(weights, x):
        made = jax.lax.conv_general_dilated(
            x,
            weights["w"],
            fields.get("strides", (1, 1)),
            ((pads[0], pads[2]), (pads[1], pads[3])),
            rhs_dilation=fields.get("dilations", (1, 1)),
            feature_group_count=6,
        )
        return made + weights["b"].reshape(-1, 1, 1) if "b" in weights else made

    x, chosen = normal(*IMAGE), normal(*graph(graph.weights, normal(*IMAGE)).shape)

    def gradients(compute):
        return jax.grad(lambda w, x: (compute(w, x) * chosen).sum(), argnums=(0, 1))

    found, truth = (gradients(compute)(graph.weights, x) for compute in (graph, own))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found, truth)


def test_logits_are_what_the_last_softmax_takes(tmp_path):
    nodes = [
        helper.make_node("Softmax", ["x"], ["a"], axis=-1),
        helper.make_node("MatMul", ["a", "w"], ["b"]),
        helper.make_node("Softmax", ["b"], ["y"], axis=-1),
    ]
    w = normal(10, 3)
    graph = OnnxGraph(write(tmp_path / "graph.onnx", nodes, [("w", w)], 13), logits=True)
    x = normal(2, 10)
    np.testing.assert_allclose(graph(graph.weights, x), jax.nn.softmax(x) @ w, atol=1e-6)


def test_single_numbers_are_no_weights(tmp_path):
    nodes = [
        helper.make_node("Pow", ["x", "two"], ["a"]),
        helper.make_node("Mul", ["a", "w"], ["y"]),
    ]
    constants = [("two", np.float32(2)), ("w", normal(10))]
    graph = OnnxGraph(write(tmp_path / "graph.onnx", nodes, constants))
    assert set(graph.weights) == {"w"}
    # The gradient of x ** y by a traced y would need the logarithm of x.
    gradient = jax.grad(lambda x: graph(graph.weights, x).sum())(jnp.full((1, 10), -2.0))
    np.testing.assert_allclose(gradient[0], -4 * constants[1][1], rtol=1e-6)


def test_what_is_no_graph_for_this_is_one_line(tmp_path):
    path = tmp_path / "graph.onnx"

    def refused(message, **arguments):
        with pytest.raises(UserError, match=message) as caught:
            OnnxGraph(path, **arguments)
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)

    refused("cannot be read .No such file")
    path.write_bytes(b"no graph at all")
    refused("not an ONNX file")
    write(path, [helper.make_node("Tan", ["x"], ["y"])])
    refused("has the operation Tan, .* those that can are Add, AveragePool")
    write(path, [helper.make_node("Relu", ["x"], ["y"])])
    refused("has no softmax", logits=True)
    write(path, [helper.make_node("Add", ["x", "z"], ["y"])], inputs=2)
    refused("has 2 inputs")


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"ceil_mode": 1}, "ceil_mode=1"), ({"dilations": [2, 1]}, "dilations")],
)
def test_a_pooling_that_is_not_computed_says_so(fields, message, tmp_path):
    nodes, constants, opset = one("MaxPool", kernel_shape=[2, 2], **fields)
    graph = OnnxGraph(write(tmp_path / "graph.onnx", nodes, constants, opset))
    with pytest.raises(ValueError, match=message):
        graph(graph.weights, normal(*IMAGE))
