"""Pictures of results: test words with what was read below, and details of photographs.

Each stands in a row: LR, bicubic, SR, HR.
"""

import dataclasses
import difflib
import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from textsr_jax import text
from textsr_jax.report.values import PhotographDetail

# About as high as a page can be to be looked at, in pixels.
PAGE = 2000

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_SCALE = 2
_WIDTH, _HEIGHT = 128 * _SCALE, 32 * _SCALE
_TEXT, _GAP, _HEADER = 22, 8, 26
_RIGHT, _WRONG, _INK = (0, 130, 40), (205, 30, 30), (40, 40, 40)
_NAME = (110, 110, 110)


def word_sheet(
    columns: Sequence[tuple[str, Sequence[np.ndarray], Sequence[str] | None]],
    labels: Sequence[str | None],
) -> Image.Image:
    """A row per word, a column per kind of image; the words read below, right letters green.

    Args:
      columns: (title, n images uint8 (height, width, 3), the n words read or None). Images that
        are wider than four heights, or taller than wide, keep their aspect.
      labels: the n true words, shown to the right; None where one is not known.
    """
    width = len(columns) * (_WIDTH + _GAP) + _GAP
    if any(label is not None for label in labels):
        width += 160
    height = _HEADER + len(labels) * (_HEIGHT + _TEXT + _GAP) + _GAP
    sheet = Image.new("RGB", (width, height), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for number, (title, images, words) in enumerate(columns):
        left = _GAP + number * (_WIDTH + _GAP)
        draw.text((left, _GAP - 2), title, fill=_INK, font=font)
        for row, image in enumerate(images):
            top = _HEADER + row * (_HEIGHT + _TEXT + _GAP)
            sheet.paste(_tile(np.asarray(image)), (left, top))
            if words is not None:
                _draw_word(draw, font, (left, top + _HEIGHT + 1), words[row], labels[row])
    left = _GAP + len(columns) * (_WIDTH + _GAP)
    if left < width:
        draw.text((left, _GAP - 2), "label", fill=_INK, font=font)
    for row, label in enumerate(labels):
        top = _HEADER + row * (_HEIGHT + _TEXT + _GAP)
        draw.text((left, top + _HEIGHT // 2 - 8), label or "", fill=_INK, font=font)
    return sheet


@dataclasses.dataclass(frozen=True)
class Word:
    """A word of a grid.

    Attributes:
      name: of the image's file.
      given, read: the image as it was given and as it was read, uint8 (height, width, 3).
      text: what was read.
      confidence: of that, from 0 to 1.
      label: the true word; None where it is not known.
    """

    name: str
    given: np.ndarray
    read: np.ndarray
    text: str
    confidence: float
    label: str | None


def grid(words: Sequence[Word]) -> Image.Image:
    """Words in columns, from the top down: both images, below them what was read, and the name.

    Tiles have twice the pixels of an SR image where the page stays within `PAGE` pixels then, both
    ways; otherwise as many as it has. Right letters are green where labels are known.
    """
    large = _columns(len(words), _SCALE) * _cell(_SCALE)[0] <= PAGE
    scale = _SCALE if large else 1
    columns, (across, down) = _columns(len(words), scale), _cell(scale)
    rows = -(-len(words) // columns)
    sheet = Image.new("RGB", (columns * across + _GAP, _HEADER + rows * down + _GAP), "white")
    draw, font = ImageDraw.Draw(sheet), _font(15 if large else 11)
    tile_width, tile_height = 128 * scale, 32 * scale
    for column in range(columns):
        left = _GAP + column * across
        draw.text((left, _GAP - 2), "as given", fill=_INK, font=font)
        draw.text((left + tile_width + 4, _GAP - 2), "as read", fill=_INK, font=font)
    for number, word in enumerate(words):
        left = _GAP + number // rows * across
        top = _HEADER + number % rows * down
        for image, place in ((word.given, left), (word.read, left + tile_width + 4)):
            sheet.paste(_tile(np.asarray(image), (tile_width, tile_height)), (place, top))
        line = top + tile_height + 1
        end = _draw_word(draw, font, (left, line), word.text, word.label)
        draw.text((end + 5, line), f"{100 * word.confidence:.0f} %", fill=_INK, font=font)
        if word.label is not None:
            label = f"label: {word.label}"
            draw.text((left + tile_width + 4, line), label, fill=_INK, font=font)
        name = _shortened(word.name, font, 2 * tile_width + 4)
        draw.text((left, line + _line(scale)), name, fill=_NAME, font=font)
    return sheet


def _cell(scale: int) -> tuple[int, int]:
    """Width and height of a word in a grid: two tiles, and two lines below them."""
    return 2 * 128 * scale + 4 + 2 * _GAP, 32 * scale + 2 * _line(scale) + 6


def _line(scale: int) -> int:
    return 20 if scale == _SCALE else 13


def _columns(count: int, scale: int) -> int:
    most = (PAGE - _HEADER - _GAP) // _cell(scale)[1]
    return max(1, -(-count // most))


@functools.cache
def _font(size: int) -> Font:
    return ImageFont.load_default(size)


def _shortened(name: str, font: Font, width: int) -> str:
    """The end of a name that is too wide: the end tells files apart."""
    if font.getlength(name) <= width:
        return name
    while name and font.getlength(f"...{name}") > width:
        name = name[1:]
    return f"...{name}"


def _tile(image: np.ndarray, most: tuple[int, int] = (_WIDTH, _HEIGHT)) -> Image.Image:
    height, width = image.shape[:2]
    size = full_width, full_height = most
    if width * full_height > height * full_width:
        size = full_width, max(1, round(full_width * height / width))
    elif height > width:
        size = max(1, round(full_height * width / height)), full_height
    # Pixels show as they are; those that there are too many of are averaged.
    smaller = width > size[0] or height > size[1]
    filter = Image.Resampling.BICUBIC if smaller else Image.Resampling.NEAREST
    return Image.fromarray(image).resize(size, filter)


def _draw_word(
    draw: ImageDraw.ImageDraw,
    font: Font,
    place: tuple[int, int],
    word: str,
    label: str | None,
) -> float:
    """Draws a word, right letters green; returns where it ends."""
    colors = [_INK] * len(word)
    if label is not None:
        colors = [_RIGHT if right else _WRONG for right in right_letters(word, label)]
    left: float
    left, top = place
    for character, color in zip(word, colors, strict=True):
        draw.text((left, top), character, fill=color, font=font)
        left += draw.textlength(character, font=font)
    if not word:
        color = _INK if label is None else _WRONG
        draw.text((left, top), "(nothing read)", fill=color, font=font)
        left += draw.textlength("(nothing read)", font=font)
    return left


def right_letters(word: str, label: str) -> list[bool]:
    """Which letters of a word that was read stand in its label too, in the same order.

    Case is never wrong. A text without marks is compared with the letters and digits of the label.

    Returns:
      One for each letter of `word`.
    """
    small, plain = word.lower(), text.normalize(word)
    true = text.normalize(label) if small == plain else label.lower()
    right = [False] * len(word)
    matcher = difflib.SequenceMatcher(None, small, true, autojunk=False)
    for block in matcher.get_matching_blocks():
        right[block.a : block.a + block.size] = [True] * block.size
    return right


def word_sheets(
    lr: Mapping[str, np.ndarray],
    columns: Sequence[tuple[str, Mapping[str, np.ndarray], Mapping[str, Sequence[str]]]],
    labels: Mapping[str, Sequence[str]],
    count: int = 10,
) -> dict[str, Image.Image]:
    """Draws a sheet for each split, by its name, and one for all splits, by the name `words`.

    Each shows `count` words that stand for the others, as `representative` chooses them.

    Args:
      lr: LR images of each split, uint8 (n, 16, 64, 3).
      columns: (title, images of each split, words read in each split).
      labels: of each split.
      count: the words of a sheet.
    """
    sheets = {}
    for name, splits in ({split: [split] for split in labels} | {"words": list(labels)}).items():
        places = [(split, row) for split in splits for row in range(len(labels[split]))]
        truth = [labels[split][row] for split, row in places]
        readings = [[words[split][row] for split, row in places] for _, _, words in columns]
        chosen = representative(truth, readings, count)

        def images_of(images: Mapping[str, np.ndarray]) -> list[np.ndarray]:
            return [images[places[number][0]][places[number][1]] for number in chosen]  # noqa: B023

        shown: list[Any] = [("LR", images_of(lr), None)]
        for (title, images, _), read in zip(columns, readings, strict=True):
            shown.append((title, images_of(images), [read[number] for number in chosen]))
        sheets[name] = word_sheet(shown, [truth[number] for number in chosen])
    return sheets


def representative(
    labels: Sequence[str], readings: Sequence[Sequence[str]], count: int
) -> list[int]:
    """The numbers of `count` words that are read rightly as often as all words are.

    Words are of a kind where the same columns read them rightly. Each kind gets its share of the
    count, by the largest remainders, and its words are spread evenly over it.

    Args:
      labels: of n words.
      readings: of each column, what was read in the n words.
      count: how many to choose; all where there are no more.
    """
    kinds: dict[tuple[bool, ...], list[int]] = {}
    for number, label in enumerate(labels):
        right = tuple(text.normalize(read[number]) == text.normalize(label) for read in readings)
        kinds.setdefault(right, []).append(number)
    count = min(count, len(labels))
    exact = {kind: count * len(numbers) / len(labels) for kind, numbers in kinds.items()}
    share = {kind: int(wanted) for kind, wanted in exact.items()}
    # Sorted, so that the choice does not hang on the order of words.
    for kind in sorted(kinds, key=lambda kind: (share[kind] - exact[kind], kind)):
        if sum(share.values()) < count:
            share[kind] += 1
    chosen = []
    for kind, numbers in kinds.items():
        # The middles of as many equal parts.
        step = len(numbers) / max(share[kind], 1)
        chosen += [numbers[int(step * (part + 0.5))] for part in range(share[kind])]
    return sorted(chosen)


def detail_sheets(details: Mapping[str, Sequence[PhotographDetail]]) -> dict[str, Image.Image]:
    """Draws a sheet for each folder of photographs, by a number and the folder's own name.

    Args:
      details: by folder, which may be a path, some details of photographs. Each gets a row, whose
        tiles have one size.
    """
    return {
        f"{number}_{pathlib.Path(name).name}": _detail_sheet(rows)
        for number, (name, rows) in enumerate(details.items(), 1)
    }


def _detail_sheet(rows: Sequence[PhotographDetail]) -> Image.Image:
    sides = [max(tile.shape[axis] for row in rows for _, tile in row.tiles) for axis in (0, 1)]
    height, width = (_SCALE * side for side in sides)
    columns = len(rows[0].tiles)
    sheet = Image.new(
        "RGB",
        (_GAP + columns * (width + _GAP), _GAP + len(rows) * (height + 2 * _TEXT + _GAP)),
        "white",
    )
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for number, row in enumerate(rows):
        top = _GAP + number * (height + 2 * _TEXT + _GAP)
        draw.text((_GAP, top), row.name, fill=_INK, font=font)
        # The last tile is HR; smaller ones show the same part of the photograph.
        size = tuple(_SCALE * side for side in row.tiles[-1][1].shape[1::-1])
        for column, (title, tile) in enumerate(row.tiles):
            left = _GAP + column * (width + _GAP)
            draw.text((left, top + _TEXT), title, fill=_INK, font=font)
            shown = Image.fromarray(tile).resize(size, Image.Resampling.NEAREST)
            sheet.paste(shown, (left, top + 2 * _TEXT))
    return sheet
