"""How a process ends: one line for what a user can fix, and its status."""

import errno
import pathlib
import subprocess
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textsr_jax import errors


@pytest.mark.parametrize(
    ("raised", "status", "line"),
    [
        ("errors.UserError('a.png: no such file')", 2, "error: a.png: no such file\n"),
        ("errors.Stopped('go on with: x')", 130, "go on with: x\n"),
        ("KeyboardInterrupt()", 130, "stopped\n"),
        ("BrokenPipeError(32, 'Broken pipe')", 141, ""),
        (
            "PermissionError(13, 'Permission denied', '/x')",
            2,
            "error: /x: permission denied; see to its permissions\n",
        ),
    ],
)
def test_an_error_is_one_line_and_a_status(raised, status, line):
    code = f"from textsr_jax import errors\nwith errors.one_line_errors():\n    raise {raised}"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (status, line)


def test_a_missing_extra_is_installed_from_the_clone_or_by_the_packages_name(monkeypatch, tmp_path):
    root = pathlib.Path(errors.__file__).parents[1]
    monkeypatch.chdir(root)
    assert errors.installing("onnx") == "pip install -e '.[onnx]'"
    monkeypatch.chdir(tmp_path)
    assert errors.installing("onnx") == f"pip install -e '{root}[onnx]'"
    # As pip puts it into site-packages: no setup.cfg beside the package.
    monkeypatch.setattr(errors, "__file__", str(tmp_path / "textsr_jax" / "errors.py"))
    assert errors.installing("onnx") == "pip install 'textsr_jax[onnx]'"


def test_denied_permission_is_fixed_by_permissions():
    denied, missing = (OSError(number, "") for number in (errno.EACCES, errno.ENOENT))
    assert errors.fix_for(denied, "restore it") == "see to its permissions"
    assert errors.fix_for(missing, "restore it") == "restore it"


@given(st.text())
def test_escaped_text_is_one_line_of_plain_characters(text):
    shown = errors.escaped(text)
    # Python holds wide spaces and what Unicode has not given a meaning for not printable.
    others = {c for c in shown if not c.isprintable()}
    assert {unicodedata.category(c) for c in others - {*"\u200c\u200d"}} <= {"Cn", "Co", "Zs"}
    assert len(shown.splitlines()) <= 1
    shown.encode()
    # Twice is as once.
    assert errors.escaped(shown) == shown
    if text.isprintable():
        assert shown == text


def test_letters_of_every_language_stay():
    text = "Straße 字 नमस्ते \u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 👩\u200d🔧 C:\\dir"
    assert errors.escaped(text) == text
