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
    """The models of a workdir. `fine_tuned` and `sr_variables` are None before their stage ran."""

    config: ConfigDict
    sr: Network
    ocr: Network
    sr_variables: Variables | None
    pretrained: Variables | None
    fine_tuned: Variables | None


def load_models(workdir: str | pathlib.Path) -> Models:
    """Loads the best model of each stage that `workdir` holds.

    Raises:
      UserError: `workdir` is not one, or a model in it cannot be read.
    """
    config = configuration.load(workdir)
    keep_compiled(workdir)
    sr, ocr = build_sr(config.sr), build_ocr(config.ocr)

    def best(folder: str | pathlib.Path, stage: str, network: Network) -> Variables | None:
        template = checkpoints.abstract(network.template)
        loaded = checkpoints.load_best(folder, stage, template)
        return loaded and loaded[0]

    return Models(
        config,
        sr,
        ocr,
        best(workdir, "stage1", sr),
        best(config.init.ocr or workdir, "pretrain_ocr", ocr),
        best(workdir, "stage2", ocr),
    )


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


def load(workdir: str | pathlib.Path) -> Reader:
    """Loads a trained pair from a workdir of `train.py`.

    The fine-tuned recogniser is taken, or the pre-trained one where stage 2 has not run.

    Raises:
      UserError: `workdir` is not one, has no SR model or recogniser yet, or is damaged.
    """
    models = load_models(workdir)
    ocr = models.fine_tuned or models.pretrained
    if models.sr_variables is None or ocr is None:
        missing = "SR model (stage1)" if models.sr_variables is None else "recogniser (pretrain)"
        raise UserError(
            f"{workdir} has no {missing} yet; train it with train.py --workdir={workdir}"
        )
    return Reader(models.config, models.sr, models.sr_variables, models.ocr, ocr)
