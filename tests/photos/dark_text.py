"""A detector for drawn photographs, in PP-OCR's form: text is what is dark, and little around it."""

import pathlib

import onnx
from onnx import TensorProto, helper


def write(file: pathlib.Path) -> pathlib.Path:
    """Writes the ONNX file: (1, 3, h, w), blue first, in [-1, 1], to (1, 1, h, w) in [0, 1].

    A pixel is text if one within 5 columns and 1 row of it is darker than a quarter of white.
    """
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["light"], axes=[1], keepdims=1),
        helper.make_node("Less", ["light", "level"], ["dark"]),
        helper.make_node("Cast", ["dark"], ["ink"], to=TensorProto.FLOAT),
        helper.make_node("MaxPool", ["ink"], ["y"], kernel_shape=[3, 11], pads=[1, 5, 1, 5]),
    ]
    shape = [1, 3, "h", "w"]
    graph = helper.make_graph(
        nodes,
        "dark text",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, "h", "w"])],
        [helper.make_tensor("level", TensorProto.FLOAT, [], [-0.5])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, file)
    return file
