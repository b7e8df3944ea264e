"""The comparison with PP-OCRv4: who reads what, how it is scored, and what was wanted."""

import importlib.util
import sys

import numpy as np
import pytest

from benchmarks import peers
from tests.conftest import record, word_image, write_lmdb
from textsr_jax.errors import UserError
from textsr_jax.reading import Reading

WORDS = ["Open", "2nd", "exit", "no.7"]


def image(number, height=32):
    """A picture that tells its number, as its only grey."""
    return np.full((height, 4 * height, 3), number, np.uint8)


def splits():
    def of(first):
        return {
            kind: [image(first + i, height) for i in range(4)]
            for kind, height in ((peers.LR, 16), (peers.BICUBIC, 32), (peers.HR, 32))
        }

    return [peers.Words("easy", of(0), WORDS), peers.Words("hard", of(10), WORDS)]


class Reader:
    """Reads the words of even numbers; its SR images are brighter by 100."""

    def enhance(self, images):
        return np.stack([image(int(lr.max()) + 100) for lr in images])

    def read(self, images):
        return [Reading(WORDS[i.max() % 10] if i.max() % 2 == 0 else "x", 0.5) for i in images]


class Alone(Reader):
    """Reads the first word only."""

    def read(self, images):
        return [Reading(WORDS[0] if image.max() % 10 == 0 else "x", 0.5) for image in images]


def peer(picture):
    """Reads all SR images, and of the others the first of each split, in its own spelling."""
    number = int(picture.max())
    return WORDS[number % 100 % 10].upper() + "!" if number >= 100 or number % 10 == 0 else ""


def test_each_reader_reads_each_kind_of_images():
    crops = peers.Words("crops", {peers.AS_IS: [image(n) for n in range(4)]}, WORDS)
    rows = peers.compare(peer, {peers.OURS: Reader(), peers.ALONE: Alone()}, splits(), [crops])
    found = {(row["reader"], row["images"], row["words"]): row["accuracy"] for row in rows}
    assert found == {
        (peers.PEER, peers.BICUBIC, "easy"): 25,
        (peers.PEER, peers.BICUBIC, "hard"): 25,
        (peers.PEER, peers.SR, "easy"): 100,
        (peers.PEER, peers.SR, "hard"): 100,
        (peers.PEER, peers.HR, "easy"): 25,
        (peers.PEER, peers.HR, "hard"): 25,
        (peers.PEER, peers.AS_IS, "crops"): 25,
        (peers.OURS, peers.LR, "easy"): 50,
        (peers.OURS, peers.LR, "hard"): 50,
        (peers.OURS, peers.HR, "easy"): 50,
        (peers.OURS, peers.HR, "hard"): 50,
        (peers.OURS, peers.AS_IS, "crops"): 50,
        (peers.ALONE, peers.LR, "easy"): 25,
        (peers.ALONE, peers.LR, "hard"): 25,
        (peers.ALONE, peers.HR, "easy"): 25,
        (peers.ALONE, peers.HR, "hard"): 25,
        (peers.ALONE, peers.AS_IS, "crops"): 25,
    }
    assert all(row["n"] == 4 and row["words_per_s"] > 0 for row in rows)
    # All of one reader's work is done before the other's begins.
    readers = [row["reader"] for row in rows]
    assert readers == sorted(readers)
    mean = peers.means(rows, ["easy", "hard"])
    assert mean[f"{peers.PEER}, {peers.SR}"] == 100
    assert f"{peers.PEER}, {peers.AS_IS}" not in mean
    gain, alone, help_, words, words_alone = peers.targets(rows, mean)
    assert (gain["reached"], gain["met"]) == (25, True)
    assert (alone["reached"], alone["met"]) == (0, False)
    assert (help_["reached"], help_["met"]) == (75, True)
    assert (words["reached"], words["met"]) == (50, False)
    assert (words_alone["reached"], words_alone["what"]) == (25, f"{peers.ALONE}, crops, %")
    # Models without a language weight read once.
    rows = peers.compare(peer, {peers.OURS: Reader()}, splits(), [])
    assert {row["reader"] for row in rows} == {peers.PEER, peers.OURS}
    assert len(peers.targets(rows, peers.means(rows, ["easy", "hard"]))) == 2


def test_the_mean_is_the_plain_one_over_splits():
    rows = [
        {"reader": "a", "images": "b", "words": words, "accuracy": accuracy, "n": n}
        for words, accuracy, n in (("easy", 90.0, 1000), ("hard", 30.0, 10), ("other", 1.0, 5))
    ]
    assert peers.means(rows, ["easy", "hard"]) == {"a, b": 60.0}


def test_test_splits_are_opened_with_their_bicubic_images(data_root, tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    easy, hard = peers.low_resolution(str(data_root), limit=5)
    assert (easy.name, hard.name) == ("easy", "hard")
    assert easy.labels == ["open", "2nd", "exit", "Cafe", "taxi"]
    hr = np.asarray(word_image("open"))
    np.testing.assert_array_equal(easy.images[peers.HR][0], hr)
    assert easy.images[peers.LR][0].shape == (16, 64, 3)
    bicubic = easy.images[peers.BICUBIC][0]
    assert bicubic.shape == hr.shape
    assert 0 < np.abs(bicubic.astype(int) - hr).mean() < 20


def test_labelled_crops(tmp_path):
    records = [{"image": record(word)["image_hr"], "label": word.encode()} for word in WORDS]
    write_lmdb(tmp_path / "crops", records)
    words = peers.labelled(str(tmp_path / "crops"), limit=3)
    assert (words.name, words.labels) == ("crops", WORDS[:3])
    np.testing.assert_array_equal(words.images[peers.AS_IS][1], np.asarray(word_image("2nd")))
    with pytest.raises(UserError, match="nowhere"):
        peers.labelled(str(tmp_path / "nowhere"))
    word_image("a").save(tmp_path / "a.png")
    with pytest.raises(UserError, match="without labels"):
        peers.labelled(str(tmp_path))


@pytest.mark.skipif(
    importlib.util.find_spec("rapidocr_onnxruntime") is None, reason="RapidOCR is an extra"
)
def test_pp_ocr_reads_a_clear_word():
    assert peers.pp_ocr(2)(np.asarray(word_image("hotel"))).lower() == "hotel"


def test_rapidocr_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "rapidocr_onnxruntime", None)
    with pytest.raises(UserError, match="not installed"):
        peers.pp_ocr(2)
