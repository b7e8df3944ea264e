"""Reading word images: the predictor behind `read.py` and `textsr_jax.load`.

An image of any size and aspect becomes crops (`reading.crops`); those that are not sharp are
enlarged by the SR model from 16x64, and the recogniser reads all of them.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, BinaryIO, Protocol, TypeVar, overload

import jax
import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from textsr_jax.config.differences import plain
from textsr_jax.config.settings import Experiment
from textsr_jax.decoding.word_search import Words, WordSearch
from textsr_jax.errors import UserError
from textsr_jax.images import HR_SIZE, LR_SIZE, ImageLike, image_rgb, resize
from textsr_jax.quantization import is_quantized
from textsr_jax.reading import crops, layouts
from textsr_jax.reading.engine import JaxEngine
from textsr_jax.reading.kept_functions import KeptFunctions
from textsr_jax.runtime.concurrency import once
from textsr_jax.storage import packed_files
from textsr_jax.storage.models import Models, packed_config
from textsr_jax.storage.shipped import SHIPPED

if TYPE_CHECKING:
    # Flax and Orbax take a second to import: functions that need them do so themselves.
    from textsr_jax.models import Network, Variables

T = TypeVar("T")

# Images that are read at once where nobody waits for the first: small groups leave cores idle.
_TOGETHER = 256


@dataclasses.dataclass(frozen=True)
class Reading:
    """A word and how sure the recogniser is of it, in [0, 1]: `confidence` of `Reader`."""

    text: str
    confidence: float


class Engine(Protocol):
    """What computes: `reading.engine.JaxEngine`, or `export.engine.OnnxEngine`."""

    def enlarge(self, lr: np.ndarray) -> np.ndarray:
        """SR images, uint8 (n, 32, 128, 3), of LR images, uint8 (n, 16, 64, 3)."""

    def recognize(self, images: np.ndarray, cut: Sequence[bool], again: bool) -> Words:
        """The words in images, uint8 (n, 32, 128, 3), n at least 1.

        `cut` tells of each image whether its edges cut words, `again` whether unsure ones are
        looked at again; see `language.WordSearch`.
        """


@dataclasses.dataclass(frozen=True)
class Description:
    """What a reader reads with.

    Attributes:
      source: the file or folder that it was loaded from; None where its config named the models.
      sr, recognizer: the networks' names.
      sr_precision, recognizer_precision: of their weights, such as "8 bits" or "float32".
      beam: beams a word.
      runtime: "JAX" or "ONNX Runtime".
    """

    source: str | None
    sr: str
    recognizer: str
    sr_precision: str
    recognizer_precision: str
    beam: int
    runtime: str = "JAX"


class Reader:
    """Enhances and reads word images.

    It can be pickled. What was loaded from a packed file or an exported folder is loaded from there
    again, which must be unchanged; what was loaded from a workdir takes its weights along.

    The confidence in a word of probability p, its end included, is p ** (1 / T), with the
    temperature T that was fitted on held-out and drawn words; 1 leaves probabilities as they are.
    (Guo et al., "On Calibration of Modern Neural Networks", scale logits so; here it is the whole
    word's.)
    Where a word was chosen among beams, p is its share of them, less some doubt: see
    `language.WordSearch.words`.

    Args:
      engine: what computes.
      temperature: T.
      description: what the engine computes with; None where that is not known.
    """

    def __init__(
        self, engine: Engine, temperature: float = 1.0, description: Description | None = None
    ):
        self._engine, self._temperature = engine, temperature
        self.description = description

    def __repr__(self) -> str:
        about = self.description
        if about is None:
            return f"<Reader with {type(self._engine).__name__}>"
        return (
            f"<Reader of {about.source or 'the models of a config'}: "
            f"sr={about.sr} ({about.sr_precision}), "
            f"recognizer={about.recognizer} ({about.recognizer_precision}), "
            f"beam={about.beam}, temperature={self._temperature:g}, {about.runtime}>"
        )

    def enhance(self, images: ImageLike | Iterable[ImageLike]) -> np.ndarray:
        """The SR image of an image, uint8 (32, 128, 3), or those of several, whatever their aspect.

        Args:
          images: one image, anything that `textsr_jax.images.image_rgb` takes; or several: a list,
            a tuple, an iterator, or an array (n, height, width, channels).

        Returns:
          uint8 (32, 128, 3) for one image, (n, 32, 128, 3) for n.

        Raises:
          UserError: a file that cannot be read, or is too large; a model whose output is not
            finite.
          ValueError: what is no image, or may mean several: floats out of [0, 1], NaN, other shapes
            or dtypes. The message says what to give.
        """
        one, several = _listed(images)
        made = [self._enlarge(batch) for batch in batches(several, lambda image: image, _TOGETHER)]
        return made[0][0] if one else np.concatenate([self._enlarge([]), *made])

    @overload
    def read(self, images: str | os.PathLike | bytes | BinaryIO | Image.Image) -> Reading: ...
    @overload
    def read(self, images: np.ndarray | jax.Array) -> Reading | list[Reading]: ...
    @overload
    def read(self, images: Iterable[ImageLike]) -> list[Reading]: ...
    def read(self, images: ImageLike | Iterable[ImageLike]) -> Reading | list[Reading]:
        """The word in an image, or the words in several; takes and raises what `enhance` does."""
        one, several = _listed(images)
        found = [
            reading
            for batch in batches(several, lambda image: image, _TOGETHER)
            for reading, _ in self.read_and_show(batch)
        ]
        return found[0] if one else found

    def read_and_show(self, images: Sequence[ImageLike]) -> list[tuple[Reading, np.ndarray]]:
        """The words in the images, each with the image that the recogniser read it from.

        Wide images are read in overlapping windows, in which likely English counts nothing, for
        their edges cut words, and the texts joined; words with wide space between them one by one,
        joined without a space; tall images also turned by a quarter either way, or as letters below
        each other; unsure ones upside down (`reading.layouts`). What is sharp already is read as
        it is; all else is enlarged by the SR model first (`reading.crops`). An image without
        contrast has the empty text, with confidence 1.

        Returns:
          For each image its reading and the picture that was read, uint8 (32, width, 3): width is
          128, or more where the image was read in windows or words.

        Raises:
          UserError: a file that cannot be read, or an image that is wider than any line of text.
          ValueError: an array that is not an image.
        """
        pixels = [image_rgb(image) for image in images]
        results = []
        found = layouts.read(pixels, self._sharpened, self._recognize)
        for image, one in zip(pixels, found, strict=True):
            if one is None:
                results.append((Reading("", 1.0), resize(image, HR_SIZE)))
            else:
                confidence = self._confidence(one.log_confidence)
                results.append((Reading(one.text, confidence), one.picture))
        return results

    def read_enhanced(self, sr: np.ndarray, cut: bool = False) -> list[Reading]:
        """The words in SR images, uint8 (n, 32, 128, 3), as `enhance` returns them.

        `cut` tells whether they are windows, whose edges may cut words.
        """
        words = self._recognize(sr, [cut] * len(sr), again=True)
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

    def _recognize(self, images: np.ndarray, cut: Sequence[bool], again: bool) -> Words:
        if not len(images):
            return Words([], np.zeros(0), np.zeros(0))
        return self._engine.recognize(images, cut, again)

    def _confidence(self, log_confidence: float) -> float:
        return math.exp(log_confidence / self._temperature)


def batches(
    items: Iterable[T], image: Callable[[T], np.ndarray | None], most: int = 64
) -> Iterator[list[T]]:
    """The items in lists of at most `most`, or fewer where their images are 25 MB together."""
    batch: list[T] = []
    pixels = 0
    for item in items:
        batch.append(item)
        found = image(item)
        pixels += 0 if found is None else found.shape[0] * found.shape[1]
        if len(batch) == most or pixels >= 2**23:
            yield batch
            batch, pixels = [], 0
    if batch:
        yield batch


def _listed(images: ImageLike | Iterable[ImageLike]) -> tuple[bool, Iterator[np.ndarray]]:
    """Whether `images` is one image, and the images one after another, as `image_rgb` has them."""
    one = isinstance(images, str | os.PathLike | bytes | bytearray | memoryview | Image.Image)
    if not one:
        array = hasattr(images, "__array__")
        one = (array and getattr(images, "ndim", 0) != 4) or hasattr(images, "read")
    if not one and (isinstance(images, Mapping | set) or not isinstance(images, Iterable)):
        raise ValueError(
            f"a {type(images).__name__} is neither an image nor a list of images; give a file's "
            "name, its bytes, a Pillow image, an array, or a list of these"
        )
    return one, map(image_rgb, [images] if one else images)


def load(
    source: str | os.PathLike | None = None, *, config: ConfigDict | Experiment | None = None
) -> Reader:
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
    if source is not None:
        source = pathlib.Path(source).expanduser()
        if source.is_file():
            return _load_packed_reader(source, config)
    models = Models.load(source, config)
    ocr = models.recognizer
    if models.sr_variables is None or ocr is None:
        part, stage = ("sr", "stage1") if models.sr_variables is None else ("ocr", "pretrain")
        what = {"sr": "SR model", "ocr": "recogniser"}[part]
        if source is None:
            raise UserError(f"config.init.{part} is empty; name the file of the {what} there")
        raise UserError(
            f"{source} has no {what} ({stage}) yet; train it with train.py --workdir={source}, "
            f"or name a file in config.init.{part}"
        )
    return _unpacked_reader(models, ocr, None if source is None else str(source.absolute()))


def _unpacked_reader(models: Models, ocr: Variables, source: str | None) -> Reader:
    config, sr = models.config, models.sr_variables
    search = WordSearch.of(config)
    engine = JaxEngine(
        search,
        lambda: (models.sr, models.ocr),
        sr,
        ocr,
        name=source or "the models of config.init",
        again=(_unpacked_engine, (config, sr, ocr)),
    )
    description = _description(source, config, search, sr, ocr)
    return Reader(engine, config.decoding.temperature, description)


def _unpacked_engine(config: Experiment, sr: Variables, ocr: Variables) -> JaxEngine:
    """The engine of a pickled reader of a workdir, from all that it holds."""
    from textsr_jax.models import build_ocr, build_sr

    @functools.cache
    def networks() -> tuple[Network, Network]:
        return build_sr(config.sr, sr), build_ocr(config.ocr)

    return JaxEngine(
        WordSearch.of(config), networks, sr, ocr, again=(_unpacked_engine, (config, sr, ocr))
    )


def _load_packed_reader(path: pathlib.Path, config: ConfigDict | Experiment | None) -> Reader:
    """A reader that builds its networks only where their functions were not kept before."""
    pair = packed_files.load(path)
    used = packed_config(pair, path, config)

    @once
    def networks() -> tuple[Network, Network]:
        models = Models.of_packed(pair, path, config)
        return models.sr, models.ocr

    settings, search = plain(used), WordSearch.of(used)
    content = path.read_bytes()
    kept = KeptFunctions(
        content, [settings["sr"], settings["ocr"], search.beam, search.steps, search.margin]
    )
    if not kept.any():
        # Checks the file; where functions of it were kept, the very same file was found sound.
        networks()
    # The file that comes with the package lies elsewhere on another machine.
    place = None if path == SHIPPED else str(path.absolute())
    again = (_packed_engine, (place, hashlib.sha256(content).hexdigest(), used))
    engine = JaxEngine(search, networks, pair.sr, pair.ocr, kept, str(path), again)
    description = _description(str(path.absolute()), used, search, pair.sr, pair.ocr)
    return Reader(engine, used.decoding.temperature, description)


def _packed_engine(place: str | None, digest: str, config: Experiment) -> JaxEngine:
    """The engine of a pickled reader, loaded again from its file."""
    path = SHIPPED if place is None else pathlib.Path(place)
    check_unchanged(path, digest, path)
    return _load_packed_reader(path, config)._engine


def check_unchanged(file: pathlib.Path, digest: str, source: pathlib.Path) -> None:
    """Raises `UserError` where a pickled reader's file is not what the reader was loaded from.

    Args:
      file: the file.
      digest: its SHA-256 then.
      source: what was loaded, for the message.
    """
    fix = "put it there again, or load the reader anew with textsr_jax.load"
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UserError(
            f"{source}: a pickled reader was loaded from it, and it is not here ({error.strerror});"
            f" {fix}"
        ) from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise UserError(f"{source}: has changed since a pickled reader was loaded from it; {fix}")


def _description(
    source: str | None, config: Experiment, search: WordSearch, sr: Variables, ocr: Variables
) -> Description:
    return Description(
        source, config.sr.name, config.ocr.name, _precision(sr), _precision(ocr), search.beam
    )


def _precision(variables: Variables) -> str:
    """The bits of quantised weights, such as "2 to 8 bits"; "float32" where none is."""
    leaves = jax.tree.leaves(variables, is_leaf=is_quantized)
    bits = [leaf.bits for leaf in leaves if is_quantized(leaf)]
    bits = [number for some in bits for number in (some if isinstance(some, tuple) else (some,))]
    if not bits:
        return "float32"
    return f"{min(bits)} bits" if min(bits) == max(bits) else f"{min(bits)} to {max(bits)} bits"
