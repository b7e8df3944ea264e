"""Blends two models of one network, one trained from the other, into a parameter file.

  python -m textsr_jax.experiments.interpolate --first=FILE --second=RUN --share=0.6 --out=FILE

Each parameter is (1 - share) x the first model's + share x the second's. A model that was trained
further for one aim is so brought back towards another, such as PSNR, without training: "ESRGAN:
Enhanced Super-Resolution Generative Adversarial Networks" (Wang et al., 2018), section 3.4.
"""

import jax
import numpy as np
from absl import flags

from textsr_jax import text
from textsr_jax.cli.scripts import refuse, run_script
from textsr_jax.config.settings import Experiment
from textsr_jax.errors import UserError
from textsr_jax.models import Network, Variables, build_ocr, build_sr
from textsr_jax.storage import checkpoints, parameter_files, workdirs
from textsr_jax.train.names import STAGE1, STAGE2

# The stage of a workdir whose best model is taken.
_STAGES = {"sr": STAGE1, "ocr": STAGE2}


def interpolate(first: Variables, second: Variables, share: float) -> Variables:
    """(1 - share) x `first` + share x `second`, float32, statistics too.

    Args:
      first, second: variables of one network, arrays of equal shapes.
      share: of the second, from 0 to 1.
    """
    return jax.tree.map(
        lambda a, b: ((1 - share) * np.asarray(a, np.float32) + share * b).astype(np.float32),
        first,
        second,
    )


def blend(first: str, second: str, part: str, share: float) -> parameter_files.ParameterFile:
    """The blend of two models, with the settings that rebuild its network.

    Args:
      first, second: packed files or workdirs, which say how large their networks are.
      part: "sr" or "ocr"; a workdir gives the best model of stage 1 or stage 2.
      share: of the second, from 0 to 1.

    Raises:
      UserError: there is no such model, or the networks differ.
    """
    config = workdirs.load_config(first)
    settings, network = config[part].to_dict(), _network(config, part)
    one, other = (
        checkpoints.load_start(
            path, _STAGES[part], part, settings["name"], network.template, f"--{place}={path}"
        )
        for place, path in (("first", first), ("second", second))
    )
    return parameter_files.ParameterFile(
        settings["name"], part, settings, interpolate(one, other, share)
    )


def _network(config: Experiment, part: str) -> Network:
    if part == "sr":
        return build_sr(config.sr)
    return build_ocr(config.ocr, text.ALPHABETS[config.alphabet])


def main(arguments: list[str]) -> None:
    refuse(arguments)
    asked = flags.FLAGS
    for name in ("first", "second", "out"):
        if not asked[name].value:
            raise UserError(f"--{name} is missing; name a packed file or a workdir in it")
    parameter_files.save(asked.out, blend(asked.first, asked.second, asked.part, asked.share))
    print(f"{asked.out}: take it as --config.init.{asked.part}={asked.out}")


def run() -> None:
    """The command."""
    run_script(main)


if __name__ == "__main__":
    flags.DEFINE_string("first", None, "A packed file or workdir.")
    flags.DEFINE_string("second", None, "Another, whose model was trained from the first one's.")
    flags.DEFINE_enum("part", "sr", ["sr", "ocr"], "Which model of them.")
    flags.DEFINE_float("share", 0.5, "The second model's part.", lower_bound=0, upper_bound=1)
    flags.DEFINE_string("out", None, "The parameter file to write.")
    run()
