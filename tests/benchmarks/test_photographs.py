"""The comparison on whole photographs: labels, which texts count, and what is wanted."""

import json

import numpy as np
import pytest
from PIL import Image

from benchmarks import photographs
from textsr_jax.errors import UserError


def box(left, top, width=40, height=10):
    return np.array([left, top, left + width, top + height], float)


def labelled(*words):
    image = np.zeros((100, 200, 3), np.uint8)
    return photographs.Photograph(image, list(words))


def test_a_folder_gives_its_photographs_with_words_that_have_letters(tmp_path):
    Image.new("RGB", (80, 60), "red").save(tmp_path / "b.png")
    labels = {"b.png": [["Café", [1, 2, 30, 12]], ["&", [40, 2, 50, 12]]], "a.png": []}
    Image.new("RGB", (8, 6)).save(tmp_path / "a.png")
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    first, second = photographs.labelled(str(tmp_path))
    assert first.image.shape == (6, 8, 3) and first.words == []
    ((word, place),) = second.words
    assert word == "cafe" and place.tolist() == [1, 2, 30, 12]
    assert len(photographs.labelled(str(tmp_path), 1)) == 1
    half = photographs.reduced(second, 2)
    assert half.image.shape == (30, 40, 3) and half.words[0][1].tolist() == [0.5, 1, 15, 6]


@pytest.mark.parametrize("content", ["[]", "{}", '{"a.png": [["x", [1, 2, 3]]]}', "words"])
def test_other_labels_are_refused(tmp_path, content):
    (tmp_path / "labels.json").write_text(content)
    with pytest.raises(UserError, match=r"labels\.json: must be \{file: \[\[word"):
        photographs.labelled(str(tmp_path))


def test_a_text_counts_once_and_where_its_word_is():
    labels = [("not", box(0, 0)), ("not", box(100, 0)), ("far", box(0, 50)), ("one", box(60, 50))]
    words = [
        ("not", box(5, 1)),
        ("far", box(100, 90)),
        # A line's box, which is much wider than the word, shows it.
        ("one", box(0, 50, 150, 12)),
    ]
    assert list(photographs.matches(labels, words)) == [(0, 0), (3, 2)]


def test_shares_are_of_all_words_of_all_photographs(monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr(photographs.time, "process_time", lambda: next(clock))
    pages = [
        labelled(("a", box(0, 0)), ("b", box(100, 0))),
        labelled(("c", box(0, 0)), ("d", box(0, 50))),
    ]
    texts = iter(
        [
            [],  # before the clock starts
            [("a", box(0, 0)), ("x", box(100, 0)), ("", box(0, 90))],
            [("c", box(0, 0)), ("d", box(150, 50))],
        ]
    )
    found = photographs.measure(lambda image: next(texts), pages)
    assert found == {"n": 4, "found": 75.0, "read": 50.0, "right": 50.0, "seconds": 1.0}


def test_the_end_says_what_was_met(capsys):
    def row(finder, read, seconds):
        about = {"photographs": "set", "size": "half", "finder": finder, "n": 9, "found": 80.0}
        return about | {"read": read, "right": 60.0, "seconds": seconds}

    peer = row(photographs.PEER, 70.0, 2.0)
    for read, seconds, met in ((71.0, 3.0, "met"), (70.0, 1.0, "not met"), (80.0, 3.1, "not met")):
        photographs._print([peer, row(photographs.OURS, read, seconds)])
        line = capsys.readouterr().out.splitlines()[-1]
        assert line.startswith(f"set, half: {read - 70:+.1f} points, {seconds / 2:.2f} times")
        assert line.endswith(f": {met}")
