"""Writes a pair as ONNX, float32 and int8: python -m textsr_jax.export SOURCE --out DIR

SOURCE is a workdir of train.py or a packed file of quantize.py:

  python -m textsr_jax.export model.safetensors --out onnx --data_root=TEXTZOOM
  python read.py photo.png --runtime=onnx --model=onnx

Activations are calibrated on training images of the data, never on test images. Weights have ACIQ's
ranges, found anew for 7 or 8 bits symmetric about 0 also where they come from a packed file.
"""

from absl import flags

from textsr_jax.cli.scripts import run_script
from textsr_jax.errors import UserError
from textsr_jax.export import CALIBRATIONS

_OUT = flags.DEFINE_string("out", None, "The folder to write.")
_DATA_ROOT = flags.DEFINE_string(
    "data_root", None, "TextZoom's LMDB folders to calibrate on; default: the source's own data."
)
_IMAGES = flags.DEFINE_integer(
    "images", 300, "On how many images activations are calibrated.", lower_bound=1
)
_CALIBRATION = flags.DEFINE_enum(
    "calibration", "aciq", CALIBRATIONS, "How: ACIQ, or one of ONNX Runtime's calibrators."
)
_WEIGHT_BITS = flags.DEFINE_enum(
    "weight_bits",
    "7",
    ["7", "8"],
    "Bits of a weight's codes. 8 is for processors with VNNI alone: others add products in 16 "
    "bits, which overflow.",
)


def main(arguments: list[str]) -> None:
    if len(arguments) != 1:
        raise UserError(
            f"{len(arguments)} arguments; use: python -m textsr_jax.export SOURCE --out DIR"
        )
    if not _OUT.value:
        raise UserError("--out is missing; name the folder to write, for example --out=onnx")
    from textsr_jax.export import pairs

    settings = pairs.Settings(
        data_root=_DATA_ROOT.value,
        images=_IMAGES.value,
        calibration=_CALIBRATION.value,
        weight_bits=int(_WEIGHT_BITS.value),
    )
    for path in pairs.export(arguments[0], _OUT.value, settings):
        print(f"{path}\t{path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    run_script(main)
