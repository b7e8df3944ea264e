"""Quantised models evaluated like any other: the grid behind the paper's Table 2, and packing."""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

from textsr_jax import quantization
from textsr_jax.config import configuration
from textsr_jax.errors import UserError
from textsr_jax.evaluation.comparison import FINE_TUNED, PRETRAINED
from textsr_jax.evaluation.protocol import Evaluation, Images, Row
from textsr_jax.evaluation.quantization.journal import Journal, fingerprint
from textsr_jax.models import Variables
from textsr_jax.quantization import Rule
from textsr_jax.quantization.rules import from_config, to_config
from textsr_jax.runtime import provenance
from textsr_jax.storage import packed_files
from textsr_jax.storage.models import Models

TARGETS = ("SR", "OCR", "SR + OCR")

# The paper keeps the smallest model "without major performance degradation" and prints losses of up
# to 0.19 dB and 0.85 points as such: these are the losses that its Table 2 allows.
MAX_PSNR_LOSS = 0.2
MAX_ACCURACY_LOSS = 1.0

Rules = tuple[Rule, ...]


@dataclasses.dataclass(frozen=True)
class Setting:
    """What is quantised and how, what size that gives, and how it scores.

    Attributes:
      target: one of `TARGETS`, or "none".
      bits, prior: of all that is quantised; None for none.
      size_mbit: of the live parameters, in 10^6 bits, as the paper counts.
      stored_bytes: of the packed file; None where none was made.
      row: the scores.
      ranges: what was quantised in the packed file, as `quantization.summary` says it.
    """

    target: str
    bits: float | None
    prior: str | None
    size_mbit: float
    stored_bytes: int | None
    row: Row
    ranges: str | None = None

    def as_json(self) -> dict[str, Any]:
        plain = {name: getattr(self, name) for name in ("target", "bits", "prior", "size_mbit")}
        packed = {"stored_bytes": self.stored_bytes, "ranges": self.ranges}
        return {**plain, **packed, **self.row.as_json()}


class Pair:
    """A trained pair, not yet quantised: where every setting starts, and how each is scored.

    Args:
      models: of `Models.load`.
      evaluation: the splits to score on.

    Raises:
      UserError: there is no SR model or recogniser.
    """

    def __init__(self, models: Models, evaluation: Evaluation):
        ocr = models.recognizer
        if models.sr_variables is None or ocr is None:
            raise UserError(
                "quantising needs an SR model and a recogniser; train stage1 and stage2, or name "
                "files in config.init.sr and config.init.ocr"
            )
        self.models, self.evaluation, self.config = models, evaluation, models.config
        self.sr: Variables = models.sr_variables
        self.ocr: Variables = ocr
        self.reader = FINE_TUNED if models.fine_tuned else PRETRAINED
        self._plain_images: Images | None = None

    def rules(self, part: str, **changes: Any) -> Rules:
        """The rules of `config.quantization` for "sr" or "ocr", with some settings changed.

        Raises:
          UserError: as `quantization.rules.from_config`.
        """
        settings = self.config.quantization[part].to_dict() | changes
        return from_config(settings, self.config[part].name, f"config.quantization.{part}")

    @functools.cached_property
    def subject(self) -> dict[str, Any]:
        """What every score depends on beside the rules: for a `Journal`."""
        config = configuration.plain(self.config)
        return {
            "data": self.evaluation.fingerprint,
            "variables": fingerprint((self.sr, self.ocr)),
            **{part: config[part] for part in ("sr", "ocr", "decoding", "evaluation")},
        }

    def images(self, sr: Variables) -> Images:
        """SR images of all splits; those of the unquantised model are made once."""
        if sr is not self.sr:
            return self.evaluation.enhance(self.models.sr, sr)
        if self._plain_images is None:
            self._plain_images = self.evaluation.enhance(self.models.sr, sr)
        return self._plain_images

    def score(self, sr: Variables | Images, ocr: Variables) -> Row:
        """Scores variables, or SR images that are there already, and a recogniser's variables."""
        images = self.images(sr) if "params" in sr else sr
        words = self.evaluation.read(self.models.ocr, ocr, images)
        return self.evaluation.row(self.config.sr.name, self.reader, images, words)

    def quantize(self, rules: dict[str, Rules]) -> packed_files.PackedModels:
        """The pair as a packed file holds it, with the code's version and commit as provenance.

        Args:
          rules: of "sr" and "ocr"; none leave a model as it is.

        Raises:
          UserError: as `quantization.quantize`; also where the pair is quantised already.
        """
        config = configuration.without_places(self.config)
        for part in packed_files.PARTS:
            settings = self.config.quantization[part].to_dict()
            asked = to_config(rules[part], settings, self.config[part].name)
            config["quantization"][part] = json.loads(json.dumps(asked))
        return packed_files.PackedModels(
            config=config,
            rules=rules,
            fine_tuned=self.models.fine_tuned is not None,
            provenance=provenance.code(),
            sr=quantization.quantize(self.sr, rules["sr"]),
            ocr=quantization.quantize(self.ocr, rules["ocr"]),
        )

    def with_variables(self, sr: Variables, ocr: Variables) -> "Pair":
        """The same pair with other variables, such as fine-tuned ones."""
        part = "pretrained" if self.models.fine_tuned is None else "fine_tuned"
        models = dataclasses.replace(self.models, sr_variables=sr, **{part: ocr})
        return Pair(models, self.evaluation)


