"""How scripts start: `~` in arguments, and consoles of other encodings."""

import subprocess
import sys

import pytest

SCRIPT = """
import sys
from absl import flags
from textsr_jax.cli.scripts import run_script
PATH = flags.DEFINE_string("path", None, "")
PATHS = flags.DEFINE_list("paths", [], "")
def main(arguments):
    print(PATH.value, *PATHS.value, *arguments, sep="|")
    print("Straße 字 \\udcff", file=sys.stderr)
run_script(main)
"""


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments],
        capture_output=True,
        env={"PATH": "", "HOME": "/home/someone", **environment},
        check=True,
    )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--path=~/a"], "/home/someone/a"),
        (["--path", "~/a"], "/home/someone/a"),
        (["-path=~"], "/home/someone"),
        (["--path=a~/b~c"], "a~/b~c"),
        (["--path=~nobody-of-this-name/a"], "~nobody-of-this-name/a"),
        (["--path=x", "--paths=~/a,b,~/c"], "x|/home/someone/a|b|/home/someone/c"),
        (["--path=x", "~/a=b", "b=~/c"], "x|/home/someone/a=b|b=~/c"),
    ],
)
def test_the_user_s_folder_in_every_argument(arguments, expected):
    assert run(*arguments).stdout.decode() == expected + "\n"


def test_without_a_console():
    script = f"import sys\nsys.stdin = sys.stdout = sys.stderr = None\n{SCRIPT}"
    script = script.replace("\\udcff", "")
    done = subprocess.run([sys.executable, "-c", script, "--path=x"], capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("ascii", b"Stra\\xdfe \\u5b57 \\udcff\n"),
        ("cp1252", b"Stra\xdfe \\u5b57 \\udcff\n"),
        ("utf-8", "Straße 字 \\udcff\n".encode()),
    ],
)
def test_a_console_of_another_encoding_shows_escapes(encoding, shown):
    done = run("--path=Straße", PYTHONIOENCODING=encoding)
    assert done.stderr == shown
    assert done.stdout.startswith(b"Stra")
