"""How a process ends: one line for what a user can mend, and its status."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("raised", "status", "line"),
    [
        ("errors.UserError('a.png: no such file')", 2, "error: a.png: no such file\n"),
        ("errors.Stopped('go on with: x')", 130, "go on with: x\n"),
        ("KeyboardInterrupt()", 130, "stopped\n"),
        ("BrokenPipeError(32, 'Broken pipe')", 141, ""),
    ],
)
def test_an_error_is_one_line_and_a_status(raised, status, line):
    code = f"from textsr_jax import errors\nwith errors.one_line_errors():\n    raise {raised}"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (status, line)
