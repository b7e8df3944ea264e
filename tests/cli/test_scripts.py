"""How scripts start: their arguments and names, and consoles of other encodings."""

import pathlib
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


def names(*command: object, cwd: pathlib.Path) -> list[str]:
    """How a program calls itself, and how it would be run again."""
    done = subprocess.run(
        [sys.executable, *map(str, command)], cwd=cwd, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_program_is_named_as_the_user_called_it(tmp_path):
    code = (
        "from absl import flags\n"
        "from textsr_jax.cli.scripts import command, program, run_script\n"
        'flags.DEFINE_string("path", "", "")\n'
        "def main(arguments):\n"
        "    print(program(), command(), sep='\\n')\n"
        "run_script(main)\n"
    )
    for file in ("mine.py", "installed"):
        (tmp_path / file).write_text(code)
    options = ("--path=a b", "mine.py")
    again = "'--path=a b' mine.py"
    found = names("-u", "mine.py", *options, cwd=tmp_path)
    assert found == ["python mine.py", f"python mine.py {again}"]
    found = names("-m", "mine", *options, cwd=tmp_path)
    assert found == ["python -m mine", f"python -m mine {again}"]
    # As the installed commands are, found by their path or on the shell's.
    script = tmp_path / "installed"
    script.chmod(0o755)
    found = names(script, *options, cwd=tmp_path)
    assert found == [str(script), f"{script} {again}"]


def test_an_installed_command_on_the_path_has_a_short_name(tmp_path, monkeypatch):
    script = tmp_path / "textsr-mine"
    script.write_text("from textsr_jax.cli.scripts import program\nprint(program())\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert names(script, cwd=tmp_path) == ["textsr-mine"]


def test_an_installed_config_stands_in_for_a_file_that_is_not_there(tmp_path):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "tiny.py").touch()
    code = (
        "from textsr_jax.cli.scripts import _with_installed_config as changed\n"
        "arguments = ['x', '--config=configs/tiny.py', '--config', 'configs/paper.py:tsrn',\n"
        "             '--config=configs/none.py', '--config=other/paper.py', 'configs/demo.py']\n"
        "print(*changed(arguments), sep='\\n')\n"
    )
    installed = pathlib.Path(__file__).parents[2] / "configs"
    assert names("-c", code, cwd=tmp_path) == [
        *("x", "--config=configs/tiny.py", "--config", f"{installed}/paper.py:tsrn"),
        *("--config=configs/none.py", "--config=other/paper.py", "configs/demo.py"),
    ]
