"""Journals: what is measured is kept, and only for what it was measured on."""

import numpy as np
import pytest

from textsr_jax.errors import UserError
from textsr_jax.evaluation.protocol import Row
from textsr_jax.evaluation.quantization.journal import Journal, fingerprint


def never():
    raise AssertionError("measured again")


def test_a_result_is_measured_once(tmp_path):
    folder = tmp_path / "new"
    journal = Journal(folder, "grid", {"data": "words"})
    assert journal.result("4 bits", lambda: [1.5, 2]) == [1.5, 2]
    assert journal.result("4 bits", never) == [1.5, 2]
    assert Journal(folder, "grid", {"data": "words"}).result("4 bits", never) == [1.5, 2]


def test_every_subject_keeps_its_own(tmp_path):
    for _ in range(2):
        words, others = (Journal(tmp_path, "grid", {"data": name}) for name in ("words", "others"))
        assert words.result("4 bits", lambda: 1) == 1
        assert others.result("4 bits", lambda: 2) == 2


def test_a_line_that_was_cut_off_is_measured_again(tmp_path):
    journal = Journal(tmp_path, "grid", "subject")
    for key in "ab":
        journal.result(key, lambda: 1)
    journal.path.write_bytes(journal.path.read_bytes()[:-4])
    again = Journal(tmp_path, "grid", "subject")
    assert again.result("a", never) == 1
    assert again.result("b", lambda: 2) == 2
    assert Journal(tmp_path, "grid", "subject").result("b", never) == 2


def test_rows_come_back_without_their_words(tmp_path):
    row = Row("edsr", "fine-tuned", {"easy": {"psnr": 20.5}}, {"psnr": 20.5}, {"easy": ["open"]})
    Journal(tmp_path, "grid", 1).row("x", lambda: row)
    again = Journal(tmp_path, "grid", 1).row("x", never)
    assert again.as_json() == row.as_json() and again.words == {}


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/grid-\w+.jsonl: cannot write it"):
        Journal(tmp_path / "file", "grid", 1)


def test_a_fingerprint_tells_values_and_paths_apart():
    tree = {"a": np.arange(3.0), "b": np.zeros(2)}
    assert fingerprint(tree) == fingerprint({"b": np.zeros(2), "a": np.arange(3.0)})
    assert fingerprint(tree) != fingerprint({"a": np.arange(3.0), "b": np.ones(2)})
    assert fingerprint(tree) != fingerprint({"a": np.arange(3.0), "c": np.zeros(2)})
