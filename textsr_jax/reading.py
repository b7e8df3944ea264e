"""Reading word images: the predictor behind `read.py` and `textsr_jax.load`.

An image of any size becomes a 16x64 LR image, the SR model enlarges it, the recogniser reads it.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from textsr_jax import checkpoints, configuration, decoding, text
from textsr_jax.compilation import keep_compiled
from textsr_jax.errors import UserError
from textsr_jax.images import HR_SIZE, LR_SIZE, open_rgb, resize, to_float, to_rgb, to_uint8
from textsr_jax.models import Network, Variables, build_ocr, build_sr

# What can be read: a file's name, a Pillow image, or an array, uint8 or float in [0, 1], of shape
# (height, width, 3) or (height, width).
ImageLike = str | pathlib.Path | Image.Image | np.ndarray

_BATCH = 32


@dataclasses.dataclass(frozen=True)
class Models:
    """A pair of networks and what is there of their variables.

    Attributes:
      config: the experiment.
      sr, ocr: the networks.
      sr_variables: of the SR model; None before stage 1 ran.
      pretrained: of the recogniser before fine-tuning; None before it was trained.
      fine_tuned: of the recogniser after stage 2; None before stage 2 ran.
    """

    config: ConfigDict
    sr: Network
    ocr: Network
    sr_variables: Variables | None
    pretrained: Variables | None
    fine_tuned: Variables | None


def load_models(
    workdir: str | pathlib.Path | None = None, config: ConfigDict | None = None
) -> Models:
    """Loads the best model of each stage of `workdir`, and what `config.init` names.

    A trained stage of the workdir goes before the start that it was trained from; a `config.init`
    that the workdir was not trained from goes before its stages.

    Args:
      workdir: of train.py; None to take the models of `config.init` alone.
      config: the experiment; None for that of `workdir`.

    Raises:
      UserError: `workdir` is not one, or a model cannot be read or belongs to another network.
    """
    own = None if workdir is None else configuration.load(workdir)
    config = own if config is None else config
    if config is None:
        raise UserError("nothing to load; name a workdir or a config with config.init")
    if workdir is not None:
        keep_compiled(workdir)
    sr, ocr = build_sr(config.sr), build_ocr(config.ocr)

    def replaced(part: str) -> bool:
        """Whether the config takes another model for `part` than the workdir's."""
        if own is None or not configuration.same_start(config, own, part):
            return True
        if not configuration.same_network(config, own, part):
            raise UserError(
                f"{workdir} was trained with another config.{part}; name a model for it in "
                f"config.init.{part}, or leave config.{part} as it is"
            )
        return False

    def best(stage: str, network: Network) -> Variables | None:
        loaded = checkpoints.load_best(workdir, stage, checkpoints.abstract(network.template))
        return loaded and loaded[0]

    def start(part: str, stage: str, network: Network) -> Variables | None:
        init = config.init[part]
        if not init:
            return None
        return checkpoints.load_start(init, stage, part, config[part].name, network.template)

    sr_variables = pretrained = fine_tuned = None
    if not jax.tree.leaves(sr.template):
        sr_variables = sr.template
    elif not replaced("sr"):
        sr_variables = best("stage1", sr)
    if sr_variables is None:
        sr_variables = start("sr", "stage1", sr)
        if sr_variables is not None:
            sr = build_sr(config.sr, sr_variables)
    if not replaced("ocr"):
        fine_tuned = best("stage2", ocr)
        pretrained = None if config.init.ocr else best("pretrain_ocr", ocr)
    if pretrained is None:
        pretrained = start("ocr", "pretrain_ocr", ocr)
    return Models(config, sr, ocr, sr_variables, pretrained, fine_tuned)


@dataclasses.dataclass(frozen=True)
class Reading:
    """A word and the probability that the recogniser gives to it, in [0, 1]."""

    text: str
    confidence: float


