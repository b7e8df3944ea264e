"""What the demo answers to an image: the image and its SR image, and the words that were read."""

import dataclasses
import os
import time
from collections.abc import Iterable
from html import escape

import numpy as np

from textsr_jax import images
from textsr_jax.demo.pairs import Pairs
from textsr_jax.errors import MissingPackage, UserError
from textsr_jax.photos.page import Page
from textsr_jax.reading import Reader
from textsr_jax.reading.contents import is_photograph
from textsr_jax.reading.crops import is_sharp

# What may be uploaded: a file's bytes, and the pixels of its image.
MOST_BYTES = 10 * 2**20
MOST_PIXELS = 2**24
# The height at which both images of a crop are shown, in pixels, and the greatest width.
_HEIGHT, _WIDTH = 160, 1600


@dataclasses.dataclass(frozen=True)
class Answer:
    """What is shown of an image.

    Attributes:
      before, after: the image enlarged by bicubic interpolation, and by the SR model, uint8
        (height, width, 3) of one size.
      text: what was read; of a photograph its lines.
      confidence: in it, in [0, 1]; of a photograph the mean of its words.
      letters: the confidence in each letter; of a photograph ().
      notes: what a user should know of it, a sentence each.
      page: the words of a whole photograph; None for a crop.
      drawn: the photograph with its words' boxes and texts, as `before`; None for a crop.
    """

    before: np.ndarray
    after: np.ndarray
    text: str
    confidence: float
    letters: tuple[float, ...]
    notes: list[str]
    page: Page | None = None
    drawn: np.ndarray | None = None


def answer(
    path: str | os.PathLike[str], pairs: Pairs, name: str, runtime: str, bits: int | None
) -> Answer:
    """Sharpens and reads the image of a file.

    What is clearly a whole photograph is read as one, where the extra [photos] is installed and
    text is found.

    Args:
      path: the image file.
      pairs: the pairs of models.
      name, runtime, bits: which of them, as `Pairs.reader` takes them.

    Raises:
      UserError: the file is too large or no image, or the pair cannot be had.
    """
    image = opened(path)
    reader = pairs.reader(name, runtime, bits)
    begun = time.perf_counter()
    ((reading, _),) = reader.read_and_show([image])
    seconds = time.perf_counter() - begun
    notes = [f"{_models(reader)} Read in {seconds:.2f} s."]
    if is_photograph(image, reading.text, reading.confidence):
        try:
            found = _photograph(image, reader)
        except MissingPackage as error:
            notes.append(f"This seems to be a whole photograph: crop a word of it. {error}")
        else:
            if found is not None:
                return found
            notes.append("This seems to be a whole photograph, but no text was found in it.")
    elif is_sharp(image):
        notes.append("The crop is sharp: it was read as it is, not its SR image.")
    before, after = sharpened(image, reader)
    return Answer(before, after, reading.text, reading.confidence, reading.letters, notes)


def opened(path: str | os.PathLike[str]) -> np.ndarray:
    """Returns the image of a file, uint8 (height, width, 3), upright.

    Raises:
      UserError: the file has more than `MOST_BYTES` or `MOST_PIXELS`, or is no image.
    """
    name = os.path.basename(os.fsdecode(path))
    try:
        size = os.path.getsize(path)
    except OSError as error:
        raise UserError(f"{name}: cannot read it ({error.strerror}); drop it again") from error
    if size > MOST_BYTES:
        raise UserError(f"{name}: has {size / 2**20:.0f} MB; drop a file of at most 10 MB")
    width, height = images.image_size(path)
    if width * height > MOST_PIXELS:
        raise UserError(f"{name}: has {width}x{height} pixels; reduce or crop it first")
    return images.image_rgb(path)


def sharpened(image: np.ndarray, reader: Reader) -> tuple[np.ndarray, np.ndarray]:
    """Returns an image enlarged by bicubic interpolation and by the SR model, in the same place.

    The SR model takes 4:1; a wider image is sharpened in pieces side by side.

    Args:
      image: uint8 (height, width, 3).
      reader: has the SR model.

    Returns:
      Both uint8 (height, width, 3), of the aspect of `image`.
    """
    height, width = image.shape[:2]
    pieces = np.array_split(image, max(1, round(width / (4 * height))), axis=1)
    made = np.concatenate(list(reader.enhance(pieces)), axis=1)
    # As the SR model sees it: at 16 pixels of height.
    lr = images.resize(image, (made.shape[1] // 2, images.LR_SIZE[1]))
    across = min(_WIDTH, max(1, round(_HEIGHT * width / height)))
    size = across, max(1, round(across * height / width))
    return images.resize(lr, size), images.resize(made, size)


def _photograph(image: np.ndarray, reader: Reader) -> Answer | None:
    """Reads a whole photograph, and sharpens the words in it; None if none was found.

    Raises:
      MissingPackage: the extra [photos] is not installed.
    """
    from textsr_jax.photos.enhancing import enhance_page
    from textsr_jax.photos.page_reading import read_page

    begun = time.perf_counter()
    page = read_page(image, reader)
    if not page.words:
        return None
    note = f"A whole photograph. {_models(reader)} Read in {time.perf_counter() - begun:.2f} s."
    after = enhance_page(image, page, reader)
    height, width = after.shape[:2]
    across = min(_WIDTH, width)
    size = across, max(1, round(across * height / width))
    sure = float(np.mean([word.confidence for word in page.words]))
    return Answer(
        images.resize(image, size),
        images.resize(after, size),
        page.text,
        sure,
        (),
        [note],
        page,
        images.resize(np.asarray(page.draw(image)), size),
    )


def as_html(answer: Answer) -> str:
    """Returns what was read and the notes as HTML.

    Letters, or the words of a photograph, are shaded by the confidence in them.
    """
    if answer.page is None:
        shown = _shaded(zip(answer.text, answer.letters, strict=True))
    else:
        lines = (
            " ".join(_shaded([(word.text, word.confidence)]) for word in line.words)
            for line in answer.page.lines
        )
        shown = "<br>".join(lines)
    shown = shown or "(nothing)"
    notes = "".join(f"<p>{escape(note)}</p>" for note in answer.notes)
    return (
        f'<p class="read">{shown}</p><p class="sure">confidence '
        f"{100 * answer.confidence:.0f} %</p>{notes}"
    )


def _shaded(parts: Iterable[tuple[str, float]]) -> str:
    return "".join(
        f'<span title="{100 * sure:.0f} %" style="opacity: {0.35 + 0.65 * sure:.2f}">'
        f"{escape(text)}</span>"
        for text, sure in parts
    )


def _models(reader: Reader) -> str:
    about = reader.description
    if about is None:
        return ""
    return (
        f"{about.sr} ({about.sr_precision}) and {about.recognizer} ({about.recognizer_precision}) "
        f"on {about.runtime}."
    )
