"""The comparison of enlarged photographs: what is halved, where words are, and their means."""

import numpy as np
import pytest
from PIL import Image

from benchmarks import enhancing
from benchmarks.labelled_photographs import Photograph


def test_words_are_compared_where_they_are_with_the_photograph_that_was_halved():
    image = np.random.default_rng(0).integers(0, 256, (65, 129, 3)).astype(np.uint8)
    boxes = [np.array([10, 20, 50, 40], float), np.array([64, 8, 120, 60], float)]
    photograph = Photograph(image, [("one", boxes[0]), ("two", boxes[1])])

    def off_in_the_first_word(small, page):
        assert small.shape == (32, 64, 3) and (page.height, page.width) == (32, 64)
        assert page.words[0].box.tolist() == [[5, 10], [25, 10], [25, 20], [5, 20]]
        made = image[:64, :128].copy()
        made[30, 30] ^= 16
        return made

    scores = list(enhancing.measure(photograph, 1, 2, {"way": off_in_the_first_word}))
    # 16 levels off in one of 20 x 40 pixels; a word without an error counts as 78 dB.
    assert scores == [
        [10, pytest.approx(10 * np.log10(255**2 / (256 / 800)))],
        [26, pytest.approx(10 * np.log10(255**2 / 1e-3))],
    ]


def test_means_are_of_all_words_and_of_each_height():
    scores = np.array([[10.0, 20, 22], [12, 30, 32], [24, 25, 29]])
    rows = list(enhancing.means(scores, ("a", "b")))
    assert [(row["height"], row["n"]) for row in rows] == [
        ("all", 3),
        ("from 8", 2),
        ("from 24", 1),
    ]
    assert rows[0]["psnr"] == {"a": 25, "b": pytest.approx(83 / 3)}
    assert rows[1]["psnr"] == {"a": 25, "b": 27}


def test_photographs_are_halved_and_quartered_as_they_are_compared():
    image = np.asarray(Image.linear_gradient("L").resize((80, 60)).convert("RGB"))
    photograph = Photograph(image, [("word", np.array([8, 8, 40, 40], float))])
    shapes = []

    def way(small, page):
        shapes.append(small.shape[:2])
        return np.zeros((2 * page.height, 2 * page.width, 3), np.uint8)

    for truth, given in ((1, 2), (2, 4)):
        assert len(list(enhancing.measure(photograph, truth, given, {"way": way}))) == 1
    assert shapes == [(30, 40), (15, 20)]
