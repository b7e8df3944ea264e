"""A pair as ONNX graphs, float32 and int8, and reading with them in ONNX Runtime alone.

`python -m textsr_jax.export` writes a folder of them; `runtime.load` opens one.
"""

PRECISIONS = ("float32", "int8")
CALIBRATIONS = ("aciq", "minmax", "entropy", "percentile")

# The graphs of a pair, in the order in which an image goes through them.
GRAPHS = ("sr", "encoder", "decoder_start", "decoder_step")
RECORD = "model.json"
VERSION = 4


def graph_file(name: str, precision: str) -> str:
    """The file of one of `GRAPHS` in one of `PRECISIONS`."""
    return f"{name}.onnx" if precision == "float32" else f"{name}_{precision}.onnx"
