"""Readings as lines: each format has its own escapes, and says what could not be read."""

import dataclasses
import json

from textsr_jax.report import readings


@dataclasses.dataclass(frozen=True)
class Item:
    source: str
    error: str = ""


@dataclasses.dataclass(frozen=True)
class Reading:
    text: str
    confidence: float
    abstained: bool = False


def test_text_is_for_people():
    assert readings.line(Item("9.png"), Reading("open", 0.93), "text") == "9.png: open (93 %)"
    assert readings.line(Item("9.png"), Reading("", 0.5), "text") == "9.png: (nothing) (50 %)"
    left_out = Reading("", 0.5, abstained=True)
    assert readings.line(Item("9.png"), left_out, "text") == "9.png: (not sure enough) (50 %)"
    assert readings.line(Item("9.png", "no such file"), None, "text") == ""


def test_tsv_is_for_tables():
    line = readings.line(Item("a\tb\n.png"), Reading("x", 1.0), "tsv")
    assert line == "a\\tb\\n.png\tx\t1.0000"


def test_jsonl_is_for_programs():
    line = readings.line(Item("a\n.png"), Reading("x", 0.5), "jsonl")
    assert json.loads(line) == {"source": "a\n.png", "text": "x", "confidence": 0.5}
    line = readings.line(Item("a.png"), Reading("", 0.5, abstained=True), "jsonl")
    assert json.loads(line) == {
        "source": "a.png",
        "text": "",
        "confidence": 0.5,
        "abstained": True,
    }
    line = readings.line(Item("a.png", "a.png: no such file"), None, "jsonl")
    assert json.loads(line) == {
        "source": "a.png",
        "text": None,
        "confidence": None,
        "error": "a.png: no such file",
    }


def test_complaints_are_one_line():
    assert readings.error_line(Item("a", "a\n: no such file")) == r"error: a\n: no such file"
    warning = readings.photograph_line(Item("a\nb.jpg"))
    assert warning.startswith(r"warning: a\nb.jpg: seems to be a whole photograph")
    assert "\n" not in warning
