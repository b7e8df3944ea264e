"""Pictures: tiles stand where they should, right letters are green and wrong ones red."""

import collections
import dataclasses

import numpy as np
import pytest
from PIL import Image

from textsr_jax.evaluation.photographs import Detail
from textsr_jax.report import figures


def colors(image: Image.Image) -> set[tuple[int, int, int]]:
    return {color for _, color in image.getcolors(1 << 20)}


def sheet(word: str, label: str) -> Image.Image:
    tile = np.zeros((1, 32, 128, 3), np.uint8)
    return figures.word_sheet([("SR", tile, [word])], [label])


def test_letters_are_coloured_by_the_label():
    right, wrong = (0, 130, 40), (205, 30, 30)
    assert right in colors(sheet("open", "OPEN!"))
    assert wrong not in colors(sheet("open", "OPEN!"))
    both = colors(sheet("opeH", "open"))
    assert right in both and wrong in both
    assert right not in colors(sheet("zzz", "open"))
    assert wrong in colors(sheet("", "open"))


def test_a_picture_for_each_split_with_words_spread_over_it():
    lr = {"easy": np.zeros((30, 16, 64, 3), np.uint8), "hard": np.zeros((2, 16, 64, 3), np.uint8)}
    hr = {name: np.full((len(part), 32, 128, 3), 7, np.uint8) for name, part in lr.items()}
    hr["easy"][26] = 99  # the middle of the last quarter is shown
    words = {name: ["w"] * len(part) for name, part in lr.items()}
    sheets = figures.word_sheets(lr, [("HR", hr, words)], words, count=4)
    assert list(sheets) == ["easy", "hard", "words"]
    assert (99, 99, 99) in colors(sheets["easy"])
    assert sheets["easy"].height > sheets["hard"].height


def test_details_of_photographs_stand_in_rows_at_twice_their_size():
    # Colours that no grey text has.
    low, high = np.zeros((4, 6, 3), np.uint8), np.zeros((8, 12, 3), np.uint8)
    low[...], high[...] = (250, 40, 40), (40, 40, 250)
    row = Detail("a.png", [("LR", low), ("HR", high)])
    sheets = figures.detail_sheets({"x/Set5": [row, row], "y/Set5": [row]})
    assert list(sheets) == ["1_Set5", "2_Set5"]
    for sheet, rows in zip(sheets.values(), (2, 1), strict=True):
        pixels = np.asarray(sheet)
        # Both tiles show the same part, so both are 16x24.
        for color in (low[0, 0], high[0, 0]):
            assert (pixels == color).all(axis=-1).sum() == rows * 16 * 24


def test_words_are_chosen_as_often_as_columns_read_them():
    """Of 100 words 70 are read in both columns, 15 in the second alone, 5 in the first, 10 not."""
    labels = [f"Word{n}" for n in range(100)]
    kinds = [(1, 1)] * 70 + [(0, 1)] * 15 + [(1, 0)] * 5 + [(0, 0)] * 10
    order = np.random.default_rng(0).permutation(100)
    kinds = [kinds[number] for number in order]
    readings = [
        [label.lower() if kind[column] else "no" for label, kind in zip(labels, kinds, strict=True)]
        for column in (0, 1)
    ]
    chosen = figures.representative(labels, readings, 20)
    assert chosen == sorted(set(chosen))
    found = collections.Counter(kinds[number] for number in chosen)
    assert found == {(1, 1): 14, (0, 1): 3, (1, 0): 1, (0, 0): 2}
    assert figures.representative(labels, readings, 500) == list(range(100))


def words_of(count, **fields):
    given = np.full((20, 50, 3), (250, 40, 40), np.uint8)
    read = np.full((32, 128, 3), (40, 40, 250), np.uint8)
    word = figures.Word("name.png", given, read, "open", 0.93, None)
    return [dataclasses.replace(word, **fields) for _ in range(count)]


@pytest.mark.parametrize("count", [1, 17, 51, 52, 200])
def test_a_grid_is_a_page_that_shows_every_word(count):
    page = figures.grid(words_of(count))
    assert page.width <= figures.PAGE and page.height <= figures.PAGE
    pixels = np.asarray(page)
    tiles = (pixels == (40, 40, 250)).all(axis=-1).sum() / (32 * 128)
    # Every image as read, all of one size; the given ones beside them.
    assert tiles in (count, 4 * count)
    assert (pixels == (250, 40, 40)).all(axis=-1).sum() > 0.6 * tiles * 32 * 128


def test_a_grid_has_what_was_read_the_confidence_the_name_and_the_label():
    plain = np.asarray(figures.grid(words_of(1))).astype(int)
    for change in ({"text": "shut"}, {"confidence": 0.5}, {"name": "other.png"}, {"label": "open"}):
        other = np.asarray(figures.grid(words_of(1, **change))).astype(int)
        assert other.shape == plain.shape and (other != plain).any(), change
    # A long name keeps its end, within its tile.
    font = figures._font(11)
    short = figures._shortened("a" * 60 + "17.png", font, 128)
    assert short.startswith("...") and short.endswith("17.png") and font.getlength(short) <= 128
    assert figures._shortened("17.png", font, 128) == "17.png"