def grid(
    pair: Pair,
    targets: Sequence[str],
    bits: Sequence[int],
    priors: Sequence[str],
    folder: pathlib.Path,
) -> list[Setting]:
    """Evaluates the unquantised pair and every combination of target, bits and prior.

    The rules are those of `config.quantization`, with these bits and priors.

    Args:
      folder: keeps what is measured, so that a run goes on where it was stopped.
    """
    plan = [(target, width, prior) for prior in priors for width in bits for target in targets]
    rules = {
        (part, width, prior): pair.rules(part, bits=width, prior=prior)
        for part in ("sr", "ocr")
        for _, width, prior in plan
    }
    how = [pair.config.quantization[part].to_dict() for part in ("sr", "ocr")]
    journal = Journal(folder, "grid", [pair.subject, how])
    settings = []
    made: dict[tuple[int, str], Images] = {}

    def images(width: int, prior: str) -> Images:
        if (width, prior) not in made:
            made.clear()
            sr = quantization.simulate(pair.sr, rules["sr", width, prior])
            made[width, prior] = pair.images(sr)
        return made[width, prior]

    with tqdm(total=1 + len(plan), desc="quantise", unit="setting", disable=None) as bar:
        row = journal.row("none", lambda: pair.score(pair.sr, pair.ocr))
        sizes = {part: quantization.size_mbit(getattr(pair, part)) for part in ("sr", "ocr")}
        settings.append(Setting("none", None, None, sum(sizes.values()), None, row))
        bar.update()
        for target, width, prior in plan:

            def measure(target: str = target, width: int = width, prior: str = prior) -> Row:
                sr, ocr = pair.sr, pair.ocr
                if target != "OCR":
                    sr = images(width, prior)
                if target != "SR":
                    ocr = quantization.simulate(pair.ocr, rules["ocr", width, prior])
                return pair.score(sr, ocr)

            size = sum(
                quantization.size_mbit(getattr(pair, part), rules[part, width, prior])
                if target in (name, "SR + OCR")
                else sizes[part]
                for part, name in (("sr", "SR"), ("ocr", "OCR"))
            )
            row = journal.row(f"{target} {width} {prior}", measure)
            settings.append(Setting(target, width, prior, size, None, row))
            bar.update()
    return settings


def pack(
    pair: Pair, rules: dict[str, Rules], path: str | pathlib.Path, about: dict[str, Any]
) -> Setting:
    """Writes the packed file of a pair, its scores in the provenance; returns size and scores.

    Args:
      rules: of "sr" and "ocr", as `Pair.quantize` gets them.
      path: where to; its folder is made where it is missing.
      about: more JSON-able provenance, such as what chose the rules.

    Raises:
      UserError: rules that select nothing, values that cannot be quantised, or a file that cannot
        be written.
    """
    path = pathlib.Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot make its folder ({error.strerror})") from error
    packed = pair.quantize(rules)
    row = pair.score(quantization.dequantize(packed.sr), quantization.dequantize(packed.ocr))
    size = quantization.size_mbit(packed.sr) + quantization.size_mbit(packed.ocr)
    scores = {"splits": row.splits, "mean": row.mean, "size_mbit": size}
    whole = packed.provenance | {"data": pair.evaluation.title, "scores": scores} | about
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


def with_stored(pair: Pair, settings: Sequence[Setting]) -> list[Setting]:
    """The settings of `grid` with what each takes in a packed file."""

    def packed_bytes(setting: Setting) -> int:
        rules = {
            part: pair.rules(part, bits=setting.bits, prior=setting.prior)
            if setting.target in (target, "SR + OCR")
            else ()
            for part, target in (("sr", "SR"), ("ocr", "OCR"))
        }
        return packed_files.size(pair.quantize(rules))

    return [
        dataclasses.replace(setting, stored_bytes=packed_bytes(setting)) for setting in settings
    ]


def _loses_little(row: Row, plain: Row) -> bool:
    return (
        plain.mean["psnr"] - row.mean["psnr"] <= MAX_PSNR_LOSS
        and plain.mean["accuracy"] - row.mean["accuracy"] <= MAX_ACCURACY_LOSS
    )
