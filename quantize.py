"""Quantises a workdir's pair with ACIQ and scores it: python quantize.py --workdir=W

Prints every setting and the paper's Table 2; writes JSON.
"""

import pathlib

from absl import flags

from textsr_jax import configuration
from textsr_jax.command_line import run_script
from textsr_jax.errors import UserError

_WORKDIR = flags.DEFINE_string("workdir", None, "A workdir of train.py.")
_CONFIG = configuration.define_flag()
_DATA_ROOT = flags.DEFINE_string(
    "data_root", None, "Another folder with TextZoom's test/*; default: the workdir's data set."
)
_OUT = flags.DEFINE_string("out", None, "The JSON file; default: quantized.json in the workdir.")
_BITS = flags.DEFINE_list("bits", "2,3,4,5,6,7,8", "Bit widths to try, 2 to 8.")
_PRIOR = flags.DEFINE_list(
    "prior", "laplace,gaussian,minmax", "ACIQ's priors to try; minmax is the baseline."
)
_TARGET = flags.DEFINE_list("target", "sr,ocr,both", "What to quantise.")

_TARGETS = {"sr": "SR", "ocr": "OCR", "both": "SR + OCR"}


def main(arguments: list[str]) -> None:
    if arguments:
        raise UserError(f"{arguments[0]!r}: quantize.py takes flags only; --help lists them")
    from textsr_jax import reading
    from textsr_jax.evaluation import quantized, workdirs
    from textsr_jax.quantization.aciq import PRIORS
    from textsr_jax.report import tables

    bits = [
        _choice("bits", value, {str(bits): bits for bits in range(2, 9)}) for value in _BITS.value
    ]
    priors = [_choice("prior", value, {prior: prior for prior in PRIORS}) for value in _PRIOR.value]
    targets = [_choice("target", value, _TARGETS) for value in _TARGET.value]

    config = configuration.from_flag(_CONFIG, _WORKDIR.value)
    models = reading.load_models(_WORKDIR.value, config)
    evaluation = workdirs.open_data(config, _DATA_ROOT.value)
    settings = quantized.grid(models, evaluation, targets, bits, priors)
    chosen = quantized.table2(settings)
    what = f"{_WORKDIR.value or 'models'} on {evaluation.name}"
    tables.print_settings(settings, f"every setting: {what}")
    tables.print_settings(chosen, f"Table 2, for {what}")
    out = pathlib.Path(_OUT.value or pathlib.Path(_WORKDIR.value or "") / "quantized.json")
    tables.write_json(
        out,
        {
            "data": evaluation.name,
            "settings": [setting.as_json() for setting in settings],
            "table2": [setting.as_json() for setting in chosen],
        },
    )
    print(f"scores: {out}")


def _choice(flag: str, value: str, choices: dict) -> object:
    if value not in choices:
        raise UserError(f"--{flag}={value}: not a choice; take some of {','.join(choices)}")
    return choices[value]


if __name__ == "__main__":
    run_script(main)
