"""The trained models before quantisation, how they are scored, and what a setting of it gives."""

import dataclasses
import functools
import json
from typing import Any

from textsr_jax import quantization
from textsr_jax.config.differences import plain
from textsr_jax.config.portable import portable
from textsr_jax.errors import UserError
from textsr_jax.evaluation.comparison import FINE_TUNED, PRETRAINED
from textsr_jax.evaluation.protocol import Evaluation, Images, Row
from textsr_jax.evaluation.quantization.journal import fingerprint
from textsr_jax.models import Variables
from textsr_jax.quantization import Rule
from textsr_jax.quantization.rules import from_config, to_config
from textsr_jax.runtime import provenance
from textsr_jax.storage import packed_files, packed_leaves
from textsr_jax.storage.models import Models

TARGETS = ("SR", "OCR", "SR + OCR")

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


class Baseline:
    """The trained models before quantisation: every setting starts here and is scored here.

    Attributes:
      models, evaluation: as given.
      config: the experiment of the models.
      sr: the variables of the SR model.
      ocr: the variables of the recogniser: fine-tuned, else pre-trained.
      reader: which of the two recognisers that is, as rows name it.

    Args:
      models: an SR model and a recogniser that are not quantised.
      evaluation: the splits to score on.

    Raises:
      UserError: there is no SR model or no recogniser.
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

    def rules(self, part: str, **changes: object) -> Rules:
        """Returns the rules of `config.quantization` for a part, with some settings changed.

        Args:
          part: "sr" or "ocr".
          changes: new values of fields such as `bits` and `prior`.

        Raises:
          UserError: as `quantization.rules.from_config`.
        """
        settings = self.config.quantization[part].to_dict() | changes
        return from_config(settings, self.config[part].name, f"config.quantization.{part}")

    @functools.cached_property
    def subject(self) -> dict[str, Any]:
        """What every score depends on besides the rules, for a `Journal`."""
        config = plain(self.config)
        return {
            "data": self.evaluation.fingerprint,
            "variables": fingerprint((self.sr, self.ocr)),
            **{part: config[part] for part in ("sr", "ocr", "decoding", "evaluation")},
        }

    def images(self, sr: Variables) -> Images:
        """Returns the SR images of all splits; those of `self.sr` are made once."""
        if sr is not self.sr:
            return self.evaluation.enhance(self.models.sr, sr)
        if self._plain_images is None:
            self._plain_images = self.evaluation.enhance(self.models.sr, sr)
        return self._plain_images

    def score(self, sr: Variables | Images, ocr: Variables) -> Row:
        """Scores an SR model and a recogniser.

        Args:
          sr: the SR model's variables, or SR images that it made.
          ocr: the recogniser's variables.
        """
        images = self.images(sr) if "params" in sr else sr
        words = self.evaluation.read(self.models.ocr, ocr, images)
        return self.evaluation.row(self.config.sr.name, self.reader, images, words)

    def quantize(self, rules: dict[str, Rules]) -> packed_files.PackedModels:
        """Quantises the models as a packed file holds them.

        The provenance is the code's version and commit.

        Args:
          rules: of "sr" and "ocr"; without rules a model stays as it is.

        Raises:
          UserError: as `quantization.quantize`, or the models are quantised already.
        """
        config = portable(self.config)
        for part in packed_leaves.PARTS:
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

    def with_variables(self, sr: Variables, ocr: Variables) -> "Baseline":
        """Returns the same models with other variables, such as fine-tuned ones."""
        part = "pretrained" if self.models.fine_tuned is None else "fine_tuned"
        changes: dict[str, Any] = {"sr_variables": sr, part: ocr}
        models = dataclasses.replace(self.models, **changes)
        return Baseline(models, self.evaluation)
