"""Models as ONNX graphs, float32 and int8, and reading with them in ONNX Runtime alone.

`python -m textsr_jax.export` writes a folder of graphs; `engine.load` opens it.
"""

PRECISIONS = ("float32", "int8")
# How the activation ranges of int8 graphs are chosen: by ACIQ, or by a calibrator of ONNX Runtime.
RANGE_METHODS = ("aciq", "minmax", "entropy", "percentile")

# The graphs, in the order in which an image goes through them.
GRAPHS = ("sr", "encoder", "decoder_start", "decoder_step")
RECORD = "model.json"
VERSION = 4


def graph_file(name: str, precision: str) -> str:
    """The file name of one of `GRAPHS` in one of `PRECISIONS`."""
    return f"{name}.onnx" if precision == "float32" else f"{name}_{precision}.onnx"
