"""Reading word images: the predictor behind `read.py` and `textsr_jax.load`.

An image of any size becomes a 16x64 LR image, the SR model enlarges it, the recogniser reads it.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from textsr_jax import checkpoints, configuration, decoding, packed_files, text
from textsr_jax.compilation import jit_sparingly, keep_compiled
from textsr_jax.errors import UserError
from textsr_jax.images import HR_SIZE, LR_SIZE, open_rgb, resize, to_float, to_rgb, to_uint8
from textsr_jax.models import Network, Variables, build_ocr, build_sr, part_of, together
from textsr_jax.quantization import dequantize, is_quantized

# What can be read: a file's name, a Pillow image, or an array, uint8 or float in [0, 1], of shape
# (height, width, 3) or (height, width).
ImageLike = str | pathlib.Path | Image.Image | np.ndarray

_BATCH = 32


@dataclasses.dataclass(frozen=True)
class Models:
    """A pair of networks and what is there of their variables.

    Attributes:
      config: the experiment.
      sr, ocr: the networks; of a packed file they take quantised variables.
      sr_variables: of the SR model; None before stage 1, or the joint stage, ran.
      pretrained: of the recogniser before fine-tuning; None before it was trained.
      fine_tuned: of the recogniser after stage 2, or the joint stage; None before it ran.
    """

    config: ConfigDict
    sr: Network
    ocr: Network
    sr_variables: Variables | None
    pretrained: Variables | None
    fine_tuned: Variables | None


def load_models(
    source: str | pathlib.Path | None = None, config: ConfigDict | None = None
) -> Models:
    """Loads the best model of each stage of a workdir, and what `config.init` names.

    A workdir has stages 1 and 2, or the joint stage. A trained stage of the workdir goes before the
    start that it was trained from; a `config.init` that the workdir was not trained from goes
    before its stages.

    Args:
      source: a workdir of train.py or a packed file of quantize.py; None to take the models of
        `config.init` alone.
      config: the experiment; None for that of `source`.

    Raises:
      UserError: `source` is neither, or a model cannot be read or belongs to another network.
    """
    if source is not None and pathlib.Path(source).is_file():
        return _load_packed(source, config)
    own = None if source is None else configuration.load(source)
    config = own if config is None else config
    if config is None:
        raise UserError("nothing to load; name a workdir or a config with config.init")
    if source is not None:
        keep_compiled(source)
    sr, ocr = build_sr(config.sr), build_ocr(config.ocr)

    def replaced(name: str) -> bool:
        """Whether the config takes another model for `name` than the workdir's."""
        if own is None or not configuration.same_start(config, own, name):
            return True
        if not configuration.same_network(config, own, name):
            raise UserError(
                f"{source} was trained with another config.{name}; name a model for it in "
                f"config.init.{name}, or leave config.{name} as it is"
            )
        return False

    def best(stage: str, network: Network) -> Variables | None:
        loaded = checkpoints.load_best(source, stage, checkpoints.abstract(network.template))
        return loaded and loaded[0]

    @functools.cache
    def joint() -> Variables | None:
        """Of a workdir of the joint stage, both models."""
        own_sr, own_ocr = build_sr(own.sr), build_ocr(own.ocr)
        return best("joint", together(sr=own_sr, ocr=own_ocr))

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
        if sr_variables is None and joint() is not None:
            sr_variables = part_of(joint(), "sr")
    if sr_variables is None:
        sr_variables = start("sr", "stage1", sr)
        if sr_variables is not None:
            sr = build_sr(config.sr, sr_variables)
    if not replaced("ocr"):
        fine_tuned = best("stage2", ocr)
        if fine_tuned is None and joint() is not None:
            fine_tuned = part_of(joint(), "ocr")
        pretrained = None if config.init.ocr else best("pretrain_ocr", ocr)
    if pretrained is None:
        pretrained = start("ocr", "pretrain_ocr", ocr)
    return Models(config, sr, ocr, sr_variables, pretrained, fine_tuned)


def _load_packed(path: str | pathlib.Path, config: ConfigDict | None) -> Models:
    pair = packed_files.load(path)
    own = pair.experiment(path)
    for part in packed_files.PARTS:
        if config is not None and not configuration.same_network(config, own, part):
            raise UserError(
                f"{path} holds another network than config.{part} asks for; leave config.{part} as "
                "it is there"
            )
    config = own if config is None else config
    try:
        sr, ocr = build_sr(config.sr, pair.sr), build_ocr(config.ocr)
    except Exception as error:  # whatever a network raises for sizes that do not fit together
        reason = " ".join(str(error).split())
        raise UserError(
            f"{path}: its config builds no network ({reason}); quantise the pair again"
        ) from error
    for network, tree, part in ((sr, pair.sr, "sr"), (ocr, pair.ocr, "ocr")):
        _check_fits(network, tree, f"{path}: the network of its config.{part}")
    return Models(
        config=config,
        sr=sr.through(dequantize),
        ocr=ocr.through(dequantize),
        sr_variables=pair.sr,
        pretrained=None if pair.fine_tuned else pair.ocr,
        fine_tuned=pair.ocr if pair.fine_tuned else None,
    )


def _check_fits(network: Network, tree: Variables, place: str) -> None:
    """Refuses variables, quantised or not, that are not the network's."""

    def shapes(tree: Variables) -> dict[str, tuple[int, ...]]:
        leaves = jax.tree_util.tree_leaves_with_path(tree, is_leaf=is_quantized)
        return {
            jax.tree_util.keystr(keys, simple=True, separator="/"): tuple(leaf.shape)
            for keys, leaf in leaves
        }

    wanted, found = shapes(network.template), shapes(tree)
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            raise UserError(
                f"{place} has {name} of shape {wanted.get(name)}, but its arrays have "
                f"{found.get(name)}; quantise the pair again"
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
        self._enlarge = jit_sparingly(lambda variables, lr: to_uint8(sr(variables, to_float(lr))))
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
        lr = [resize(image_rgb(image), LR_SIZE) for image in images]
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


def image_rgb(image: ImageLike) -> np.ndarray:
    """An image as uint8 RGB (height, width, 3), turned the right way up by its file's EXIF.

    Args:
      image: a file, a Pillow image, or an array (height, width, 3) or (height, width), uint8 or
        float in [0, 1].

    Raises:
      UserError: a file that is missing or no image.
      ValueError: an array of another shape or dtype, or without pixels.
    """
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


def load(source: str | pathlib.Path | None = None, *, config: ConfigDict | None = None) -> Reader:
    """Loads a pair from a workdir of `train.py` or a packed file of `quantize.py`.

    The fine-tuned recogniser is taken, or the pre-trained one where stage 2 has not run. The
    weights of a packed file stay packed in memory; they are expanded where they are used.

    Args:
      source: the workdir or the file; None for the parameter files of `config.init`.
      config: the experiment; None for that of `source`.

    Raises:
      UserError: `source` is neither, has no SR model or recogniser yet, or is damaged; or a file
        that does not fit.
    """
    models = load_models(source, config)
    ocr = models.fine_tuned or models.pretrained
    if models.sr_variables is None or ocr is None:
        part, stage = ("sr", "stage1") if models.sr_variables is None else ("ocr", "pretrain")
        what = {"sr": "SR model", "ocr": "recogniser"}[part]
        if source is None:
            raise UserError(f"config.init.{part} is empty; name the file of the {what} there")
        raise UserError(
            f"{source} has no {what} ({stage}) yet; train it with train.py --workdir={source}, "
            f"or name a file in config.init.{part}"
        )
    return Reader(models.config, models.sr, models.sr_variables, models.ocr, ocr)
