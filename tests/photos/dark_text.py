"""A detector for drawn photographs in PP-OCR's form: text is what is not light, without its rim.

PP-OCR's networks mark the inner part of a line too, which `photos.detector` lets grow again.
"""

import pathlib

import onnx
from onnx import TensorProto, helper


def write(file: pathlib.Path, joined: int = 12, rim: int = 6) -> pathlib.Path:
    """Writes the ONNX file: (1, 3, h, w), blue first, in [-1, 1], to (1, 1, h, w) in [0, 1].

    Args:
      file: its place.
      joined: such pixels with at most twice as many light ones between them are one text.
      rim: how many pixels of it are left out on each side.
    """
    nodes = [
        helper.make_node("ReduceMin", ["x"], ["light"], axes=[1], keepdims=1),
        helper.make_node("Less", ["light", "level"], ["dark"]),
        helper.make_node("Cast", ["dark"], ["ink"], to=TensorProto.FLOAT),
        *_greatest("ink", "grown", joined),
        helper.make_node("Neg", ["grown"], ["ground"]),
        *_greatest("ground", "outside", joined + rim),
        helper.make_node("Neg", ["outside"], ["y"]),
    ]
    level = helper.make_tensor("level", TensorProto.FLOAT, [], [0.0])
    return save(file, nodes, [level])


def save(
    file: pathlib.Path, nodes: list[onnx.NodeProto], constants: list[onnx.TensorProto]
) -> pathlib.Path:
    """Writes a graph from `x`, a photograph, to `y`, in the form that a detector has."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, "h", "w"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, "h", "w"])
    graph = helper.make_graph(nodes, "detector", [x], [y], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, file)
    return file


def _greatest(name: str, result: str, reach: int) -> list[onnx.NodeProto]:
    """The greatest value within `reach` rows and columns."""
    long, across = 2 * reach + 1, f"{result} across"
    return [
        helper.make_node(
            "MaxPool", [name], [across], kernel_shape=[1, long], pads=[0, reach, 0, reach]
        ),
        helper.make_node(
            "MaxPool", [across], [result], kernel_shape=[long, 1], pads=[reach, 0, reach, 0]
        ),
    ]
