"""Draws boxes and texts of words on their photograph."""

from collections.abc import Iterable

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from textsr_jax.photos.words import Word, size

_BOX, _LABEL, _INK = (0, 170, 60), (0, 105, 40), (255, 255, 255)
_UNSURE_BOX, _UNSURE_LABEL = (235, 120, 0), (165, 70, 0)

# Words of a lower confidence are drawn in orange.
SURE = 0.5


def draw(photograph: np.ndarray, words: Iterable[Word], scale: float = 1.0) -> Image.Image:
    """Returns the photograph with a box around each word and its text beside it.

    A text is written below its word where it would hide less than above it.

    Args:
      photograph: uint8 (height, width, 3).
      words: what to draw.
      scale: the pixels of `photograph` for a pixel of the words' boxes.
    """
    picture = Image.fromarray(photograph)
    canvas = ImageDraw.Draw(picture)
    # Lines and letters that are legible where the whole picture is looked at.
    long = max(picture.size)
    pen = max(1, round(long / 600))
    placed = []
    for word in words:
        box = word.box * scale
        sure = word.confidence >= SURE
        corners = [*map(tuple, box.tolist())]
        canvas.line([*corners, corners[0]], fill=_BOX if sure else _UNSURE_BOX, width=pen)
        if word.text:
            placed.append((word.text, sure, box))
    # Labels hide boxes, not the other way round.
    taken = [(*box.min(axis=0), *box.max(axis=0)) for _, _, box in placed]
    for text, sure, box in placed:
        font = ImageFont.load_default(float(np.clip(0.5 * size(box)[1], long / 90, long / 40)))
        left, top, right, bottom = canvas.textbbox((0, 0), text, font=font)
        width, height = right - left + 2 * pen, bottom - top + 2 * pen
        x = float(np.clip(box[:, 0].min(), 0, max(0, picture.width - width)))
        tops = box[:, 1].min() - height - pen, box[:, 1].max() + pen
        labels = [(x, float(y), x + width, float(y) + height) for y in tops]
        label = min(labels, key=lambda place: _hidden(place, taken, picture.height))
        canvas.rectangle(label, fill=_LABEL if sure else _UNSURE_LABEL)
        canvas.text((x + pen - left, label[1] + pen - top), text, fill=_INK, font=font)
        taken.append(label)
    return picture


def _hidden(
    label: tuple[float, float, float, float],
    taken: Iterable[tuple[float, float, float, float]],
    height: float,
) -> float:
    """Returns how many pixels of other words a label hides; those outside the picture count too."""
    left, top, right, bottom = label
    outside = (right - left) * (max(0, -top) + max(0, bottom - height))
    return outside + sum(
        max(0, min(right, x1) - max(left, x0)) * max(0, min(bottom, y1) - max(top, y0))
        for x0, y0, x1, y1 in taken
    )
