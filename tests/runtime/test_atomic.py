"""Files are written whole or not at all: on a full disk, after an error, and when killed."""

import errno
import json
import multiprocessing
import os
import resource
import signal
import stat
import subprocess
import sys
import time

import numpy as np
import pytest

from textsr_jax.errors import UserError
from textsr_jax.runtime import atomic


@pytest.fixture
def small_files():
    """No file may grow above 5,000 bytes: writing fails as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "new" / "file"
    atomic.write_text(path, "café\n", parents=True)
    assert path.read_bytes() == "café\n".encode()
    atomic.write_bytes(path, b"later")
    assert path.read_bytes() == b"later"
    assert names(path.parent) == ["file"]


def test_the_umask_gives_the_mode(tmp_path):
    before = os.umask(0o027)
    try:
        atomic.write_bytes(tmp_path / "file", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


def test_a_link_stays_one(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "file")
    atomic.write_bytes(tmp_path / "link", b"through")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "file").read_bytes() == b"through"


def write_bytes(path):
    atomic.write_bytes(path, bytes(6000))


def write_array(path):
    # NumPy hands the array over in one piece, and raises an OSError without a number.
    with atomic.replacing(path) as stream:
        np.save(stream, np.zeros(6000, np.uint8))


@pytest.mark.parametrize("write", [write_bytes, write_array])
def test_a_full_disk_is_one_line_and_keeps_what_was_there(tmp_path, small_files, write):
    path = tmp_path / "file"
    path.write_text("earlier")
    with pytest.raises(UserError, match=r"file: cannot write it \(.+\); name a place .* space"):
        write(path)
    assert names(tmp_path) == ["file"] and path.read_text() == "earlier"


def test_any_other_error_passes_and_keeps_what_was_there(tmp_path):
    path = tmp_path / "file"
    path.write_text("earlier")
    for error in (KeyboardInterrupt, ValueError):
        with pytest.raises(error), atomic.replacing(path) as stream:
            stream.write(b"half")
            raise error
    assert names(tmp_path) == ["file"] and path.read_text() == "earlier"


def test_what_cannot_be_a_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"is a folder; name a file"):
        atomic.write_bytes(tmp_path, b"")
    with pytest.raises(UserError, match=r"none/file: cannot write it \(No such file"):
        atomic.write_bytes(tmp_path / "none" / "file", b"")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/b: cannot write it"):
        atomic.write_bytes(tmp_path / "file" / "b", b"", parents=True)
    with pytest.raises(UserError, match=r"cannot write it \(File name too long\)"):
        atomic.write_bytes(tmp_path / ("x" * 300), b"")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match=r"pipe: is no regular file"):
        atomic.write_bytes(tmp_path / "pipe", b"")
    assert names(tmp_path) == ["file", "pipe"]


def test_the_longest_name_can_be_written(tmp_path):
    for name in ("x" * 255, "é" * 127):
        atomic.write_bytes(tmp_path / name, b"content")
        assert (tmp_path / name).read_bytes() == b"content"


KILLED = """
import sys, time
from textsr_jax.runtime import atomic
with atomic.replacing(sys.argv[1]) as stream:
    stream.write(b"half of it")
    stream.flush()
    print("begun", flush=True)
    time.sleep(60)
"""


def test_what_a_killed_process_left_is_replaced(tmp_path):
    path = tmp_path / "file"
    process = subprocess.Popen([sys.executable, "-c", KILLED, path], stdout=subprocess.PIPE)
    process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert len(names(tmp_path)) == 1 and not path.exists()
    atomic.write_bytes(path, b"new")
    assert names(tmp_path) == ["file"] and path.read_bytes() == b"new"


def write_often(path, letter):
    for _ in range(30):
        atomic.write_bytes(path, letter * 10_000)


def test_processes_that_write_one_file_do_not_mix(tmp_path):
    path = tmp_path / "file"
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=write_often, args=(path, letter)) for letter in (b"a", b"b")]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        if path.exists():
            assert path.read_bytes() in (b"a" * 10_000, b"b" * 10_000)
        time.sleep(0.001)
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert names(tmp_path) == ["file"]


def test_files_that_belong_together_never_mix(tmp_path, monkeypatch):
    atomic.write_together(tmp_path, {"a": b"old", "b": b"old", "record": b"old"}, fix="")
    replace = os.replace

    def full(source, target):
        if target.name == "b":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    new = {"a": b"new", "b": b"new", "record": b"new"}
    with pytest.raises(UserError, match="No space left on device"):
        atomic.write_together(tmp_path, new, fix="free some space")
    # The record, by which readers open them, is not there.
    assert names(tmp_path) == ["a", "b"]
    monkeypatch.undo()
    atomic.write_together(tmp_path, new, fix="")
    assert [(tmp_path / name).read_bytes() for name in new] == [b"new"] * 3


def test_a_full_disk_keeps_all_files_that_belong_together(tmp_path, small_files):
    old = {"a": b"old", "record": b"old"}
    atomic.write_together(tmp_path, old, fix="")
    with pytest.raises(UserError, match=r"cannot write it \(.+\); free some"):
        atomic.write_together(tmp_path, {"a": b"new", "record": bytes(6000)}, fix="free some")
    assert {name: (tmp_path / name).read_bytes() for name in names(tmp_path)} == old


def test_json_is_strict_and_in_whole(tmp_path):
    path = tmp_path / "new" / "results.json"
    atomic.write_json(path, {"rows": [{"psnr": 21.417}]})
    assert json.loads(path.read_text())["rows"][0]["psnr"] == 21.417
    with pytest.raises(ValueError, match="not JSON compliant"):
        atomic.write_json(path, {"psnr": float("inf")})
    assert json.loads(path.read_text())["rows"]
    assert [file.name for file in path.parent.iterdir()] == ["results.json"]


def test_a_json_file_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/results.json: cannot write it"):
        atomic.write_json(tmp_path / "file" / "results.json", {})
