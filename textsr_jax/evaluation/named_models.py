"""Models that an evaluation is told to use besides those of its workdir: --sr and --judge.

They come from parameter files, packed files and workdirs of train.py.
"""

import dataclasses

from textsr_jax.config.network_settings import RecognizerSettings, SRSettings
from textsr_jax.config.settings import Experiment
from textsr_jax.errors import UserError
from textsr_jax.models import Network, Variables, build_ocr, build_sr
from textsr_jax.runtime import paths
from textsr_jax.storage import packed_files, parameter_files
from textsr_jax.storage.models import Models


@dataclasses.dataclass(frozen=True)
class NamedModel:
    """A network with its variables.

    Attributes:
      name: the name that stands in tables.
      network: the network.
      variables: its variables.
    """

    name: str
    network: Network
    variables: Variables


def load_sr(source: str, config: Experiment) -> NamedModel:
    """Loads the SR model of a parameter file, a packed file or a workdir.

    Args:
      source: the path.
      config: the experiment; a parameter file gets its `sr.apply_stn` and `sr.dtype`.

    Raises:
      UserError: the source has no SR model, or cannot be read.
    """
    if _is_parameter_file(source):
        return _from_file("--sr", source, "sr", config)
    models = Models.load(source)
    if models.sr_variables is None:
        raise UserError(f"--sr={source}: has no SR model yet; train stage1 there")
    return NamedModel(models.config.sr.name, models.sr, models.sr_variables)


def load_judge(source: str, config: Experiment) -> NamedModel:
    """Loads the recogniser of a parameter file, a packed file or a workdir.

    A workdir's recogniser is the fine-tuned one if there is one, else the pre-trained one.

    Args:
      source: the path.
      config: the experiment; a parameter file gets its `ocr.dtype`.

    Raises:
      UserError: the source has no recogniser, or cannot be read.
    """
    if _is_parameter_file(source):
        return _from_file("--judge", source, "ocr", config)
    models = Models.load(source)
    if models.recognizer is None:
        raise UserError(f"--judge={source}: has no recogniser yet; train one there")
    return NamedModel(models.config.ocr.name, models.ocr, models.recognizer)


def _is_parameter_file(source: str) -> bool:
    return paths.named(source).is_file() and not packed_files.is_packed_file(source)


def _from_file(flag: str, source: str, part: str, config: Experiment) -> NamedModel:
    file, place = parameter_files.load(source), f"{flag}={source}"
    if file.part != part:
        wanted = {"sr": "an SR model", "ocr": "a recogniser"}[part]
        raise UserError(f"{place}: holds {file.model}, which is not {wanted}; name another file")
    changes = file.settings | {"dtype": config[part].dtype}
    if part == "sr":
        sr = SRSettings().replace(**changes | {"apply_stn": config.sr.apply_stn})
        network, name = build_sr(sr, file.variables), sr.name
    else:
        ocr = RecognizerSettings().replace(**changes)
        network, name = build_ocr(ocr), ocr.name
    filled = parameter_files.variables_for(file, part, name, network.template, place)
    return NamedModel(name, network, filled)
