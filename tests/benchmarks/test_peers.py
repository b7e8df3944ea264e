"""The comparison of readers: who reads what, how it is scored, and what was wanted."""

import numpy as np
import pytest

from benchmarks import peers
from tests.conftest import record, word_image, write_lmdb
from textsr_jax.errors import UserError
from textsr_jax.evaluation.gains import mean_gains
from textsr_jax.evaluation.word_readers import OURS, V6_SMALL, WordReader, our_reader
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
    """Reads the words of even numbers, case and all; its SR images are brighter by 100."""

    def enhance(self, images):
        return np.stack([image(int(lr.max()) + 100) for lr in images])

    def read_enhanced(self, images):
        return self.read(images)

    def read(self, images):
        return [Reading(WORDS[i.max() % 10] if i.max() % 2 == 0 else "x", 0.5) for i in images]


def second(picture):
    """Reads all SR images but the first, and of the others the first two, in its own spelling."""
    number, sr = int(picture.max()) % 100 % 10, picture.max() >= 100
    return WORDS[number].upper() + "!" if (number > 0 if sr else number < 2) else ""


def all_rows():
    crops = peers.Words("crops", {peers.AS_IS: [image(n) for n in range(4)]}, WORDS)
    readers = [
        WordReader("b", second, 2.5),
        our_reader(OURS, Reader(), 1.5),
    ]
    return peers.compare(readers, Reader().enhance, splits(), [crops])


def test_each_judge_reads_each_kind_of_images():
    rows, gains = all_rows()
    found = {
        (row["reader"], row["images"], row["words"]): (row["accuracy"], row["as_written"])
        for row in rows
    }
    assert found == {
        ("b", peers.BICUBIC, "easy"): (50, 0),
        ("b", peers.BICUBIC, "hard"): (50, 0),
        ("b", peers.SR, "easy"): (75, 0),
        ("b", peers.SR, "hard"): (75, 0),
        ("b", peers.HR, "easy"): (50, 0),
        ("b", peers.HR, "hard"): (50, 0),
        ("b", peers.AS_IS, "crops"): (50, 0),
        (OURS, peers.BICUBIC, "easy"): (50, 50),
        (OURS, peers.BICUBIC, "hard"): (50, 50),
        (OURS, peers.SR, "easy"): (50, 50),
        (OURS, peers.SR, "hard"): (50, 50),
        (OURS, peers.HR, "easy"): (50, 50),
        (OURS, peers.HR, "hard"): (50, 50),
        (OURS, peers.LR, "easy"): (50, 50),
        (OURS, peers.LR, "hard"): (50, 50),
        (OURS, peers.AS_IS, "crops"): (50, 50),
    }
    assert all(row["n"] == 4 and row["words_per_s"] > 0 for row in rows)
    # All of one judge's work is done before the next begins.
    names = [row["reader"] for row in rows]
    assert names == sorted(names)
    # SR turns two words right and one wrong.
    assert [(one["reader"], one["helped"], one["hurt"], one["points"]) for one in gains] == [
        ("b", 2, 1, 25),
        ("b", 2, 1, 25),
        (OURS, 0, 0, 0),
        (OURS, 0, 0, 0),
    ]


def test_targets_stand_beside_what_was_reached():
    rows, gains = all_rows()
    rows = [row | {"reader": V6_SMALL} if row["reader"] == "b" else row for row in rows]
    gains = [one | {"reader": V6_SMALL} if one["reader"] == "b" else one for one in gains]
    found = peers.targets(peers.means(rows, ["easy", "hard"]), mean_gains(gains))
    assert [(row["what"], row["target"], row["reached"], row["met"]) for row in found] == [
        ("ours, LR, %", 82.5, 50, False),
        ("ours, HR, %", 94, 50, False),
        ("ours, LR above PP-OCRv6 small on bicubic, points", 5, 0, False),
        ("PP-OCRv6 small on our SR images above bicubic, points", 1.5, 25, True),
        ("ours on our SR images above bicubic, points", 0, 0, True),
    ]
    # Without splits nothing is wanted.
    assert peers.targets({}, {}) == []


def test_the_mean_is_the_plain_one_over_splits():
    rows = [
        {"reader": "a", "images": "b", "words": words, "accuracy": accuracy, "as_written": 10.0}
        for words, accuracy in (("easy", 90.0), ("hard", 30.0), ("other", 1.0))
    ]
    assert peers.means(rows, ["easy", "hard"]) == {"a": {"b": {"accuracy": 60, "as_written": 10}}}


def test_tables_and_plot_of_a_record():
    rows, gains = all_rows()
    mean, gained = peers.means(rows, ["easy", "hard"]), mean_gains(gains)
    results = {
        "judges": [{"name": "b", "megabytes": 2.5}, {"name": OURS, "megabytes": None}],
        "splits": ["easy", "hard"],
        "others": ["crops"],
        "rows": rows,
        "means": mean,
        "gains": gains,
        "mean_gains": gained,
        "targets": peers.targets(mean, gained),
    }
    words, sizes, wanted = peers._tables(results)
    cells = [list(column.cells) for column in words.columns]
    assert cells[0] == ["b"] * 3 + [OURS] * 4
    assert cells[4] == ["50.0", "75.0", "50.0", "50.0", "50.0", "50.0", "50.0"]
    assert cells[6] == ["", "+25.0", "", "", "+0.0", "", ""]
    assert [list(column.cells) for column in sizes.columns][:3] == [
        ["b", OURS],
        ["2.5", "-"],
        ["50.0", "50.0"],
    ]
    assert len(wanted.rows) == 4
    texts = [text.get_text() for text in peers.plot(results).axes[0].texts]
    assert texts == ["b  +25.0", "ours  +0.0"]


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
