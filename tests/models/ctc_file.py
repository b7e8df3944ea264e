"""An ONNX file in the form of PP-OCR's recognisers: one convolution, then a softmax a column."""

import pathlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# A small letter, its capital, a digit, a mark, and a letter of another script.
CHARACTERS = ["a", "A", "7", ".", "文", "b"]


def write(
    path: pathlib.Path,
    *,
    characters: list[str] | None = CHARACTERS,
    classes: int = 2 + len(CHARACTERS),
    seed: int = 0,
) -> np.ndarray:
    """Writes the file; its frames are eight columns each.

    Args:
      path: its place.
      characters: what its metadata list; None for a file without them.
      classes: of the softmax.
      seed: draws the kernel.

    Returns:
      The kernel, float32 (classes, 3, 48, 8).
    """
    kernel = np.random.default_rng(seed).normal(0, 0.05, (classes, 3, 48, 8)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], strides=[48, 8]),
        helper.make_node("Squeeze", ["a"], ["b"], axes=[2]),
        helper.make_node("Transpose", ["b"], ["c"], perm=[0, 2, 1]),
        helper.make_node("Softmax", ["c"], ["y"], axis=2),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 48, "w"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", "t", classes])
    graph = helper.make_graph(nodes, "ctc", [x], [y], [numpy_helper.from_array(kernel, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=8)
    if characters is not None:
        helper.set_model_props(model, {"character": "\n".join(characters) + "\n"})
    onnx.save(model, path)
    return kernel
