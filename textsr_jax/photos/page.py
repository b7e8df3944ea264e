"""`Page`: the words that were found and read in a whole photograph, and how they are written.

Nothing here needs JAX.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from PIL import Image

from textsr_jax.errors import escaped
from textsr_jax.photos import alto, drawing, hocr
from textsr_jax.photos.words import Line, Word

if TYPE_CHECKING:
    from textsr_jax.images import ImageLike

__all__ = ["FORMATS", "Line", "Page", "Word"]


@dataclasses.dataclass(frozen=True, eq=False)
class Page:
    """What was read in a photograph.

    Attributes:
      lines: in reading order.
      width, height: of the photograph, in pixels.

    Raises:
      ValueError: the width or the height is below 1.
    """

    lines: tuple[Line, ...]
    width: int
    height: int

    def __post_init__(self) -> None:
        if min(self.width, self.height) < 1:
            raise ValueError(f"a photograph of {self.width} x {self.height} has no pixels")

    @property
    def words(self) -> tuple[Word, ...]:
        """All words, line by line."""
        return tuple(word for line in self.lines for word in line.words)

    @property
    def text(self) -> str:
        """The lines that have text, each on a line of its own; "" if nothing was read."""
        return "\n".join(filter(None, (line.text for line in self.lines)))

    def draw(self, image: ImageLike) -> Image.Image:
        """Returns the photograph with a box around each word and its text beside it.

        Words of a confidence below `drawing.SURE` are orange, the others green.

        Args:
          image: the photograph, as `textsr_jax.images.image_rgb` takes it. It may have another
            size, as one that was enhanced has; then the boxes are scaled.

        Raises:
          UserError: a file cannot be read.
          ValueError: the image has another aspect than the photograph.
        """
        # Imports JAX, which nothing else here needs.
        from textsr_jax.images import image_rgb

        photograph = image_rgb(image, most=None)
        height, width = photograph.shape[:2]
        scale = width / self.width
        if abs(height - scale * self.height) > max(1.0, scale):
            raise ValueError(
                f"an image of {width} x {height} is not the photograph of {self.width} x "
                f"{self.height} that was read; give that one"
            )
        return drawing.draw(photograph, self.words, scale)

    def to_json(self, source: str) -> str:
        """Returns one line of JSON, without its end: `source`, and the `words` in reading order.

        A word has `text`, `confidence` and `box`: four corners [x, y] in pixels, clockwise from the
        upper left of the text.

        Args:
          source: the name of the photograph.
        """
        return json.dumps({"source": source, "words": self.word_records()}, allow_nan=False)

    def word_records(self) -> list[dict[str, Any]]:
        """Returns the `words` of `to_json`, which JSON can hold."""
        return [
            {
                "text": word.text,
                "confidence": word.confidence,
                "box": word.box.round(1).tolist(),
            }
            for word in self.words
        ]

    def to_tsv(self, source: str) -> str:
        """Returns a line for each word; "" if there are none.

        Between tabs stand the source, the text, the confidence, and the x and y of four corners in
        pixels, clockwise from the upper left of the text. Names are escaped by `errors.escaped`.
        """
        lines = (
            [escaped(source), escaped(word.text), f"{word.confidence:.4f}"]
            + [f"{number:.1f}" for number in word.box.ravel().tolist()]
            for word in self.words
        )
        return "\n".join(map("\t".join, lines))

    def to_hocr(self, source: str) -> str:
        """Returns hOCR 1.2, a whole document of XHTML in one line; see `photos.hocr.document`.

        Args:
          source: the name of the photograph.
        """
        system = " ".join(_system())
        return hocr.document(self.lines, self.width, self.height, source, system)

    def to_alto(self, source: str) -> str:
        """Returns ALTO 4.4, a whole document of XML in one line; see `photos.alto.document`.

        Args:
          source: the name of the photograph.
        """
        return alto.document(self.lines, self.width, self.height, source, *_system())


def _system() -> tuple[str, str]:
    """The name and the version of what reads."""
    name = "textsr_jax"
    return name, importlib.metadata.version(name)


# How a page is written, by the name of the format: a function of the page and of its source. "text"
# and "tsv" have a line for a line of text and for a word, the others one for the whole photograph.
FORMATS: Mapping[str, Callable[[Page, str], str]] = {
    "text": lambda page, source: page.text,
    "tsv": Page.to_tsv,
    "jsonl": Page.to_json,
    "hocr": Page.to_hocr,
    "alto": Page.to_alto,
}
