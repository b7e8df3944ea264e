"""Entries of JAX's cache: spoiled ones go, sound ones stay."""

import zlib

import pytest

from textsr_jax.runtime import compiled_entries

SOUND = zlib.compress(bytes(range(256)) * 99)


@pytest.fixture
def entry(tmp_path):
    path = tmp_path / "jit_f-0123-cache"
    path.write_bytes(SOUND)
    return path


HARM = {
    "cut short": SOUND[:-9],
    "nothing": b"",
    "zeros at its end": SOUND[:-40] + bytes(40),
    "a flipped bit": SOUND[:50] + bytes([SOUND[50] ^ 4]) + SOUND[51:],
    "more behind it": SOUND + b"x",
    "Zstandard, cut": b"\x28\xb5\x2f\xfd\x00",
}


@pytest.mark.parametrize("harmed", HARM.values(), ids=HARM)
@pytest.mark.parametrize("seen", [True, False])
def test_a_spoiled_entry_is_removed(harmed, seen, entry):
    if seen:
        compiled_entries.remove_spoiled(entry.parent)
    entry.write_bytes(harmed)
    compiled_entries.remove_spoiled(entry.parent)
    assert not entry.exists()
    entry.write_bytes(SOUND)
    compiled_entries.remove_spoiled(entry.parent)
    assert entry.read_bytes() == SOUND


def test_another_sound_entry_in_its_place_is_removed(entry):
    compiled_entries.remove_spoiled(entry.parent)
    entry.write_bytes(zlib.compress(b"another function"))
    compiled_entries.remove_spoiled(entry.parent)
    assert not entry.exists()


def test_nothing_is_written_where_nothing_changed(entry):
    compiled_entries.remove_spoiled(entry.parent)
    before = {path.name: path.stat().st_mtime_ns for path in entry.parent.iterdir()}
    compiled_entries.remove_spoiled(entry.parent)
    assert before == {path.name: path.stat().st_mtime_ns for path in entry.parent.iterdir()}


@pytest.mark.parametrize("digests", ["", "[", "[]", "{}"])
def test_damaged_digests_are_made_again(digests, entry):
    compiled_entries.remove_spoiled(entry.parent)
    (entry.parent / "digests.json").write_text(digests)
    compiled_entries.remove_spoiled(entry.parent)
    assert entry.exists()


def test_the_oldest_go_where_there_are_many(entry, monkeypatch):
    import os

    monkeypatch.setattr(compiled_entries, "_MOST_BYTES", 2 * len(SOUND))
    others = [entry.with_name(f"jit_{name}-cache") for name in "abc"]
    for age, path in enumerate(others):
        path.write_bytes(SOUND)
        os.utime(path, (age, age))
    compiled_entries.remove_spoiled(entry.parent)
    assert [path.exists() for path in (entry, *others)] == [True, False, False, True]
