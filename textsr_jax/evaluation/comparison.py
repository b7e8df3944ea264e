"""The rows of an evaluation: bicubic, SR before and after fine-tuning, other SR models, HR."""

from collections.abc import Sequence

from textsr_jax.errors import UserError
from textsr_jax.evaluation.named_models import NamedModel
from textsr_jax.evaluation.protocol import Evaluation, Images, Row
from textsr_jax.storage.models import Models

PRETRAINED, FINE_TUNED = "pretrained", "fine-tuned"


def compare(
    models: Models,
    evaluation: Evaluation,
    others: Sequence[NamedModel] = (),
    judge: NamedModel | None = None,
) -> tuple[list[Row], dict[str, Images]]:
    """Scores the models over the test splits.

    Args:
      models: an SR model and a recogniser; each may be missing.
      evaluation: the test splits.
      others: more SR models.
      judge: reads all images instead of the recogniser of `models`.

    Returns:
      The rows, and the images by the name of what made them. The rows are bicubic, SR before and
      after fine-tuning, the others and HR; rows of missing models are left out.

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
            judge = NamedModel(PRETRAINED, models.ocr, models.pretrained)
        if models.fine_tuned is not None:
            fine_tuned = NamedModel(FINE_TUNED, models.ocr, models.fine_tuned)
        if judge is None and fine_tuned is None:
            raise UserError(
                "there is no recogniser to judge by; train one, or name a file in --judge or "
                "config.init.ocr"
            )

    def row(sr: str, reader: NamedModel) -> Row:
        return evaluation.read_row(sr, reader.name, images[sr], reader.network, reader.variables)

    rows = []
    for sr in images:
        if judge is not None:
            rows.append(row(sr, judge))
        if fine_tuned is not None and (sr == name or judge is None):
            rows.append(row(sr, fine_tuned))
    return rows, images
