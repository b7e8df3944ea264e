"""Which Pythons there are: one pin a package for each, and which of them `make` takes."""

import configparser
import pathlib
import re
import shutil
import subprocess

import pytest
from packaging.requirements import Requirement

ROOT = pathlib.Path(__file__).parents[1]
PYTHONS = ("3.11", "3.12", "3.13")
MAKE = shutil.which("make")
needs_make = pytest.mark.skipif(MAKE is None, reason="make is not installed")


def pins(python: str) -> list[tuple[str, str]]:
    """(package, version) of each line of the constraints that `python` follows."""
    lines = map(Requirement, (ROOT / "constraints.txt").read_text().splitlines())
    return [
        (re.sub(r"[-_.]+", "-", line.name).lower(), str(line.specifier).removeprefix("=="))
        for line in lines
        if line.marker is None or line.marker.evaluate({"python_version": python})
    ]


@pytest.mark.parametrize("python", PYTHONS)
def test_every_package_has_one_pin(python):
    names = [name for name, _ in pins(python)]
    assert len(names) == len(set(names))
    assert {name for name, _ in pins(PYTHONS[0])} == set(names)


def test_the_documentation_has_the_pins_of_jax_and_flax():
    page = (ROOT / "docs" / "start" / "install.md").read_text()
    rows = re.findall(r"^\| ([\d., ]+) \| ([\d.]+)\b.* \| ([\d.]+) \|$", page, re.MULTILINE)
    found = {python: versions for pythons, *versions in rows for python in pythons.split(", ")}
    expected = {name: dict(pins(name)) for name in PYTHONS}
    assert found == {name: [each["jax"], each["flax"]] for name, each in expected.items()}
    assert all(each["jax"] == each["jaxlib"] for each in expected.values())


def test_the_metadata_names_them():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    named = re.findall(r":: (\d\.\d+)$", config["metadata"]["classifiers"], re.MULTILINE)
    assert tuple(named) == PYTHONS


def make(folder: pathlib.Path, *arguments: str) -> subprocess.CompletedProcess:
    """What `make test-fast` would do with no other programs than those in `folder`."""
    command = [MAKE, "--dry-run", f"VENV={folder / 'venv'}", *arguments, "test-fast"]
    return subprocess.run(
        command, cwd=ROOT, env={"PATH": str(folder)}, capture_output=True, text=True
    )


def add_python(file: pathlib.Path, version: str = "3.12", starts: bool = True) -> None:
    """Writes a Python that shows its version; one that does not start is as pyenv leaves them."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\necho Python {version}.7\nexit {0 if starts else 127}\n")
    file.chmod(0o755)


@needs_make
def test_make_takes_the_newest_python_that_starts(tmp_path):
    add_python(tmp_path / "python3.13", starts=False)
    none = make(tmp_path)
    assert none.returncode == 2
    assert "no Python 3.11, 3.12 or 3.13 with venv and pip is on the path" in none.stderr
    for name in ("python3", "python3.11", "python3.12"):
        add_python(tmp_path / name)
        assert f"\n{name} -m venv --clear {tmp_path}/venv\n" in "\n" + make(tmp_path).stdout
    assert "\nmine -m venv --clear " in "\n" + make(tmp_path, "PYTHON=mine").stdout


@needs_make
def test_make_keeps_an_environment_and_refuses_another_python_for_it(tmp_path):
    for version in ("3.13", "3.12"):
        add_python(tmp_path / f"python{version}", version)
    add_python(tmp_path / "venv" / "bin" / "python")
    assert "-m venv" not in make(tmp_path).stdout
    assert make(tmp_path, "PYTHON=python3.12").returncode == 0
    refused = make(tmp_path, "PYTHON=python3.13")
    assert refused.returncode == 2
    assert f"{tmp_path}/venv has Python 3.12, not 3.13 as PYTHON says" in refused.stderr
