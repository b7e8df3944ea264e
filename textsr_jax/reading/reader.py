"""`Reader`: enhances and reads word images of any size and aspect; behind it is an `Engine`.

An image becomes crops (`reading.crops`). The SR model enlarges those that are not sharp from 16x64,
and the recogniser reads all of them.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import BinaryIO, Protocol, TypeVar, cast, overload

import jax
import numpy as np
from PIL import Image

from textsr_jax.decoding.word_search import Words
from textsr_jax.images import HR_SIZE, LR_SIZE, ImageLike, image_rgb, resize
from textsr_jax.reading import crops, layouts
from textsr_jax.reading.abstention import Abstention
from textsr_jax.text import Alphabet

T = TypeVar("T")

# Images that are read together. Smaller groups would leave cores idle.
_TOGETHER = 256


@dataclasses.dataclass(frozen=True)
class Reading:
    """A word that was read.

    Attributes:
      text: the word, of the recogniser's alphabet: 0-9a-z, or as it is written, with case,
        punctuation and spaces (`config.alphabet`). It is empty where there is none, or where it was
        left out; letters that were left out are "?".
      confidence: in the word as it was read, in [0, 1]; see `Reader`.
      letters: the same for each letter of `text`, at least `confidence`. Readings of the same word
        and confidence are equal, whatever stands here.
      abstained: whether the word was left out because it was not sure enough.
      turned: by how many quarters, counter-clockwise, the image was turned to be read: 0 to 3. It
        does not count when readings are compared.
    """

    text: str
    confidence: float
    letters: tuple[float, ...] = dataclasses.field(default=(), compare=False, repr=False)
    abstained: bool = False
    turned: int = dataclasses.field(default=0, compare=False, repr=False)


class Engine(Protocol):
    """Computes the networks: `reading.engine.JaxEngine` or `export.engine.OnnxEngine`.

    Attributes:
      alphabet: what the recogniser writes.
    """

    alphabet: Alphabet

    def enlarge(self, lr: np.ndarray) -> np.ndarray:
        """Returns SR images, uint8 (n, 32, 128, 3), of LR images, uint8 (n, 16, 64, 3)."""

    def recognize(self, images: np.ndarray, cut: Sequence[bool], again: bool) -> Words:
        """Returns the words in images, uint8 (n, 32, 128, 3), n at least 1.

        Args:
          images: the images.
          cut: for each image, whether its edges cut words.
          again: whether unsure words are read a second time; see `decoding.WordSearch`.
        """


@dataclasses.dataclass(frozen=True)
class Description:
    """The models and settings of a reader.

    Attributes:
      source: the file or folder that the models are from; None if a config named them.
      sr, recognizer: the networks' names.
      sr_precision, recognizer_precision: the precision of their weights: "8 bits", "float32", ...
      beam: how many beams a word has.
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

    A reader can be pickled. A reader of a packed file or an exported folder loads its models from
    there again; the file must be unchanged. A reader of a workdir is pickled with its weights.

    The confidence in a word of probability p, its end included, is p ** (1 / T). The temperature T
    was fitted on held-out and drawn words; 1 leaves probabilities as they are. Guo et al., "On
    Calibration of Modern Neural Networks", scale logits so; here T scales the log-probability of
    the whole word. For a word that was chosen among beams, p is its share of them, reduced by a
    doubt; see `decoding.WordSearch.words`. The confidence in a letter is that of the beams that
    have it at its place, with the same T.

    Args:
      engine: computes the networks.
      temperature: the T above.
      description: the engine's models and settings; None if they are not known.
      abstention: what is left out; None for nothing.
    """

    def __init__(
        self,
        engine: Engine,
        temperature: float = 1.0,
        description: Description | None = None,
        abstention: Abstention | None = None,
    ):
        self._engine, self._temperature = engine, temperature
        self.description, self._abstention = description, abstention

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
        """Returns the SR images of one or several images of any aspect.

        Args:
          images: one image, as `textsr_jax.images.image_rgb` takes it; or several, as a list, a
            tuple, an iterator, or an array (n, height, width, channels).

        Returns:
          uint8 (32, 128, 3) for one image, (n, 32, 128, 3) for n.

        Raises:
          UserError: a file cannot be read or is too large; or the model's output is not finite.
          ValueError: a value is not an image, or its meaning is not clear: floats out of [0, 1],
            NaN, other shapes or dtypes. The message says what to give.
        """
        one, several = _listed(images)
        made = [self._enlarge(batch) for batch in batches(several, lambda image: image, _TOGETHER)]
        return made[0][0] if one else np.concatenate([self._enlarge([]), *made])

    # A name or bytes are iterable too, and match the first of these.
    @overload
    def read(  # type: ignore[overload-overlap]
        self, images: str | os.PathLike[str] | bytes | BinaryIO | Image.Image
    ) -> Reading: ...
    @overload
    def read(  # type: ignore[overload-overlap]
        self, images: np.ndarray | jax.Array
    ) -> Reading | list[Reading]: ...
    @overload
    def read(self, images: Iterable[ImageLike]) -> list[Reading]: ...
    def read(self, images: ImageLike | Iterable[ImageLike]) -> Reading | list[Reading]:
        """Returns the word in each of one or several images; takes and raises what `enhance` does.

        Returns:
          A `Reading` for one image, a list of them for several.
        """
        one, several = _listed(images)
        found = [
            reading
            for batch in batches(several, lambda image: image, _TOGETHER)
            for reading, _ in self.read_and_show(batch)
        ]
        return found[0] if one else found

    def read_and_show(self, images: Sequence[ImageLike]) -> list[tuple[Reading, np.ndarray]]:
        """Returns the word in each image, with the picture that the recogniser read it from.

        `reading.layouts` chooses how an image is read:

        - Wide images are read in overlapping windows, and the texts are joined. Likely English has
          no weight there, because the windows' edges cut words.
        - Words with wide space between them are read one by one and joined, with a space where the
          alphabet has one.
        - Tall images are also read turned by 90 degrees either way, and as letters below each
          other.
        - Images with an unsure word are also read upside down.

        Sharp crops are read as they are; the SR model enlarges the others (`reading.crops`). An
        image without contrast has the empty text, with confidence 1.

        Args:
          images: as `textsr_jax.images.image_rgb` takes them.

        Returns:
          For each image its reading and the picture that was read, uint8 (32, width, 3). The width
          is 128, or more where the image was read in windows or words.

        Raises:
          UserError: a file cannot be read, or an image is wider than any line of text.
          ValueError: an array is not an image.
        """
        pixels = [image_rgb(image) for image in images]
        results = []
        space = self._engine.alphabet.word_space
        found = layouts.read(pixels, self._sharpened, self._recognize, space)
        for image, one in zip(pixels, found, strict=True):
            if one is None:
                results.append((Reading("", 1.0), resize(image, HR_SIZE)))
            else:
                turned = one.layout.turned
                reading = self._reading(one.text, one.log_confidence, one.letters, turned)
                results.append((reading, one.picture))
        return results

    def read_enhanced(self, sr: np.ndarray, cut: bool = False) -> list[Reading]:
        """Returns the words in SR images, uint8 (n, 32, 128, 3), as `enhance` returns them.

        Args:
          sr: the images.
          cut: whether they are windows, whose edges may cut words.
        """
        words = self._recognize(sr, [cut] * len(sr), again=True)
        found = zip(words.texts, words.log_confidence, words.letters, strict=True)
        return [self._reading(*word) for word in found]

    def _sharpened(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Returns the images at 32x128: sharp ones resized, others enlarged from 16x64."""
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
            return Words([], np.zeros(0), np.zeros(0), [])
        return self._engine.recognize(images, cut, again)

    def _reading(
        self, text: str, log_confidence: float, letters: np.ndarray, turned: int = 0
    ) -> Reading:
        """Returns a reading of what was found at temperature 1, without what is left out."""
        abstained = False
        if self._abstention is not None:
            text, letters, abstained = self._abstention.applied(text, log_confidence, letters)
        confidence = math.exp(log_confidence / self._temperature)
        sure = np.exp(letters / self._temperature)
        return Reading(text, confidence, tuple(sure.tolist()), abstained, turned)


def batches(
    items: Iterable[T], image: Callable[[T], np.ndarray | None], most: int = 64
) -> Iterator[list[T]]:
    """Yields lists of at most `most` items, or of fewer whose images together have 25 MB."""
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
    """Returns whether `images` is one image, and an iterator of all of them as `image_rgb` does."""
    one = isinstance(images, str | os.PathLike | bytes | bytearray | memoryview | Image.Image)
    if not one:
        array = hasattr(images, "__array__")
        one = (array and getattr(images, "ndim", 0) != 4) or hasattr(images, "read")
    if not one and (isinstance(images, Mapping | set) or not isinstance(images, Iterable)):
        raise ValueError(
            f"a {type(images).__name__} is neither an image nor a list of images; give a file's "
            "name, its bytes, a Pillow image, an array, or a list of these"
        )
    several = [images] if one else images
    return one, map(image_rgb, cast(Iterable[ImageLike], several))
