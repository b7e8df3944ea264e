"""Reading crops on a worker: rows of results, errors by kind, and tables of a Ray pipeline."""

import pickle

import numpy as np
import pyarrow
import pytest

from tests.conftest import WORDS, png, word_image
from textsr_jax import reading
from textsr_jax.bulk import words
from textsr_jax.bulk.crops import Crop
from textsr_jax.bulk.datasets import _ReadBatch
from textsr_jax.decoding.word_search import Words
from textsr_jax.text import ALPHANUMERIC


class Shades:
    """An engine that reads an image as its shade; it breaks off on batches with white images."""

    alphabet = ALPHANUMERIC

    def enlarge(self, lr):
        return lr.repeat(2, axis=1).repeat(2, axis=2)

    def recognize(self, images, cut, again):
        shades = [int(image.max()) for image in images]
        if 255 in shades:
            raise RuntimeError("white\nis too much")
        texts = [f"shade{shade}" for shade in shades]
        sure = np.full(len(images), np.log(0.5))
        return Words(texts, sure, sure, [np.full(len(one), np.log(0.5)) for one in texts])


def striped(shade: int) -> np.ndarray:
    """A crop in which there is something to read."""
    image = np.zeros((32, 128, 3), np.uint8)
    image[:, ::7] = image[:, 1::7] = shade
    return image


def test_a_bad_crop_costs_no_other():
    shades = [100, 255, 120]
    given = [Crop(f"{shade}", f"f:{shade}", striped(shade)) for shade in shades]
    given.insert(1, Crop("cut", "f:cut", png(word_image("open"))[:60]))
    given.append(Crop("gone", "f:gone", error="f:gone: no such file; name another"))
    given.append(Crop("wide", "f:wide", np.tile(striped(99), (1, 500, 1))))
    rows = [row for some in words.read(reading.Reader(Shades()), given, sr=True) for row in some]
    found = {row.id: row for row in rows}
    assert [row.id for row in rows] == [crop.id for crop in given]
    assert (found["100"].text, found["100"].confidence) == ("shade100", pytest.approx(0.5))
    assert found["120"].text == "shade120" and found["120"].error is None
    assert found["100"].sr.startswith(b"\x89PNG")
    kinds = {id: words.error_kind(row.error) for id, row in found.items() if row.error}
    assert kinds == {
        "255": "RuntimeError: white is too much",
        "cut": "cannot read it (image file is truncated)",
        "gone": "no such file",
        "wide": "the image shows a line of NxN pixels, and at most N times its height is read",
    }
    assert all(row.text is None and row.sr is None for row in rows if row.error)


def test_a_table_of_a_pipeline():
    reader = reading.Reader(Shades())
    given = {
        "source": ["a", "b", "c"],
        "label": WORDS[:3],
        "photo": [b"none", None, png(word_image("open"))],
        "error": [None, "b: lost", None],
    }
    table = _ReadBatch(pickle.dumps(reader), "photo", 0, False)(pyarrow.table(given))
    assert table.column_names == ["source", "label", "text", "confidence", "error"]
    assert table["label"].to_pylist() == WORDS[:3]
    assert table["text"].to_pylist() == [None, None, reader.read(word_image("open")).text]
    assert table["confidence"].to_pylist() == [None, None, pytest.approx(0.5)]
    first, *rest = table["error"].to_pylist()
    assert first.startswith("a: cannot read it (not an image file)")
    assert rest == ["b: lost", None]
