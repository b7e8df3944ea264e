"""Pictures: tiles stand where they should, right letters are green and wrong ones red."""

import numpy as np
import pytest
from PIL import Image

from textsr_jax.errors import UserError
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


def test_a_picture_for_each_split_with_words_spread_over_it(tmp_path):
    lr = {"easy": np.zeros((30, 16, 64, 3), np.uint8), "hard": np.zeros((2, 16, 64, 3), np.uint8)}
    hr = {name: np.full((len(part), 32, 128, 3), 7, np.uint8) for name, part in lr.items()}
    hr["easy"][29] = 99  # the last word is among those shown
    words = {name: ["w"] * len(part) for name, part in lr.items()}
    paths = figures.write_sheets(tmp_path / "pictures", lr, [("HR", hr, words)], words, count=4)
    assert [path.name for path in paths] == ["easy.png", "hard.png"]
    with Image.open(paths[0]) as easy, Image.open(paths[1]) as hard:
        assert (99, 99, 99) in colors(easy.convert("RGB"))
        assert easy.height > hard.height


def test_details_of_photographs_stand_in_rows_at_twice_their_size(tmp_path):
    # Colours that no grey text has.
    low, high = np.zeros((4, 6, 3), np.uint8), np.zeros((8, 12, 3), np.uint8)
    low[...], high[...] = (250, 40, 40), (40, 40, 250)
    row = Detail("a.png", [("LR", low), ("HR", high)])
    figures.write_details(tmp_path / "made", {"x/Set5": [row, row], "y/Set5": [row]})
    paths = sorted((tmp_path / "made").iterdir())
    assert [path.name for path in paths] == ["1_Set5.png", "2_Set5.png"]
    for path, rows in zip(paths, (2, 1), strict=True):
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
        # Both tiles show the same part, so both are 16x24.
        for color in (low[0, 0], high[0, 0]):
            assert (pixels == color).all(axis=-1).sum() == rows * 16 * 24


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    row = Detail("a.png", [("HR", np.zeros((8, 8, 3), np.uint8))])
    with pytest.raises(UserError, match=r"1_Set5.png: cannot write it"):
        figures.write_details(tmp_path / "file" / "made", {"Set5": [row]})
