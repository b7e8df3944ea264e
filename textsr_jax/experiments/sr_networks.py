"""The SR networks trained alike, from three seeds each, and judged by every reader.

  python -m textsr_jax.experiments.sr_networks --config=configs/tiny.py --folder=runs/networks \
      --config.data.root=TEXTZOOM

All take the same steps, on the same pairs, by the squared error and the gradient prior. A CRNN is
trained first: the text prior of the networks that have one, and a weak judge. The same command goes
on with what was stopped, and ends with the tables of `textsr_jax.experiments.judges`.
"""

import pathlib
from collections.abc import Mapping
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from textsr_jax.cli import config_flag
from textsr_jax.cli.scripts import command, refuse, run_script
from textsr_jax.config import checks, variants
from textsr_jax.config.settings import Experiment
from textsr_jax.errors import UserError, require
from textsr_jax.experiments import judges

CRNN = "crnn"
SEEDS = 3
# The networks that are trained, and what one changes in the config beside its name: the part of its
# loss without which its CRNN would not learn. TATT's queries do not depend on a word's batch.
NETWORKS: Mapping[str, Mapping[str, Any]] = {
    "edsr": {},
    "tsrn": {},
    "tbsrn": {},
    "tpgsr": {"stage1": {"prior": 1.0}},
    "tatt": {"stage1": {"prior": 1.0}, "sr": {"tatt": {"queries": "columns"}}},
}


def plan(base: Experiment, folder: pathlib.Path) -> dict[str, Experiment]:
    """The config of each workdir, by its folder, in the order in which they are trained.

    All networks of one seed come before the next seed. A stage keeps the weights of the best PSNR
    on words held out from training, since no recogniser is named to judge them.

    Args:
      base: sizes, data, steps and optimisation of all of them. Its seed is the first one.
      folder: holds the workdirs.
    """
    made = {}
    if not base.init.prior:
        crnn = variants.bicubic(ConfigDict(base.to_dict()))
        crnn.stages, crnn.ocr.name, crnn.init.ocr = "pretrain", CRNN, ""
        # A text prior has the sizes of `sr.prior`.
        crnn.ocr.crnn.update(crnn.sr.prior)
        made[CRNN] = checks.checked(crnn)
    for seed in range(base.seed, base.seed + SEEDS):
        for name, changes in NETWORKS.items():
            config = ConfigDict(base.to_dict())
            config.seed, config.stages, config.sr.name = seed, "stage1", name
            config.init.sr = config.init.ocr = config.init.focus = ""
            config.init.prior = base.init.prior or str(folder / CRNN)
            config.stage1.position = config.stage1.recognition = 0.0
            config.stage1.gradient = 1e-4
            config.update(changes)
            made[f"{name}_{seed}"] = checks.checked(config)
    return made


def train(base: Experiment, folder: pathlib.Path, again: str) -> list[pathlib.Path]:
    """Trains every workdir below `folder`, each from where it was left.

    Args:
      base, folder: as for `plan`.
      again: the command that goes on, for the message when it is stopped.

    Returns:
      The workdirs of the SR networks.

    Raises:
      UserError: as `runner.train` does.
      Stopped: after Ctrl-C or SIGTERM; everything is saved.
    """
    from textsr_jax.train import runner

    made = plan(base, folder)
    for number, (name, config) in enumerate(made.items(), 1):
        print(f"{folder / name} ({number} of {len(made)})", flush=True)
        runner.train(config, folder / name, again)
    return [folder / name for name in made if name != CRNN]


def main(arguments: list[str]) -> None:
    refuse(arguments)
    config = config_flag.resolved(config_flag.from_flag(_CONFIG))
    if not _FOLDER.value:
        raise UserError("--folder is missing; name a folder, for example --folder=runs/networks")
    require("matplotlib", "plots")
    folder = pathlib.Path(_FOLDER.value)
    # Test splits that cannot be read shall be known before hours of training.
    evaluation = judges.open_words(config.data)
    trained = train(config, folder, command())
    prior = config.init.prior or str(folder / CRNN)
    judges.report(list(map(str, trained)), [prior, *_JUDGE.value], evaluation, folder / judges.FILE)


if __name__ == "__main__":
    _CONFIG = config_flag.define_flag()
    _FOLDER = flags.DEFINE_string("folder", None, "Where the workdirs and the tables go.")
    _JUDGE = flags.DEFINE_list("judge", [], "More recognisers that judge, as of evaluate.py.")
    run_script(main)
