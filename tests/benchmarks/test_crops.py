"""The benchmark of reading's rules: real words by kind of image; windows of the size asked for."""

import numpy as np
import pytest

from benchmarks import crops as benchmark
from tests.conftest import WORDS, record, write_lmdb
from textsr_jax import text
from textsr_jax.errors import UserError
from textsr_jax.images import HR_SIZE
from textsr_jax.reading import Reading


class Reader:
    """Reads nothing; remembers the pictures that it was given to read as they are."""

    def __init__(self):
        self.pictures = []

    def read_enhanced(self, pictures, cut=False):
        self.pictures.append(pictures)
        return [Reading("", 0.5) for _ in pictures]


def test_real_words_are_those_of_training(data_root, tmp_path):
    crops = [{"image": record(word)["image_hr"], "label": word.encode()} for word in WORDS]
    write_lmdb(tmp_path / "crops", crops)
    sets = benchmark.real_words(str(data_root), str(tmp_path / "crops"), 12)
    assert list(sets) == ["train1 LR", "train1 LR, bicubic", "train1 HR", "crops"]
    assert [label for _, label in sets["crops"]] == [text.normalize(word) for word in WORDS]
    assert len(sets["train1 LR"]) == 12 and sets["train1 LR"][0][0].shape == (16, 64, 3)
    assert sets["train1 LR, bicubic"][0][0].shape == sets["train1 HR"][0][0].shape == (32, 128, 3)
    with pytest.raises(UserError, match=r"has no folder train\*"):
        benchmark.real_words(str(tmp_path), str(tmp_path / "crops"), 12)


def test_windows_are_read_in_one_piece_each(monkeypatch):
    # Wider windows than those that `read` would cut once more.
    monkeypatch.setattr(benchmark, "ASPECTS", (7.0, 8.0))
    monkeypatch.setattr(benchmark, "WINDOWS", ((4.0, 1.5), (6.0, 2.0)))
    reader = Reader()
    (row,) = benchmark.wide(reader, 3)
    whole, four, six = reader.pictures
    assert (row["words"], row["one piece"], row["6, 2"]) == (3, 0, 0)
    # Of some 7.5 heights: three windows of four, two of six.
    assert (len(whole), len(four), len(six)) == (3, 9, 6)
    assert all(part.shape[1:] == (HR_SIZE[1], HR_SIZE[0], 3) for part in reader.pictures)
    assert np.abs(six[0].astype(int) - whole[0]).mean() > 5


def test_layouts_are_measured_on_images_of_their_kind():
    class Known:
        """Reads a label; remembers the images."""

        def __init__(self):
            self.shapes = []

        def read(self, images):
            self.shapes.append([image.shape for image in images])
            return [Reading("open", 0.9), *[Reading("", 0.5) for _ in images[1:]]]

    reader = Known()
    words = [(np.zeros((32, 128, 3), np.uint8), label) for label in ("open", "late")]
    rows = {row["what"]: row for row in benchmark.layouts(reader, words, 2)}
    assert len(rows) == len(reader.shapes)
    assert rows["real words, upside down"] == {
        "what": "real words, upside down",
        "words": 2,
        "right": 50,
        "sure and wrong": 0,
    }
    # Texts that are not the label, and sure.
    assert rows["letters below each other"]["sure and wrong"] == 50
    shapes = dict(zip(rows, reader.shapes, strict=True))
    assert shapes["real words, turned left"] == [(128, 32, 3)] * 2
    for name in ("letters below each other", "single letters that are tall"):
        assert all(height > 1.5 * width for height, width, _ in shapes[name])
    assert all(height > 3 * 32 for height, _, _ in shapes["drawn words, blank around"])
    for ground in benchmark.GROUNDS:
        assert all(width > 2 * height for height, width, _ in shapes[f"two words apart, {ground}"])
