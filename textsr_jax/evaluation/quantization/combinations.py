"""Scores of quantised models: the settings behind the paper's Table 2, and packed files."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

from textsr_jax import quantization
from textsr_jax.errors import UserError
from textsr_jax.evaluation.protocol import Images, Row
from textsr_jax.evaluation.quantization.baseline import TARGETS, Baseline, Rules, Setting
from textsr_jax.evaluation.quantization.journal import Journal
from textsr_jax.runtime import paths
from textsr_jax.storage import packed_files

# The paper keeps the smallest model "without major performance degradation". Its Table 2 has losses
# of up to 0.19 dB and 0.85 points, so these losses are allowed, in dB and in points of accuracy.
MAX_PSNR_LOSS = 0.2
MAX_ACCURACY_LOSS = 1.0


def score_combinations(
    baseline: Baseline,
    targets: Sequence[str],
    bits: Sequence[float],
    priors: Sequence[str],
    folder: pathlib.Path,
) -> list[Setting]:
    """Scores the baseline and every combination of target, bits and prior.

    The rules are those of `config.quantization`, with these bits and priors.

    Args:
      baseline: the models.
      targets: some of `TARGETS`.
      bits: from 2 to 8.
      priors: as `quantization.Rule` takes them.
      folder: holds the journal of results. A run that was stopped goes on from there.

    Returns:
      The baseline's setting, then one for each prior, bits and target, in this order.
    """
    plan = [(target, width, prior) for prior in priors for width in bits for target in targets]
    rules = {
        (part, width, prior): baseline.rules(part, bits=width, prior=prior)
        for part in ("sr", "ocr")
        for _, width, prior in plan
    }
    how = [baseline.config.quantization[part].to_dict() for part in ("sr", "ocr")]
    journal = Journal(folder, "grid", [baseline.subject, how])
    settings = []
    made: dict[tuple[float, str], Images] = {}

    def images(width: float, prior: str) -> Images:
        if (width, prior) not in made:
            made.clear()
            sr = quantization.simulate(baseline.sr, rules["sr", width, prior])
            made[width, prior] = baseline.images(sr)
        return made[width, prior]

    with tqdm(total=1 + len(plan), desc="quantise", unit="setting", disable=None) as bar:
        row = journal.row("none", lambda: baseline.score(baseline.sr, baseline.ocr))
        sizes = {part: quantization.size_mbit(getattr(baseline, part)) for part in ("sr", "ocr")}
        settings.append(Setting("none", None, None, sum(sizes.values()), None, row))
        bar.update()
        for target, width, prior in plan:

            def measure(target: str = target, width: float = width, prior: str = prior) -> Row:
                sr, ocr = baseline.sr, baseline.ocr
                if target != "OCR":
                    sr = images(width, prior)
                if target != "SR":
                    ocr = quantization.simulate(baseline.ocr, rules["ocr", width, prior])
                return baseline.score(sr, ocr)

            size = sum(
                quantization.size_mbit(getattr(baseline, part), rules[part, width, prior])
                if target in (name, "SR + OCR")
                else sizes[part]
                for part, name in (("sr", "SR"), ("ocr", "OCR"))
            )
            row = journal.row(f"{target} {width} {prior}", measure)
            settings.append(Setting(target, width, prior, size, None, row))
            bar.update()
    return settings


def pack(
    baseline: Baseline, rules: dict[str, Rules], path: str | pathlib.Path, about: dict[str, Any]
) -> Setting:
    """Quantises the models and writes them as a packed file, with their scores as provenance.

    Args:
      baseline: the models.
      rules: of "sr" and "ocr", as `Baseline.quantize` takes them.
      path: the file; its folder is made where it is missing.
      about: more provenance that JSON can hold, such as what chose the rules.

    Returns:
      The setting, with the size of the file and the scores of what it holds.

    Raises:
      UserError: rules select nothing, values cannot be quantised, or the file cannot be written.
    """
    path = paths.named(path)
    if not paths.is_url(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{path}: cannot make its folder ({error.strerror})") from error
    packed = baseline.quantize(rules)
    row = baseline.score(quantization.dequantize(packed.sr), quantization.dequantize(packed.ocr))
    size = quantization.size_mbit(packed.sr) + quantization.size_mbit(packed.ocr)
    scores = {"splits": row.splits, "mean": row.mean, "size_mbit": size}
    whole = packed.provenance | {"data": baseline.evaluation.title, "scores": scores} | about
    stored = packed_files.save(path, dataclasses.replace(packed, provenance=whole))
    used = [target for part, target in (("sr", "SR"), ("ocr", "OCR")) if rules[part]]
    widths = {rule.bits for part in rules for rule in rules[part] if rule.bits is not None}
    priors = {rule.prior for part in rules for rule in rules[part] if rule.bits is not None}
    return Setting(
        target=" + ".join(used) or "none",
        bits=widths.pop() if len(widths) == 1 else None,
        prior=priors.pop() if len(priors) == 1 else None,
        size_mbit=size,
        stored_bytes=stored,
        row=row,
        ranges=quantization.summary((packed.sr, packed.ocr)),
    )


def table2(settings: Sequence[Setting]) -> list[Setting]:
    """Returns the settings of the paper's Table 2.

    These are the unquantised models and, for each target, the smallest setting that loses at most
    `MAX_PSNR_LOSS` and `MAX_ACCURACY_LOSS`. Where every setting of a target loses more, it is the
    most accurate one.

    Args:
      settings: what `score_combinations` returned.
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


def with_stored(baseline: Baseline, settings: Sequence[Setting]) -> list[Setting]:
    """Returns the settings with the size of the packed file that each would give."""

    def packed_bytes(setting: Setting) -> int:
        rules = {
            part: baseline.rules(part, bits=setting.bits, prior=setting.prior)
            if setting.target in (target, "SR + OCR")
            else ()
            for part, target in (("sr", "SR"), ("ocr", "OCR"))
        }
        return packed_files.size(baseline.quantize(rules))

    return [
        dataclasses.replace(setting, stored_bytes=packed_bytes(setting)) for setting in settings
    ]


def _loses_little(row: Row, plain: Row) -> bool:
    return (
        plain.mean["psnr"] - row.mean["psnr"] <= MAX_PSNR_LOSS
        and plain.mean["accuracy"] - row.mean["accuracy"] <= MAX_ACCURACY_LOSS
    )
