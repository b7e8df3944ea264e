"""SR models under judges: what they read is counted exactly, and nothing is read twice."""

import numpy as np
import pytest

from textsr_jax.errors import UserError
from textsr_jax.evaluation import judging
from textsr_jax.evaluation.judging import BICUBIC, HR, Judge, Shown

LABELS = {"easy": ["Open", "2nd", "exit", "café"], "hard": ["no.7", "zoo"]}


def picture(right):
    return np.full((32, 128, 3), right, np.uint8)


def shown(name, source, easy, hard):
    """Images that tell how many words of their split, from the first on, are read rightly."""
    counts = {"easy": easy, "hard": hard}
    images = {
        split: np.stack([picture(counts[split])] * len(words)) for split, words in LABELS.items()
    }
    return Shown(name, source, images)


SHOWN = [
    shown(BICUBIC, "", 2, 1),
    shown("edsr", "a", 4, 1),
    shown("edsr", "b", 3, 1),
    shown("tsrn", "c", 1, 2),
    shown(HR, "", 4, 2),
]


def knowing(name="known", version="1"):
    """A judge that reads as many words as the images say, in another spelling; and its calls."""
    calls = []

    def read(images):
        calls.append({split: int(rows.max()) for split, rows in images.items()})
        return {
            split: [
                word.upper().replace("É", "E") + "!" if number < rows.max() else "?"
                for number, word in enumerate(LABELS[split])
            ]
            for split, rows in images.items()
        }

    return Judge(name, version, read), calls


def compared(path, judge):
    return judging.compare(SHOWN, [judge], LABELS, judging.Readings(path))


def test_accuracies_and_gains_are_those_of_what_is_read(tmp_path):
    rows = compared(tmp_path / "words.json", knowing()[0])
    figures = [(row["sr"], row["splits"], row["mean"], row.get("gain")) for row in rows]
    assert figures == [
        (BICUBIC, {"easy": 50, "hard": 50}, 50, None),
        ("edsr", {"easy": 100, "hard": 50}, 75, 25),
        ("edsr", {"easy": 75, "hard": 50}, 62.5, 12.5),
        ("tsrn", {"easy": 25, "hard": 100}, 62.5, 12.5),
        (HR, {"easy": 100, "hard": 100}, 100, None),
    ]
    # Of four words two are turned right: the variance of a word is 1/4; on hard none changes.
    assert rows[1]["error"] == pytest.approx(100 * np.sqrt(0.25 / 4) / 2)
    edsr, tsrn = judging.over_seeds(rows)
    assert (edsr["sr"], edsr["trainings"], edsr["mean"], edsr["gain"]) == ("edsr", 2, 68.75, 18.75)
    assert edsr["deviation"] == pytest.approx(12.5 / np.sqrt(2))
    assert (tsrn["sr"], tsrn["gain"], tsrn["deviation"], tsrn["strength"]) == (
        "tsrn",
        12.5,
        None,
        100,
    )


def test_nothing_is_read_twice(tmp_path):
    path = tmp_path / "words.json"
    judge, calls = knowing()

    def stopped(images):
        if len(calls) == 2:
            raise KeyboardInterrupt
        return judge.read(images)

    with pytest.raises(KeyboardInterrupt):
        compared(path, Judge("known", "1", stopped))
    assert len(calls) == 2
    rows = compared(path, judge)
    # The first two are known; the other three are read now.
    assert calls[2:] == [{"easy": 3, "hard": 1}, {"easy": 1, "hard": 2}, {"easy": 4, "hard": 2}]
    again, more = knowing()
    assert compared(path, again) == rows and not more
    other, more = knowing(version="2")
    assert compared(path, other) == rows and len(more) == 5
    path.write_text("[")
    with pytest.raises(UserError, match=r"words\.json: cannot read it"):
        judging.Readings(path)
