"""Photographs whose words are labelled, as they are and reduced, for benchmarks.

A folder has photographs and labels.json: {file: [[word, [left, top, right, bottom]], ...]}.
"""

import dataclasses
import json
import pathlib

import numpy as np
from PIL import Image

from textsr_jax import text
from textsr_jax.errors import UserError
from textsr_jax.images import open_rgb

# The sizes at which they are measured, and what their sides are divided by.
SIZES = {"full": 1, "half": 2, "quarter": 4}

# A text and the upright rectangle around it: left, top, right, bottom in pixels.
Placed = tuple[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Photograph:
    """A labelled photograph.

    Attributes:
      image: uint8 (height, width, 3).
      words: the labelled words, with letters or digits.
    """

    image: np.ndarray
    words: list[Placed]


def labelled(folder: str, limit: int | None = None) -> list[Photograph]:
    """The photographs of a folder, in the order of their names.

    Raises:
      UserError: it has no labels.json of the right form, or lacks a photograph.
    """
    file = pathlib.Path(folder).expanduser() / "labels.json"
    try:
        labels = json.loads(file.read_text())
        words = {
            name: [(plain(word), np.array(box, float)) for word, box in labels[name]]
            for name in sorted(labels)[:limit]
        }
        if not words or any(box.shape != (4,) for some in words.values() for _, box in some):
            raise ValueError
    except OSError as error:
        raise UserError(
            f"{file}: cannot read it ({error.strerror}); name a folder that has it"
        ) from error
    except (ValueError, TypeError, AttributeError):
        raise UserError(
            f"{file}: must be {{file: [[word, [left, top, right, bottom]], ...]}}"
        ) from None
    return [
        Photograph(open_rgb(file.parent / name), [word for word in some if word[0]])
        for name, some in words.items()
    ]


def plain(word: str) -> str:
    """A text as it is compared: letters and digits, case and accents apart."""
    return text.normalize(text.fold(word))


def reduced(photograph: Photograph, factor: int) -> Photograph:
    """The photograph with its sides divided by a factor, by Pillow's bicubic filter."""
    if factor == 1:
        return photograph
    height, width = photograph.image.shape[:2]
    size = max(1, round(width / factor)), max(1, round(height / factor))
    image = np.asarray(Image.fromarray(photograph.image).resize(size, Image.Resampling.BICUBIC))
    scales = np.array([size[0] / width, size[1] / height] * 2)
    return Photograph(image, [(word, box * scales) for word, box in photograph.words])
