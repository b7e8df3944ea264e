"""Pictures of results: test words with what was read below, and details of photographs.

Each stands in a row: LR, bicubic, SR, HR.
"""

import difflib
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from textsr_jax import text
from textsr_jax.evaluation.photographs import Detail
from textsr_jax.storage import atomic

_SCALE = 2
_WIDTH, _HEIGHT = 128 * _SCALE, 32 * _SCALE
_TEXT, _GAP, _HEADER = 22, 8, 26
_RIGHT, _WRONG, _INK = (0, 130, 40), (205, 30, 30), (40, 40, 40)


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


def _tile(image: np.ndarray) -> Image.Image:
    height, width = image.shape[:2]
    size = _WIDTH, _HEIGHT
    if width * _HEIGHT > height * _WIDTH:
        size = _WIDTH, max(1, round(_WIDTH * height / width))
    elif height > width:
        size = max(1, round(_HEIGHT * width / height)), _HEIGHT
    # Pixels show as they are; those that there are too many of are averaged.
    smaller = width > size[0] or height > size[1]
    filter = Image.Resampling.BICUBIC if smaller else Image.Resampling.NEAREST
    return Image.fromarray(image).resize(size, filter)


def _draw_word(
    draw: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont,
    place: tuple[int, int],
    word: str,
    label: str | None,
) -> None:
    colors = [_INK] * len(word)
    if label is not None:
        colors = [_WRONG] * len(word)
        matcher = difflib.SequenceMatcher(None, word, text.normalize(label), autojunk=False)
        for block in matcher.get_matching_blocks():
            colors[block.a : block.a + block.size] = [_RIGHT] * block.size
    left, top = place
    for character, color in zip(word, colors, strict=True):
        draw.text((left, top), character, fill=color, font=font)
        left += draw.textlength(character, font=font)
    if not word:
        draw.text((left, top), "(nothing read)", fill=_WRONG, font=font)


def write_sheets(
    folder: str | pathlib.Path,
    lr: Mapping[str, np.ndarray],
    columns: Sequence[tuple[str, Mapping[str, np.ndarray], Mapping[str, Sequence[str]]]],
    labels: Mapping[str, Sequence[str]],
    count: int = 10,
) -> list[pathlib.Path]:
    """Writes `<split>.png` into `folder` for each split: `count` words spread over the split.

    Args:
      lr: LR images of each split, uint8 (n, 16, 64, 3).
      columns: (title, images of each split, words read in each split).
      labels: of each split.

    Raises:
      UserError: the folder cannot be written.
    """
    folder, paths = pathlib.Path(folder), []
    for split, truth in labels.items():
        chosen = np.unique(np.linspace(0, len(truth) - 1, min(count, len(truth))).astype(int))
        shown = [("LR", lr[split][chosen], None)]
        for title, images, words in columns:
            shown.append((title, images[split][chosen], [words[split][row] for row in chosen]))
        path = folder / f"{split}.png"
        sheet = word_sheet(shown, [truth[row] for row in chosen])
        with atomic.replacing(path, parents=True, fix="name another --out") as stream:
            sheet.save(stream, format="PNG")
        paths.append(path)
    return paths


def write_details(folder: str | pathlib.Path, details: Mapping[str, Sequence[Detail]]) -> None:
    """Writes a picture for each name into `folder`: a row per photograph, its tiles alike in size.

    Raises:
      UserError: the folder cannot be written.
    """
    folder = pathlib.Path(folder)
    for number, (name, rows) in enumerate(details.items(), 1):
        # The name may be a path.
        path = folder / f"{number}_{pathlib.Path(name).name}.png"
        with atomic.replacing(path, parents=True, fix="name another --out") as stream:
            _detail_sheet(rows).save(stream, format="PNG")


def _detail_sheet(rows: Sequence[Detail]) -> Image.Image:
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
            tile = Image.fromarray(tile).resize(size, Image.Resampling.NEAREST)
            sheet.paste(tile, (left, top + 2 * _TEXT))
    return sheet
