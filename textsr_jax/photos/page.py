"""`Page`: the words that were found and read in a whole photograph, and how they are written.

Nothing here needs JAX.
"""

from __future__ import annotations

import dataclasses
import json

from textsr_jax.photos.words import Line, Word

__all__ = ["Line", "Page", "Word"]


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

    def to_json(self, source: str) -> str:
        """Returns one line of JSON, without its end: `source`, and the `words` in reading order.

        A word has `text`, `confidence` and `box`: four corners [x, y] in pixels, clockwise from the
        upper left of the text.

        Args:
          source: the name of the photograph.
        """
        words = [
            {
                "text": word.text,
                "confidence": word.confidence,
                "box": word.box.round(1).tolist(),
            }
            for word in self.words
        ]
        return json.dumps({"source": source, "words": words}, allow_nan=False)
