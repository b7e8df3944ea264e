"""Writes models as ONNX, float32 and int8: python -m textsr_jax.export SOURCE --out DIR

SOURCE is a workdir of train.py or a packed file of quantize.py:

  python -m textsr_jax.export model.safetensors --out onnx --data_root=TEXTZOOM
  python read.py photo.png --runtime=onnx --model=onnx

Activation ranges are taken from training images, never from test images. The ranges of weights are
chosen by ACIQ, for 7 or 8 bits, symmetric about 0. Those of a packed file are chosen anew.
"""

from absl import flags

from textsr_jax.cli.scripts import run_script
from textsr_jax.errors import UserError
from textsr_jax.export import RANGE_METHODS

_OUT = flags.DEFINE_string("out", None, "The folder to write.")
_DATA_ROOT = flags.DEFINE_string(
    "data_root", None, "TextZoom's LMDB folders for activation ranges; default: SOURCE's own data."
)
_IMAGES = flags.DEFINE_integer(
    "images", 300, "How many images activation ranges are taken from.", lower_bound=1
)
_CALIBRATION = flags.DEFINE_enum(
    "calibration",
    "aciq",
    RANGE_METHODS,
    "How ranges are chosen: ACIQ, or a calibrator of ONNX Runtime.",
)
_WEIGHT_BITS = flags.DEFINE_enum(
    "weight_bits",
    "7",
    ["7", "8"],
    "Bits of a weight's code. Take 8 only on processors with VNNI: others add products in 16 bits, "
    "which overflow.",
)


def main(arguments: list[str]) -> None:
    if len(arguments) != 1:
        raise UserError(
            f"{len(arguments)} arguments; use: python -m textsr_jax.export SOURCE --out DIR"
        )
    if not _OUT.value:
        raise UserError("--out is missing; name the folder to write, for example --out=onnx")
    from textsr_jax.data.samples import training_images
    from textsr_jax.export import exporting

    models = exporting.load_exportable(arguments[0])
    lr = training_images(models.config.data, _DATA_ROOT.value, _IMAGES.value)
    settings = exporting.ExportSettings(_CALIBRATION.value, int(_WEIGHT_BITS.value))
    for path in exporting.export(models, lr, _OUT.value, settings):
        print(f"{path}\t{path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    run_script(main)
