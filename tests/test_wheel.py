"""A wheel of a clean copy of the clone works from another folder, with the configs in it."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

import pytest

from tests.conftest import word_image

ROOT = pathlib.Path(__file__).parents[1]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> pathlib.Path:
    """The wheel, built without the network from the files that Git knows."""
    clone, made = tmp_path_factory.mktemp("clone"), tmp_path_factory.mktemp("wheel")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    for name in filter(None, os.fsdecode(listed.stdout).split("\0")):
        if (ROOT / name).is_file():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, clone / name)
    pip("wheel", "--no-build-isolation", f"--wheel-dir={made}", clone)
    (path,) = made.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> pathlib.Path:
    """The folder that the wheel is installed into; the dependencies are those of the tests."""
    folder = tmp_path_factory.mktemp("site")
    pip("install", f"--target={folder}", wheel)
    return folder


def pip(*arguments: object) -> None:
    command = [sys.executable, "-m", "pip", *map(str, arguments), "--no-deps", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def run(installed: pathlib.Path, *command: object, cwd: pathlib.Path) -> str:
    """What an installed command prints, run in another folder."""
    script, *arguments = map(str, command)
    done = subprocess.run(
        [installed / "bin" / script, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_the_package_the_weights_and_the_configs(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names if "dist-info" not in name} == {
        *("configs", "textsr_jax")
    }
    for name in (
        *("textsr_jax/py.typed", "textsr_jax/weights/shipped.safetensors"),
        *(f"textsr_jax/report/page/page.{kind}" for kind in ("css", "html", "js")),
        *(f"configs/{file.name}" for file in (ROOT / "configs").glob("*.py")),
    ):
        assert name in names
    (metadata,) = (name for name in names if name.endswith("/METADATA"))
    text = zipfile.ZipFile(wheel).read(metadata).decode()
    for line in (
        *("License-Expression: Apache-2.0", "License-File: LICENSE", "Requires-Python: >=3.11"),
        *("Provides-Extra: train", "Description-Content-Type: text/markdown"),
    ):
        assert f"\n{line}\n" in text
    assert "# textsr_jax" in text


def test_the_installed_commands_work_from_another_folder(installed, tmp_path):
    word_image("open").save(tmp_path / "open.png")
    assert run(installed, "textsr-read", "open.png", cwd=tmp_path).startswith("open.png: open (")
    for name in ("read", "train", "evaluate", "quantize"):
        shown = run(installed, f"textsr-{name}", "--help", cwd=tmp_path)
        assert f"textsr-{name}" in shown and "python" not in shown.splitlines()[0]
        assert "  --workdir: " in shown and "  --config.seed: " in shown
    planned = run(installed, "textsr-train", "--config=configs/tiny.py", "--dry_run", cwd=tmp_path)
    assert "stage1" in planned


def test_installed_configs_stand_in_for_files_that_are_not_there(installed, tmp_path):
    def printed(*arguments: str) -> dict:
        command = ["textsr-train", "--print_config", *arguments]
        return json.loads(run(installed, *command, cwd=tmp_path))

    assert printed("--config=configs/tiny.py", "--config.seed=7")["seed"] == 7
    assert printed("--config=configs/paper.py:tbsrn")["sr"]["name"] == "tbsrn"
    assert printed("--config", "configs/demo.py")["sr"]["name"] == "edsr"
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "tiny.py").write_text(
        "from configs import demo\ndef get_config():\n    config = demo.get_config()\n"
        "    config.seed = 11\n    return config\n"
    )
    assert printed("--config=configs/tiny.py")["seed"] == 11
