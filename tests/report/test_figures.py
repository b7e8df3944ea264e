"""Pictures: tiles stand where they should, right letters are green and wrong ones red."""

import numpy as np
from PIL import Image

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
