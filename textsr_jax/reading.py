"""Reading word images: the predictor behind `read.py` and `textsr_jax.load`.

An image of any size and aspect becomes crops (`textsr_jax.crops`); those that are not sharp are
enlarged by the SR model from 16x64, and the recogniser reads all of them.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import jax
import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from textsr_jax import configuration, crops, packed_files
from textsr_jax.compilation import KeptFunctions, keep_compiled
from textsr_jax.concurrency import once
from textsr_jax.engine import JaxEngine
from textsr_jax.errors import UserError
from textsr_jax.images import HR_SIZE, LR_SIZE, open_rgb, resize, to_rgb
from textsr_jax.language import Words, WordSearch
from textsr_jax.quantization import dequantize

if TYPE_CHECKING:
    # Flax and Orbax take a second to import: functions that need them do so themselves.
    from textsr_jax.models import Network, Variables

# What can be read: a file's name, a Pillow image, or an array, uint8 or float in [0, 1], of shape
# (height, width, 3) or (height, width).
ImageLike = str | pathlib.Path | Image.Image | np.ndarray

# The pair that comes with the package.
SHIPPED = pathlib.Path(__file__).parent / "weights" / "small.safetensors"


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
        return _load_packed(packed_files.load(source), source, config)
    from textsr_jax import checkpoints
    from textsr_jax.models import build_ocr, build_sr, part_of, together

    own = None if source is None else configuration.load(source)
    config = own if config is None else config
    if config is None:
        raise UserError("nothing to load; name a workdir or a config with config.init")
    keep_compiled()
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


def _packed_config(
    pair: packed_files.PackedPair, path: str | pathlib.Path, config: ConfigDict | None
) -> ConfigDict:
    """The config of a packed file, or the one in its place, which must ask for its networks."""
    own = pair.experiment(path)
    for part in packed_files.PARTS:
        if config is not None and not configuration.same_network(config, own, part):
            raise UserError(
                f"{path} holds another network than config.{part} asks for; leave config.{part} as "
                "it is there"
            )
    return own if config is None else config


def _load_packed(
    pair: packed_files.PackedPair, path: str | pathlib.Path, config: ConfigDict | None
) -> Models:
    from textsr_jax.models import build_ocr, build_sr

    config = _packed_config(pair, path, config)
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
    from textsr_jax.models import shape_difference

    if difference := shape_difference(tree, network.template):
        path, found, wanted = difference
        raise UserError(
            f"{place} has {path} of shape {wanted}, but its arrays have {found}; quantise the pair "
            "again"
        )


@dataclasses.dataclass(frozen=True)
class Reading:
    """A word and how sure the recogniser is of it, in [0, 1]: `confidence` of `Reader`."""

    text: str
    confidence: float


class Engine(Protocol):
    """What computes: `textsr_jax.engine.JaxEngine`, or `textsr_jax.export.runtime.OnnxEngine`."""

    def enlarge(self, lr: np.ndarray) -> np.ndarray:
        """SR images, uint8 (n, 32, 128, 3), of LR images, uint8 (n, 16, 64, 3)."""

    def recognize(self, images: np.ndarray, cut: Sequence[bool]) -> Words:
        """The words in images, uint8 (n, 32, 128, 3), n at least 1.

        `cut` tells of each image whether its edges cut words; see `language.WordSearch.words`.
        """


class Reader:
    """Enhances and reads word images.

    The confidence in a word of probability p, its end included, is p ** (1 / T), with the
    temperature T that was fitted on held-out and drawn words; 1 leaves probabilities as they are.
    (Guo et al., "On Calibration of Modern Neural Networks", scale logits so; here it is the whole
    word's.)
    Where a word was chosen among beams, p is its share of them, less some doubt: see
    `language.WordSearch.words`.

    Args:
      engine: what computes.
      temperature: T.
    """

    def __init__(self, engine: Engine, temperature: float = 1.0):
        self._engine, self._temperature = engine, temperature

    def enhance(self, images: Sequence[ImageLike]) -> np.ndarray:
        """SR images, uint8 (len(images), 32, 128, 3), whatever an image's aspect.

        Raises:
          UserError: a file that cannot be read.
          ValueError: an array that is not an image.
        """
        return self._enlarge([image_rgb(image) for image in images])

    def read(self, images: Sequence[ImageLike]) -> list[Reading]:
        """The words in the images; raises as `enhance` does."""
        return [reading for reading, _ in self.read_and_show(images)]

    def read_and_show(self, images: Sequence[ImageLike]) -> list[tuple[Reading, np.ndarray]]:
        """The words in the images, each with the image that the recogniser read it from.

        Wide images are read in overlapping windows, in which likely English counts nothing, for
        their edges cut words, and the texts joined; tall ones as they are and
        turned by a quarter either way, of which the reading is taken whose letters are surest. What
        is sharp already is read as it is; all else is enlarged by the SR model first. See
        `textsr_jax.crops`.

        Returns:
          For each image its reading and the picture that was read, uint8 (32, width, 3): width is
          128, or more where the image was read in windows.

        Raises:
          UserError: a file that cannot be read.
          ValueError: an array that is not an image.
        """
        # Of each image its turns, of each turn its windows.
        turns = [
            [crops.windows(turn) for turn in crops.turns(crops.trimmed(image_rgb(image)))]
            for image in images
        ]
        windows = [window.image for image in turns for turn in image for window in turn]
        pictures = self._sharpened(windows)
        cut = [len(turn) > 1 for image in turns for turn in image for _ in turn]
        words = self._recognize(pictures, cut)
        results, done = [], 0
        for image in turns:
            candidates = []
            for turn in image:
                part = slice(done, done + len(turn))
                done += len(turn)
                candidates.append(
                    (
                        # Of each letter and end: longer texts are less likely.
                        words.log_probability[part].sum()
                        / sum(len(word) + 1 for word in words.texts[part]),
                        Reading(
                            crops.join(words.texts[part], turn),
                            self._confidence(words.log_confidence[part].sum()),
                        ),
                        crops.side_by_side(pictures[part], turn),
                    )
                )
            _, reading, picture = max(candidates, key=lambda candidate: candidate[0])
            results.append((reading, picture))
        return results

    def read_enhanced(self, sr: np.ndarray, cut: bool = False) -> list[Reading]:
        """The words in SR images, uint8 (n, 32, 128, 3), as `enhance` returns them.

        `cut` tells whether they are windows, whose edges may cut words.
        """
        words = self._recognize(sr, [cut] * len(sr))
        return [
            Reading(word, self._confidence(log_confidence))
            for word, log_confidence in zip(words.texts, words.log_confidence, strict=True)
        ]

    def _sharpened(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """The images at 32x128: resized where they are sharp, else enlarged from 16x64."""
        made = np.zeros((len(images), HR_SIZE[1], HR_SIZE[0], 3), np.uint8)
        soft = [number for number, image in enumerate(images) if not crops.is_sharp(image)]
        made[soft] = self._enlarge([images[number] for number in soft])
        for number in set(range(len(images))) - set(soft):
            made[number] = resize(images[number], HR_SIZE)
        return made

    def _enlarge(self, images: Sequence[np.ndarray]) -> np.ndarray:
        if not len(images):
            return np.zeros((0, HR_SIZE[1], HR_SIZE[0], 3), np.uint8)
        return self._engine.enlarge(np.stack([resize(image, LR_SIZE) for image in images]))

    def _recognize(self, images: np.ndarray, cut: Sequence[bool]) -> Words:
        if not len(images):
            return Words([], np.zeros(0), np.zeros(0))
        return self._engine.recognize(images, cut)

    def _confidence(self, log_confidence: float) -> float:
        return math.exp(log_confidence / self._temperature)


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
    """Loads the pair that comes with the package, a workdir of `train.py` or a packed file.

    The fine-tuned recogniser is taken, or the pre-trained one where stage 2 has not run. The
    weights of a packed file stay packed in memory; they are expanded where they are used. What was
    compiled for a packed file is kept in the user's cache folder (`compilation.cache_folder`).

    Args:
      source: the workdir or the file; None for the parameter files of `config.init`, or without
        a config for `SHIPPED`.
      config: the experiment; None for that of `source`.

    Raises:
      UserError: `source` is neither, has no SR model or recogniser yet, or is damaged; or a file
        that does not fit.
    """
    if source is None and config is None:
        source = SHIPPED
    if source is not None and pathlib.Path(source).is_file():
        return _load_packed_reader(source, config)
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
    engine = JaxEngine(
        WordSearch.of(models.config), lambda: (models.sr, models.ocr), models.sr_variables, ocr
    )
    return Reader(engine, temperature(models.config))


def _load_packed_reader(path: str | pathlib.Path, config: ConfigDict | None) -> Reader:
    """A reader that builds its networks only where their functions were not kept before."""
    pair = packed_files.load(path)
    used = _packed_config(pair, path, config)

    @once
    def networks() -> tuple[Network, Network]:
        models = _load_packed(pair, path, config)
        return models.sr, models.ocr

    settings, search = configuration.plain(used), WordSearch.of(used)
    kept = KeptFunctions(
        pathlib.Path(path).read_bytes(),
        [settings["sr"], settings["ocr"], search.beam, search.steps, search.margin],
    )
    if not kept.any():
        # Checks the file; where functions of it were kept, the very same file was found sound.
        networks()
    engine = JaxEngine(search, networks, pair.sr, pair.ocr, kept)
    return Reader(engine, temperature(used))


def temperature(config: ConfigDict) -> float:
    """What confidence is scaled by (see `Reader`): `config.decoding.temperature`.

    Configs from before that field have none: it is 1 there.

    Raises:
      UserError: it is not a positive number.
    """
    value = config.decoding.get("temperature", 1.0)
    if not isinstance(value, int | float) or not 0 < value < math.inf:
        raise UserError(f"config.decoding.temperature={value!r}: set it to a number above 0")
    return float(value)
