"""Quantises models with ACIQ, scores and packs them: python quantize.py --workdir=W --out=FILE

It scores every setting and prints the paper's Table 2. The modes --paper_sizes, --sensitivity,
--ablation, --search and --finetune do something else; each prints a table and writes JSON, which
page.html shows. With --out it packs one setting. --config.FIELD=VALUE changes a field of the
config, --print_config shows all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from absl import flags

from textsr_jax.cli import config_flag
from textsr_jax.cli.scripts import command, refuse, run_script
from textsr_jax.errors import UserError, require
from textsr_jax.runtime import paths

if TYPE_CHECKING:
    from textsr_jax.config.settings import Experiment
    from textsr_jax.experiments.quantization import Job

_WORKDIR = flags.DEFINE_string("workdir", None, "A workdir of train.py.")
_CONFIG = config_flag.define_flag()
_DATA_ROOT = flags.DEFINE_string(
    "data_root", None, "Another folder with TextZoom's test/*; default: the workdir's data set."
)
_OUT = flags.DEFINE_string(
    "out", None, "Packs one setting (or what --search or --finetune made) into this .safetensors."
)
_JSON = flags.DEFINE_string(
    "json", None, "The JSON file; default: in the workdir, named after the mode."
)
_BITS = flags.DEFINE_list("bits", None, "Bit widths to try, 2 to 8; with --out one; default: all.")
_PRIOR = flags.DEFINE_list(
    "prior",
    None,
    "Some of laplace, gaussian, minmax (the baseline), auto, least_squares; default: the first "
    "three.",
)
_TARGET = flags.DEFINE_list("target", None, "What to quantise: sr, ocr, both; default: each.")
_PAPER_SIZES = flags.DEFINE_bool(
    "paper_sizes", False, "Prints the size column of the paper's Table 2; needs nothing else."
)
_SENSITIVITY = flags.DEFINE_bool(
    "sensitivity", False, "Quantises every layer type alone; writes a plot too."
)
_ABLATION = flags.DEFINE_bool(
    "ablation", False, "Scores every way to quantise at --bits (default: 2,3,4); writes a plot too."
)
_SEARCH = flags.DEFINE_bool("search", False, "Chooses bits for every group of layers.")
_BUDGET = flags.DEFINE_float("budget_mbit", None, "With --search: the size allowed, 10^6 bits.")
_MAX_DROP = flags.DEFINE_float(
    "max_drop", None, "With --search: points of accuracy that may be lost."
)
_MAX_PSNR_DROP = flags.DEFINE_float(
    "max_psnr_drop", None, "With --search: dB of PSNR that may be lost."
)
_FINETUNE = flags.DEFINE_bool(
    "finetune", False, "Quantisation-aware fine-tuning at each of --bits; default: 2,3,4."
)

_TARGETS = {"sr": "SR", "ocr": "OCR", "both": "SR + OCR"}
_PRIORS = {prior: prior for prior in ("laplace", "gaussian", "minmax", "auto", "least_squares")}
_PAPER_PRIORS = ("laplace", "gaussian", "minmax")
_ALL_BITS = range(2, 9)


def run() -> None:
    """Runs `textsr-quantize`, which is also `python quantize.py`."""
    run_script(main)


def main(arguments: list[str]) -> None:
    refuse(arguments)
    if flags.FLAGS.print_config:
        config_flag.resolved(config_flag.from_flag(_CONFIG, _WORKDIR.value))
    _check_modes()
    if _PAPER_SIZES.value:
        from textsr_jax.experiments import paper_sizes

        paper_sizes.report(_JSON.value)
        return
    # What is wrong with a flag is said before models and data are read.
    targets = [_choice("target", value, _TARGETS) for value in _TARGET.value or _TARGETS]
    bits = [_number("bits", value) for value in _BITS.value or ()]
    priors = [_choice("prior", value, _PRIORS) for value in _PRIOR.value or ()]
    if _OUT.value and not (_SEARCH.value or _FINETUNE.value):
        _check_packs_one()
    if _SENSITIVITY.value or _SEARCH.value or _ABLATION.value:
        require("matplotlib", "plots")
    from textsr_jax.experiments import quantization

    job = _job(config_flag.from_flag(_CONFIG, _WORKDIR.value))
    if _SENSITIVITY.value:
        quantization.run_sensitivity(job, targets, bits or _ALL_BITS)
    elif _ABLATION.value:
        workdir = job.folder if _WORKDIR.value else None
        quantization.run_ablation(job, bits or (2, 3, 4), workdir, command())
    elif _SEARCH.value:
        quantization.run_search(job, _BUDGET.value, _MAX_DROP.value, _MAX_PSNR_DROP.value)
    elif _FINETUNE.value:
        quantization.run_fine_tune(job, bits or (2, 3, 4), job.folder, command())
    elif _OUT.value:
        quantization.run_pack(job, targets[0] if _TARGET.value else None, bits, priors)
        return
    else:
        quantization.run_grid(job, targets, bits or _ALL_BITS, priors or _PAPER_PRIORS)
    # The page shows the JSON files of its folder alone.
    if not _JSON.value:
        from textsr_jax.report.page import document

        print(f"page: {document.write(job.folder)}")


def _check_modes() -> None:
    """Refuses modes and flags that do not go together."""
    modes = [
        flag for flag in (_PAPER_SIZES, _SENSITIVITY, _ABLATION, _SEARCH, _FINETUNE) if flag.value
    ]
    if len(modes) > 1:
        raise UserError(f"--{modes[0].name} and --{modes[1].name}: take one of them")
    limits = [flag for flag in (_BUDGET, _MAX_DROP, _MAX_PSNR_DROP) if flag.value is not None]
    if _SEARCH.value == (not limits):
        raise UserError("--search goes with --budget_mbit=X, --max_drop=Y or --max_psnr_drop=Z")
    if _FINETUNE.value and not _WORKDIR.value:
        raise UserError("--finetune goes on from a training; name its --workdir")
    if _FINETUNE.value and _OUT.value and len(_BITS.value or ()) != 1:
        raise UserError("--finetune with --out packs one setting; name one number in --bits")
    if _BUDGET.value is not None and len(limits) > 1:
        raise UserError(f"--budget_mbit and --{limits[1].name}: take one of them")
    for flag in (_BITS, _PRIOR, _TARGET) if _SEARCH.value else ():
        if flag.value:
            raise UserError(f"--{flag.name}: --search chooses bits for both models; leave it out")
    for flag in (_PRIOR, _TARGET) if _ABLATION.value else ():
        if flag.value:
            raise UserError(f"--{flag.name}: --ablation tries all; leave it out")
    for mode in (_SENSITIVITY, _ABLATION):
        if mode.value and _OUT.value:
            raise UserError(f"--out: --{mode.name} packs nothing; leave it out")


def _check_packs_one() -> None:
    """Refuses several settings where one is packed."""
    for flag in (_BITS, _PRIOR, _TARGET):
        values = flag.value or ()
        if len(values) > 1:
            raise UserError(f"--{flag.name}={','.join(values)}: --out packs one setting; name one")


def _job(config: Experiment) -> Job:
    """The models and the test words that every mode starts from."""
    from textsr_jax.evaluation import protocol
    from textsr_jax.evaluation.quantization.baseline import Baseline
    from textsr_jax.experiments.quantization import Job
    from textsr_jax.storage.models import Models

    models = Models.load(_WORKDIR.value, config)
    pairs = protocol.open_pairs(config, _DATA_ROOT.value)
    evaluation = protocol.Evaluation(config, pairs)
    return Job(
        baseline=Baseline(models, evaluation),
        pairs=pairs,
        folder=paths.named(_WORKDIR.value or ""),
        what=f"{_WORKDIR.value or 'models'} on {pairs.title}{evaluation.search.beyond_paper}",
        json=_JSON.value,
        out=_OUT.value,
    )


def _choice(flag: str, value: str, choices: dict[str, str]) -> str:
    if value not in choices:
        raise UserError(f"--{flag}={value}: not a choice; take some of {','.join(choices)}")
    return choices[value]


def _number(flag: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = 0.0
    if not 2 <= number <= 8:
        raise UserError(f"--{flag}={value}: not a choice; take some of 2 to 8")
    return int(number) if number.is_integer() else number
