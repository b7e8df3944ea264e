"""Quantised models evaluated like any other: the grid behind the paper's Table 2."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

from textsr_jax import quantization, reading
from textsr_jax.errors import UserError
from textsr_jax.evaluation.protocol import Evaluation, Images, Row
from textsr_jax.evaluation.workdirs import FINE_TUNED, PRETRAINED
from textsr_jax.models import Network, Variables

TARGETS = ("SR", "OCR", "SR + OCR")

# The paper keeps the smallest model "without major performance degradation" and prints losses of up
# to 0.19 dB and 0.85 points as such: these are the losses that its Table 2 allows.
MAX_PSNR_LOSS = 0.2
MAX_ACCURACY_LOSS = 1.0


@dataclasses.dataclass(frozen=True)
class Setting:
    """What is quantised and how, its size in 10^6 bits of live parameters, and its scores."""

    target: str  # one of TARGETS, or "none"
    bits: int | None
    prior: str | None
    size_mbit: float
    row: Row

    def as_json(self) -> dict[str, Any]:
        return {
            "target": self.target,
            "bits": self.bits,
            "prior": self.prior,
            "size_mbit": self.size_mbit,
            **self.row.as_json(),
        }


def grid(
    models: reading.Models,
    evaluation: Evaluation,
    targets: Sequence[str],
    bits: Sequence[int],
    priors: Sequence[str],
) -> list[Setting]:
    """Evaluates the unquantised pair and every combination of target, bits and prior.

    Raises:
      UserError: the workdir has no SR model or recogniser yet.
    """
    ocr_variables = models.fine_tuned or models.pretrained
    if models.sr_variables is None or ocr_variables is None:
        raise UserError(
            "quantising needs an SR model and a recogniser; train stage1 and stage2, or name files "
            "in config.init.sr and config.init.ocr"
        )
    sr_plain, ocr_plain = _Variant(models.sr_variables), _Variant(ocr_variables)
    name = models.config.sr.name
    reader = FINE_TUNED if models.fine_tuned else PRETRAINED
    select_sr = quantization.selection(name)
    select_ocr = quantization.selection(models.config.ocr.name)
    settings = []

    def add(target: str, bits: int | None, prior: str | None, sr: _Variant, ocr: _Variant) -> None:
        images = sr.images(evaluation, models.sr)
        words = evaluation.read(models.ocr, ocr.variables, images)
        row = evaluation.row(name, reader, images, words)
        settings.append(Setting(target, bits, prior, sr.size_mbit + ocr.size_mbit, row))

    with tqdm(
        total=1 + len(priors) * len(bits) * len(targets),
        desc="quantise",
        unit="setting",
        disable=None,
    ) as bar:
        add("none", None, None, sr_plain, ocr_plain)
        bar.update()
        for prior in priors:
            for width in bits:
                sr = _Variant(models.sr_variables, select_sr(width, prior))
                ocr = _Variant(ocr_variables, select_ocr(width, prior))
                for target in targets:
                    add(
                        target,
                        width,
                        prior,
                        sr_plain if target == "OCR" else sr,
                        ocr_plain if target == "SR" else ocr,
                    )
                    bar.update()
    return settings


def table2(settings: Sequence[Setting]) -> list[Setting]:
    """The paper's Table 2: unquantised, and of each target the smallest without a major loss.

    Where every setting of a target loses more than `MAX_PSNR_LOSS` or `MAX_ACCURACY_LOSS`, the most
    accurate one stands in its place.
    """
    plain = settings[0]
    chosen = [plain]
    for target in TARGETS:
        candidates = [setting for setting in settings if setting.target == target]
        if not candidates:
            continue
        good = [setting for setting in candidates if _loses_little(setting.row, plain.row)]
        accuracy = lambda setting: setting.row.mean["accuracy"]  # noqa: E731
        if good:
            smallest = min(setting.size_mbit for setting in good)
            good = [setting for setting in good if setting.size_mbit == smallest]
        chosen.append(max(good or candidates, key=accuracy))
    return chosen


def _loses_little(row: Row, plain: Row) -> bool:
    return (
        plain.mean["psnr"] - row.mean["psnr"] <= MAX_PSNR_LOSS
        and plain.mean["accuracy"] - row.mean["accuracy"] <= MAX_ACCURACY_LOSS
    )


class _Variant:
    """Variables, quantised or not, their size, and the SR images they make, made once."""

    def __init__(self, variables: Variables, rules: Sequence[quantization.Rule] = ()):
        tree = quantization.quantize(variables, rules)
        self.variables = quantization.dequantize(tree)
        self.size_mbit = quantization.size_mbit(variables, rules)
        self.enhanced: Images | None = None

    def images(self, evaluation: Evaluation, sr: Network) -> Images:
        if self.enhanced is None:
            self.enhanced = evaluation.enhance(sr, self.variables)
        return self.enhanced
