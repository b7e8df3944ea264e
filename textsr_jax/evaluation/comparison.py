"""What an evaluation compares: bicubic, a workdir's SR before and after fine-tuning, others, HR.

Models come from workdirs of train.py, parameter files and packed files.
"""

import dataclasses
import pathlib
from collections.abc import Sequence

from ml_collections import ConfigDict

from textsr_jax import data
from textsr_jax.errors import UserError
from textsr_jax.evaluation.protocol import Evaluation, Images, Row
from textsr_jax.models import Network, Variables, build_ocr, build_sr
from textsr_jax.storage import packed_files, parameter_files
from textsr_jax.storage.models import Models

PRETRAINED, FINE_TUNED = "pretrained", "fine-tuned"


@dataclasses.dataclass(frozen=True)
class Model:
    """A network with its variables, by the name that stands in the table."""

    name: str
    network: Network
    variables: Variables


def open_pairs(config: ConfigDict, data_root: str | None = None) -> data.WordPairs:
    """The config's data set, or the one in `data_root`.

    Raises:
      UserError: data that cannot be read.
    """
    settings = config.data.copy_and_resolve_references()
    if data_root is not None:
        settings.root = data_root
    return data.load(settings)


def open_data(config: ConfigDict, data_root: str | None = None) -> Evaluation:
    """The test splits of the config's data set, or of the one in `data_root`.

    Raises:
      UserError: data that cannot be read, or no test split in it.
    """
    return Evaluation(config, open_pairs(config, data_root))


def load_sr(source: str, config: ConfigDict) -> Model:
    """The SR model of a parameter file, a packed file or a workdir.

    Args:
      source: the path.
      config: `sr.apply_stn` and `sr.dtype` are taken for a parameter file.

    Raises:
      UserError: there is none, or it cannot be read.
    """
    if _is_parameter_file(source):
        return _from_file("--sr", source, "sr", config)
    models = Models.load(source)
    if models.sr_variables is None:
        raise UserError(f"--sr={source}: has no SR model yet; train stage1 there")
    return Model(models.config.sr.name, models.sr, models.sr_variables)


def load_judge(source: str, config: ConfigDict) -> Model:
    """The recogniser of a parameter file, or a workdir's, fine-tuned if it is.

    Args:
      source: the path.
      config: `ocr.dtype` is taken for a parameter file.

    Raises:
      UserError: there is none, or it cannot be read.
    """
    if _is_parameter_file(source):
        return _from_file("--judge", source, "ocr", config)
    models = Models.load(source)
    variables = models.recognizer
    if variables is None:
        raise UserError(f"--judge={source}: has no recogniser yet; train one there")
    return Model(models.config.ocr.name, models.ocr, variables)


def _is_parameter_file(source: str) -> bool:
    return pathlib.Path(source).is_file() and not packed_files.is_packed_file(source)


def _from_file(flag: str, source: str, part: str, config: ConfigDict) -> Model:
    file, place = parameter_files.load(source), f"{flag}={source}"
    if file.part != part:
        wanted = {"sr": "an SR model", "ocr": "a recogniser"}[part]
        raise UserError(f"{place}: holds {file.model}, which is not {wanted}; name another file")
    settings = ConfigDict(file.settings)
    settings.dtype = config[part].dtype
    if part == "sr":
        settings.apply_stn = config.sr.apply_stn
        network = build_sr(settings, file.variables)
    else:
        network = build_ocr(settings)
    name = settings.name
    filled = parameter_files.variables_for(file, part, name, network.template, place)
    return Model(name, network, filled)


def evaluate(
    models: Models,
    evaluation: Evaluation,
    others: Sequence[Model] = (),
    judge: Model | None = None,
) -> tuple[list[Row], dict[str, Images]]:
    """Scores every model that is there.

    Args:
      models: the pair; its SR model and its recogniser may be missing.
      evaluation: the test splits.
      others: more SR models.
      judge: reads all images instead of the recogniser of `models`.

    Returns:
      The rows bicubic, SR before and after fine-tuning, the others, and HR, those whose models are
      there; and the images by the name of what made them.

    Raises:
      UserError: there is no recogniser.
    """
    images: dict[str, Images] = {"bicubic": evaluation.bicubic()}
    name = models.config.sr.name
    if models.sr_variables is not None:
        images[name] = evaluation.enhance(models.sr, models.sr_variables)
    for other in others:
        title, number = other.name, 1
        while title in images:
            number += 1
            title = f"{other.name} {number}"
        images[title] = evaluation.enhance(other.network, other.variables)
    images["HR"] = evaluation.hr

    fine_tuned = None
    if judge is None:
        if models.pretrained is not None:
            judge = Model(PRETRAINED, models.ocr, models.pretrained)
        if models.fine_tuned is not None:
            fine_tuned = Model(FINE_TUNED, models.ocr, models.fine_tuned)
        if judge is None and fine_tuned is None:
            raise UserError(
                "there is no recogniser to judge by; train one, or name a file in --judge or "
                "config.init.ocr"
            )

    def row(sr: str, reader: Model) -> Row:
        words = evaluation.read(reader.network, reader.variables, images[sr])
        return evaluation.row(sr, reader.name, images[sr], words)

    rows = []
    for sr in images:
        if judge is not None:
            rows.append(row(sr, judge))
        if fine_tuned is not None and (sr == name or judge is None):
            rows.append(row(sr, fine_tuned))
    return rows, images
