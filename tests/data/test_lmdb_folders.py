"""Which records an LMDB holds, whatever it says of their number; damaged LMDBs."""

import pathlib
import tempfile

import lmdb
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from textsr_jax.data import lmdb_folders
from textsr_jax.data.lmdb_folders import open_samples
from textsr_jax.errors import UserError

FIELDS = ("image", "image_hr", "image_lr", "label")


def write(folder: pathlib.Path, values: dict[bytes, bytes]) -> pathlib.Path:
    folder.mkdir(parents=True, exist_ok=True)
    with (
        lmdb.open(str(folder), map_size=1 << 24) as environment,
        environment.begin(write=True) as transaction,
    ):
        for key, value in values.items():
            transaction.put(key, value)
    return folder


def fields(*numbers: int) -> dict[bytes, bytes]:
    """Records of the benchmarks with these numbers."""
    names = ("image", "label")
    return {f"{name}-{number:09d}".encode(): b"x" for number in numbers for name in names}


def opened(place: pathlib.Path) -> tuple[list[int], str]:
    with open_samples(place, "expected keys such as label-000000001") as samples:
        return list(samples.numbers), samples.complaint


KEYS = st.sets(
    st.one_of(
        st.tuples(st.sampled_from(FIELDS), st.integers(0, 12)),
        st.tuples(st.sampled_from(FIELDS), st.integers(0, 999_999_999)),
        # Not of a record, and what sorts next to such keys.
        st.sampled_from(
            [b"meta", b"label-", b"image-x", b"image_lr-0000000001", b"label.", b"\xff"]
        ),
    )
)


# As many other keys as gaps.
@example({b"meta", ("image", 0), ("image", 2)}, None)
@settings(max_examples=60)
@given(KEYS, st.one_of(st.none(), st.binary(max_size=30), st.integers().map(lambda n: b"%d" % n)))
def test_the_records_that_are_there_are_found(keys, count):
    named = {
        key if isinstance(key, bytes) else b"%s-%09d" % (key[0].encode(), key[1]) for key in keys
    }
    values = dict.fromkeys(named, b"x") | ({} if count is None else {b"num-samples": count})
    with tempfile.TemporaryDirectory() as folder:
        numbers, complaint = opened(write(pathlib.Path(folder), values))
    assert numbers == sorted({key[1] for key in keys if isinstance(key, tuple)})
    try:
        right = count is not None and int(count) == len(numbers)
    except ValueError:
        right = False
    if right:
        # Some ways to write a number are odd enough to be told.
        assert not complaint or not count.strip().isdigit()
    else:
        assert f"{len(numbers)} records are there" in complaint
    assert complaint.isascii() and complaint.isprintable() and len(complaint) < 200


@pytest.mark.parametrize(
    ("count", "complaint"),
    [
        (b"3", ""),
        (b" 3\n", ""),
        (b"0", "its num-samples is '0'; 3 records are there (numbers 0 to 2) and are all read"),
        (b"2", "its num-samples is '2'; 3 records are there (numbers 0 to 2) and are all read"),
        (b"-3", "its num-samples is '-3'; 3 records are there (numbers 0 to 2) and are all read"),
        (b"%d" % 10**12, "its num-samples is '1000000000000'; 3 records are there "),
        (b"%d" % 10**30, "its num-samples is '100000000000000000000000...'; 3 records are there "),
        (b"\x1b[2J\n", r"its num-samples is '\x1b[2J\n'; 3 records are there "),
        (None, "has no key num-samples; 3 records are there (numbers 0 to 2) and are all read"),
    ],
)
def test_records_counted_from_0_whatever_is_said_of_their_number(tmp_path, count, complaint):
    values = fields(0, 1, 2) | ({} if count is None else {b"num-samples": count})
    numbers, told = opened(write(tmp_path, values))
    assert numbers == [0, 1, 2]
    assert told.startswith(complaint) if complaint else told == ""


def test_the_file_itself_can_be_named_whatever_its_name(tmp_path):
    write(tmp_path, fields(1, 2) | {b"num-samples": b"2"})
    assert opened(tmp_path / "data.mdb") == opened(tmp_path) == ([1, 2], "")
    (tmp_path / "data.mdb").rename(tmp_path / "words.lmdb")
    assert opened(tmp_path / "words.lmdb") == ([1, 2], "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lock.mdb", "words.lmdb"]


def test_damaged_files_are_read_or_refused_in_one_line(tmp_path):
    """Bytes changed at random, more of them where pages begin; the library alone would crash."""
    extra = {b"meta": b"x" * 5000}
    whole = write(tmp_path / "whole", fields(*range(1, 200)) | extra | {b"num-samples": b"199"})
    content = np.frombuffer((whole / "data.mdb").read_bytes(), np.uint8)
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        damaged = content.copy()
        places = rng.integers(len(content), size=20)
        places[::2] = places[::2] // 4096 * 4096 + rng.integers(64, size=10)
        damaged[places] = rng.integers(256, size=20)
        (tmp_path / "data.mdb").write_bytes(damaged.tobytes())
        try:
            with open_samples(tmp_path, "expected such keys") as samples:
                for number in samples.numbers:
                    samples.get("label", number)
        except UserError as error:
            refused += 1
            assert str(tmp_path / "data.mdb") in str(error) and "\n" not in str(error)
    assert refused > 0


@pytest.mark.parametrize("gap", [False, True])
def test_the_ends_of_millions_of_keys_tell_their_numbers_where_there_is_no_gap(
    tmp_path, monkeypatch, gap
):
    monkeypatch.setattr(lmdb_folders, "_SCANNED", 8)
    numbers = [number for number in range(1, 12) if not gap or number != 5]
    assert opened(write(tmp_path, fields(*numbers)))[0] == numbers
