"""What the stages of one training share: config, workdir, placement, networks and words."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Sequence

import jax
import numpy as np

from textsr_jax import data, decoding, text
from textsr_jax.config import recognizer_files
from textsr_jax.config.settings import Data, Experiment
from textsr_jax.errors import UserError
from textsr_jax.models import (
    ExternalRecognizer,
    Network,
    Variables,
    build_focus,
    build_ocr,
    build_sr,
)
from textsr_jax.train import confusions
from textsr_jax.train import mesh as meshes
from textsr_jax.train.words import TrainingWords


@dataclasses.dataclass(frozen=True)
class Training:
    """What all stages are given; `open_training` makes one.

    Attributes:
      config: the experiment.
      workdir: where the stages' folders are.
      placement: where arrays lie on the devices.
      sr, ocr, focus: the SR model, the recogniser and the recogniser of the text-focus loss.
      words: what the stages learn from and are judged by.
      confusion_weights: float32 (37, 37) of `losses.weight_table`; None where the config names no
        confusion matrix.
      external: the recognisers of `config.init.external` that read SR images in training; none
        where `config.stage1.external` is 0.
    """

    config: Experiment
    workdir: pathlib.Path
    placement: meshes.Placement
    sr: Network
    ocr: Network
    focus: Network
    words: TrainingWords
    confusion_weights: np.ndarray | None
    external: Sequence[ExternalRecognizer] = ()

    @property
    def alphabet(self) -> text.Alphabet:
        """What the recogniser writes."""
        return text.ALPHABETS[self.config.alphabet]

    @functools.cached_property
    def read(self) -> Callable[[Variables, jax.Array], decoding.Decoded]:
        """The recogniser's greedy decoding, as `decoding.recognizer` returns it."""
        # Shared by all stages, so that it is compiled once.
        return decoding.recognizer(self.ocr, beam=1, steps=self.config.max_length + 1)

    @property
    def sr_is_trainable(self) -> bool:
        """Whether the SR model has parameters; bicubic enlargement has none."""
        return bool(jax.tree.leaves(self.sr.template))

    @property
    def evaluation_size(self) -> int:
        """The size of an evaluation's batches: `config.evaluation.batch_size` or a little more."""
        # All devices share a batch. What fills up the last one is not counted.
        devices = jax.device_count()
        return -(-self.config.evaluation.batch_size // devices) * devices


def open_training(
    config: Experiment,
    workdir: pathlib.Path,
    *,
    load_words: Callable[[Data], data.WordPairs] = data.load,
    sr: Network | None = None,
    ocr: Network | None = None,
) -> Training:
    """Builds the networks and the placement of a config; words are opened later.

    Args:
      config: the experiment.
      workdir: where the stages' folders are, or will be.
      load_words: opens the data set; see `TrainingWords`.
      sr, ocr: networks to take in place of the config's.

    Raises:
      UserError: the devices do not fit `config.parallel`, or a file of `config.stage1.confusion`
        or `config.init.external` cannot be read.
    """
    path, placement = config.stage1.confusion, meshes.make_placement(config.parallel)
    sr = build_sr(config.sr) if sr is None else sr
    ocr = build_ocr(config.ocr, text.ALPHABETS[config.alphabet]) if ocr is None else ocr
    return Training(
        config=config,
        workdir=workdir,
        placement=placement,
        sr=placement.synchronized(sr),
        ocr=placement.synchronized(ocr),
        focus=placement.synchronized(build_focus(config.focus)),
        words=TrainingWords(config, load_words),
        # Read at once, so that a wrong path is found before hours of pre-training.
        confusion_weights=confusions.load_weights(path) if path else None,
        external=_external(config),
    )


def _external(config: Experiment) -> list[ExternalRecognizer]:
    """The recognisers of `config.init.external`, if stage 1's loss reads them."""
    if not config.stage1.external:
        return []
    files = recognizer_files.split(config.init.external)
    if not files:
        raise UserError(
            f"config.stage1.external={config.stage1.external:g} needs recognisers; name the ONNX "
            "files of some in config.init.external, or set it to 0"
        )
    alphabet = text.ALPHABETS[config.alphabet]
    return [
        ExternalRecognizer(
            pathlib.Path(model).expanduser(),
            pathlib.Path(characters).expanduser() if characters else None,
            alphabet,
        )
        for model, characters in files
    ]