class Reader:
    """Enhances and reads word images.

    Args:
      config: of the workdir.
      sr, sr_variables: the super-resolution model.
      ocr, ocr_variables: the recogniser.
    """

    def __init__(
        self,
        config: ConfigDict,
        sr: Network,
        sr_variables: Variables,
        ocr: Network,
        ocr_variables: Variables,
    ):
        self._sr_variables, self._ocr_variables = sr_variables, ocr_variables
        self._enlarge = jax.jit(lambda variables, lr: to_uint8(sr(variables, to_float(lr))))
        self._read = decoding.recognizer(
            ocr, beam=config.decoding.beam, steps=config.decoding.steps
        )

    def enhance(self, images: Sequence[ImageLike]) -> np.ndarray:
        """SR images, uint8 (len(images), 32, 128, 3).

        Raises:
          UserError: a file that cannot be read.
          ValueError: an array that is not an image.
        """
        if not len(images):
            return np.zeros((0, HR_SIZE[1], HR_SIZE[0], 3), np.uint8)
        lr = [resize(_rgb(image), LR_SIZE) for image in images]
        return self._map(lambda part: self._enlarge(self._sr_variables, part), lr)

    def read(self, images: Sequence[ImageLike]) -> list[Reading]:
        """The words in the images; raises as `enhance` does."""
        return self.read_enhanced(self.enhance(images))

    def read_enhanced(self, sr: np.ndarray) -> list[Reading]:
        """The words in SR images, uint8 (n, 32, 128, 3), as `enhance` returns them."""

        def read(part: np.ndarray) -> np.ndarray:
            tokens, _, log_probability = self._read(self._ocr_variables, to_float(part))
            words = text.decode_tokens(tokens)
            confidence = np.exp(np.asarray(log_probability, np.float64))
            return np.array([*zip(words, confidence, strict=True)], dtype=object)

        if not len(sr):
            return []
        return [Reading(word, float(confidence)) for word, confidence in self._map(read, sr)]

    def _map(
        self, function: Callable[[np.ndarray], Any], images: Sequence[np.ndarray]
    ) -> np.ndarray:
        """Runs `function` on batches of one size or of one image: two compilations at most."""
        size = 1 if len(images) == 1 else _BATCH
        made = []
        for start in range(0, len(images), size):
            part = np.stack(images[start : start + size])
            padding = np.repeat(part[:1], size - len(part), axis=0)
            made.append(np.asarray(function(np.concatenate([part, padding])))[: len(part)])
        return np.concatenate(made)


def _rgb(image: ImageLike) -> np.ndarray:
    if isinstance(image, str | pathlib.Path):
        return open_rgb(image)
    if isinstance(image, Image.Image):
        return to_rgb(image)
    image = np.asarray(image)
    if np.issubdtype(image.dtype, np.floating):
        image = np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
    if image.ndim == 2:
        image = np.stack([image] * 3, axis=-1)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(
            f"expected an image (height, width, 3) or (height, width), uint8 or float in [0, 1]; "
            f"got {image.dtype} {image.shape}"
        )
    return image


def load(workdir: str | pathlib.Path | None = None, *, config: ConfigDict | None = None) -> Reader:
    """Loads a pair from a workdir of `train.py`, or from the parameter files of `config.init`.

    The fine-tuned recogniser is taken, or the pre-trained one where stage 2 has not run.

    Raises:
      UserError: `workdir` is not one, has no SR model or recogniser yet, or is damaged; or a file
        that does not fit.
    """
    models = load_models(workdir, config)
    ocr = models.fine_tuned or models.pretrained
    if models.sr_variables is None or ocr is None:
        part, stage = ("sr", "stage1") if models.sr_variables is None else ("ocr", "pretrain")
        what = {"sr": "SR model", "ocr": "recogniser"}[part]
        if workdir is None:
            raise UserError(f"config.init.{part} is empty; name the file of the {what} there")
        raise UserError(
            f"{workdir} has no {what} ({stage}) yet; train it with train.py --workdir={workdir}, "
            f"or name a file in config.init.{part}"
        )
    return Reader(models.config, models.sr, models.sr_variables, models.ocr, ocr)
