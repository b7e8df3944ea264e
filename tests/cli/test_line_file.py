"""Lines in a file: a stopped run goes on, and what was torn is redone."""

import json
import pathlib

import pytest

from tests.conftest import files_up_to
from textsr_jax.cli.line_file import LineFile
from textsr_jax.errors import UserError


def word(source, text):
    return f"{source}\t{text}\t0.9"


def test_a_run_knows_what_an_earlier_one_wrote(tmp_path):
    place = str(tmp_path / "lines")
    first = LineFile(place, "jsonl")
    assert not first.done
    first.write(json.dumps({"source": "a\tb", "words": []}))
    first.write(json.dumps({"source": "c", "error": "no such file"}))
    first.close()
    second = LineFile(place, "jsonl")
    assert second.done == {r"a\tb": 1, "c": 1} and second.bad == 1
    second.write(json.dumps({"source": "d", "words": []}))
    second.close()
    lines = pathlib.Path(place).read_text().splitlines()
    assert [json.loads(line)["source"] for line in lines] == ["a\tb", "c", "d"]


def test_a_torn_line_is_cut_off(tmp_path):
    place = tmp_path / "lines"
    whole = '{"source": "a"}\n'
    place.write_text(whole + '{"source": "b", "wo')
    file = LineFile(str(place), "jsonl")
    assert file.done == {"a": 1}
    file.write('{"source": "b"}')
    file.close()
    assert place.read_text() == whole + '{"source": "b"}\n'


def test_a_torn_photograph_loses_all_its_words(tmp_path):
    place = tmp_path / "lines"
    lines = [word("a", "x"), word("a", "y"), word("b", "x"), word("b", "y")]
    place.write_text("\n".join(lines))
    file = LineFile(str(place), "tsv")
    assert file.done == {"a": 1}
    file.close()
    assert place.read_text() == "\n".join(lines[:2]) + "\n"
    place.write_text("\n".join(lines) + "\n")
    assert LineFile(str(place), "tsv").done == {"a": 1, "b": 1}


def test_a_full_disk_leaves_whole_lines(tmp_path):
    place = tmp_path / "lines"
    file = LineFile(str(place), "tsv")
    file.write(word("a", "x"))
    whole = place.read_text()
    with files_up_to(len(whole) + 10), pytest.raises(OSError) as raised:
        file.write("\n".join([word("b", "x")] * 9))
    assert raised.value.filename == str(place)
    assert place.read_text() == whole


@pytest.mark.parametrize(
    ("content", "format", "message"),
    [
        ("", "text", "--format=text does not have; add --format=jsonl"),
        ("diary\n", "jsonl", "line 1 is not one of --format=jsonl; name another file"),
        ('{"source": "a"}\n[]\n', "jsonl", "line 2 is not one"),
        ("diary\n", "tsv", "line 1 is not one of --format=tsv"),
        ("\xff\n", "tsv", "line 1 is not one"),
        ("<?xml ?><title>a</title>\n", "hocr", "line 1 is not one of --format=hocr"),
    ],
)
def test_a_file_of_something_else_is_left_alone(tmp_path, content, format, message):
    place = tmp_path / "lines"
    place.write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError, match=message):
        LineFile(str(place), format)
    assert place.read_bytes() == content.encode("latin-1")


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"--out=.*: Is a directory; name another file in --out"):
        LineFile(str(tmp_path), "jsonl")
