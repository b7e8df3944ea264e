"""Evaluating what a workdir holds: bicubic, SR before and after fine-tuning, and HR."""

import pathlib

from textsr_jax import data, reading
from textsr_jax.errors import UserError
from textsr_jax.evaluation.protocol import Evaluation, Images, Row
from textsr_jax.models import Variables

PRETRAINED, FINE_TUNED = "pretrained", "fine-tuned"


def open_workdir(
    workdir: str | pathlib.Path, data_root: str | None = None
) -> tuple[reading.Models, Evaluation]:
    """The models of `workdir` and the test splits of its data set, or of `data_root`.

    Raises:
      UserError: no workdir, no recogniser in it yet, or data that cannot be read.
    """
    models = reading.load_models(workdir)
    if models.pretrained is None and models.fine_tuned is None:
        raise UserError(
            f"{workdir} holds no recogniser yet; train it with train.py --workdir={workdir}"
        )
    settings = models.config.data.copy_and_resolve_references()
    if data_root is not None:
        settings.root = data_root
    return models, Evaluation(models.config, models.sr, models.ocr, data.load(settings))


def evaluate(models: reading.Models, evaluation: Evaluation) -> tuple[list[Row], dict[str, Images]]:
    """Scores every model that is there.

    Returns:
      The rows bicubic, SR before and after fine-tuning, and HR, those whose models are trained;
      and the images by the name of what made them.
    """
    images: dict[str, Images] = {"bicubic": evaluation.bicubic()}
    name = models.config.sr.name
    if models.sr_variables is not None:
        images[name] = evaluation.enhance(models.sr_variables)
    images["HR"] = evaluation.hr

    def row(sr: str, ocr: str, variables: Variables) -> Row:
        return evaluation.row(sr, ocr, images[sr], evaluation.read(variables, images[sr]))

    rows = []
    for sr in images:
        if models.pretrained is not None:
            rows.append(row(sr, PRETRAINED, models.pretrained))
        if sr == name and models.fine_tuned is not None:
            rows.append(row(sr, FINE_TUNED, models.fine_tuned))
    return rows, images
