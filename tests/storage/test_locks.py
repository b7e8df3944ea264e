"""The lock of a workdir: one training has it, and a process that ended has it no longer."""

import os
import signal
import subprocess
import sys

import pytest

from textsr_jax.errors import UserError
from textsr_jax.storage import locks

HOLDER = """
import pathlib, subprocess, sys, time
from textsr_jax.storage import locks
with locks.held(pathlib.Path(sys.argv[1])):
    child = subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL)
    print(child.pid, flush=True)
    time.sleep(60)
"""


def test_the_second_training_says_who_has_it(tmp_path):
    workdir = tmp_path / "w"
    wanted = rf"w: process {os.getpid()} on .* trains there; wait for it, stop it, or take another"
    with locks.held(workdir):
        with pytest.raises(UserError, match=wanted), locks.held(workdir):
            raise AssertionError("two trainings have it")
        with locks.held(tmp_path / "other"):
            pass
    with locks.held(workdir):
        pass


def test_a_killed_process_has_it_no_longer(tmp_path):
    """Not even while a process that it started lives on."""
    command = [sys.executable, "-c", HOLDER, tmp_path]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    child = int(process.stdout.readline())
    try:
        with pytest.raises(UserError, match=rf"process {process.pid} on "), locks.held(tmp_path):
            raise AssertionError("two trainings have it")
        process.kill()
        process.communicate()
        with locks.held(tmp_path):
            os.kill(child, 0)  # it lives
    finally:
        os.kill(child, signal.SIGKILL)


def test_an_unreadable_owner_is_another_process(tmp_path):
    with locks.held(tmp_path):
        (tmp_path / locks.FILE).write_text("[]")
        with pytest.raises(UserError, match=r"another process trains there"), locks.held(tmp_path):
            raise AssertionError("two trainings have it")


def test_a_file_system_without_locks_is_a_warning(tmp_path, monkeypatch, caplog):
    def refuse(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    with locks.held(tmp_path):
        pass
    (line,) = caplog.messages
    assert "cannot be locked (No locks available); see that no other training runs there" in line


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    wanted = r"file: cannot write it .*; name another --workdir"
    with pytest.raises(UserError, match=wanted), locks.held(tmp_path / "file"):
        raise AssertionError("a file is no workdir")
