"""What comes with which extra: reading needs none, and what is missing names its extra."""

import ast
import configparser
import fnmatch
import functools
import importlib.metadata
import pathlib
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
from safetensors.numpy import save_file

from benchmarks.golden import vectors as golden_vectors
from tests.conftest import word_image

ROOT = pathlib.Path(__file__).parents[1]
TINY = "--config=configs/tiny.py"
# The packages of each extra that the package imports. Those of `fonts` are found by their names.
PACKAGES = {
    "train": ("array_record", "grain", "tensorboard", "tensorflow_datasets"),
    "lmdb": ("lmdb",),
    "fonts": ("fontpkg_*",),
    "plots": ("matplotlib",),
    "onnx": ("jax2onnx", "onnx", "onnxruntime"),
    "convert": ("torch",),
    "qwix": ("qwix",),
    "gguf": ("gguf",),
    "photos": ("onnxruntime", "pypdfium2", "rapidocr"),
    "demo": ("gradio", "starlette"),
    "bulk": ("fsspec", "pyarrow", "ray"),
    "cloud": ("fsspec", "gcsfs", "s3fs"),
}
EXTRAS = [package for packages in PACKAGES.values() for package in packages]


def without(packages: str, *command: object) -> subprocess.CompletedProcess:
    """Runs a command as if packages were not installed."""
    arguments = [sys.executable, "tests/without.py", packages, *map(str, command)]
    return subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=300)


def requirements() -> dict[str, set[str]]:
    """The distributions that setup.cfg names, by extra; "" for those of every installation."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    lists = {"": setup["options"]["install_requires"], **setup["options.extras_require"]}
    lines = {name: [line for line in text.splitlines() if line] for name, text in lists.items()}
    return {
        name: {normal(line) for line in lines[name] if not line.startswith("textsr_jax[")}
        for name in lines
    }


def normal(requirement: str) -> str:
    return re.match(r"[\w.-]+", requirement)[0].lower().replace("_", "-")


def imports(tree: ast.AST, extras: tuple[str, ...] = ()) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The packages that code imports, each with the extras whose `with needs(...)` encloses it."""
    for node in ast.iter_child_nodes(tree):
        inner = extras
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Try):
            # The function says which extra is missing in words of its own.
            inner += tuple(re.findall(r"installing\('(\w+)'\)", ast.unparse(node)))
        if isinstance(node, ast.With):
            inner += tuple(re.findall(r"needs\('(\w+)'\)", ast.unparse(node)))
        if isinstance(node, ast.Import):
            yield from ((name.name.partition(".")[0], inner) for name in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.partition(".")[0], inner
        yield from imports(node, inner)


def test_every_import_is_of_every_installation_or_names_its_extra():
    required = requirements()
    distributions = importlib.metadata.packages_distributions()
    own = {"textsr_jax", *sys.stdlib_module_names}
    wrong = []
    for file in sorted((ROOT / "textsr_jax").rglob("*.py")):
        for package, extras in imports(ast.parse(file.read_text())):
            if package in own:
                continue
            brought = set().union(*(required[name] for name in ("", *extras)))
            # Packages that the tests do without have the name of what they import.
            if not brought & {normal(name) for name in distributions.get(package, (package,))}:
                wrong.append(f"{file.relative_to(ROOT)} imports {package}")
    assert not wrong


def loaded(body: list[ast.stmt]) -> Iterator[tuple[str, bool]]:
    """What code imports as soon as it is imported, and whether `needs_extra` encloses it."""
    for node in body:
        if isinstance(node, ast.Import):
            yield from ((name.name, False) for name in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            # `from a import b` may import the module a.b.
            yield from ((f"{node.module}.{name.name}", False) for name in node.names)
        elif isinstance(node, ast.With):
            within = "needs_extra(" in ast.unparse(node.items[0])
            yield from ((name, within or inner) for name, inner in loaded(node.body))


@functools.cache
def loaded_by(file: pathlib.Path) -> list[str]:
    return [name for name, _ in loaded(ast.parse(file.read_text()).body)]


def takes_an_extra(name: str) -> bool:
    """Whether importing a module, or something in it, imports a package of an extra."""
    ahead, read = [name], set()
    while ahead:
        top, *rest = ahead.pop().split(".")
        if any(fnmatch.fnmatch(top, package) for package in EXTRAS):
            return True
        place = ROOT / top
        for part in [*rest, ""] if top in ("textsr_jax", "benchmarks") else ():
            for file in {place / "__init__.py", place.with_suffix(".py")} - read:
                if file.is_file():
                    read.add(file)
                    ahead += loaded_by(file)
            place /= part
    return False


@pytest.mark.parametrize("file", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda f: f.name)
def test_a_benchmark_names_the_extra_that_it_needs(file):
    tree = ast.parse(file.read_text())
    if "__main__" not in file.read_text() or file.name == "__init__.py":
        return
    wrong = [name for name, within in loaded(tree.body) if not within and takes_an_extra(name)]
    assert not wrong


def test_the_packages_of_extras_are_those_of_setup_cfg():
    required = requirements()
    for extra, packages in PACKAGES.items():
        names = {package.lower().replace("_", "-") for package in packages}
        assert names == required[extra] or extra == "fonts", extra
    assert len(required["fonts"]) == 89


@pytest.mark.slow
def test_reading_needs_no_extra(tmp_path):
    word_image("open").save(tmp_path / "open.png")
    blocked = ",".join(package for packages in PACKAGES.values() for package in packages)
    options = (f"--grid={tmp_path / 'g.png'}", f"--save_sr={tmp_path}", "--format=tsv")
    read = without(blocked, "read.py", tmp_path / "open.png", *options)
    assert read.returncode == 0, read.stderr
    assert read.stdout.split("\t")[1] == "open"
    code = "import textsr_jax; print(*[getattr(textsr_jax, n).__name__ for n in dir(textsr_jax)"
    shown = without(blocked, "-c", f"{code} if n[0] != '_'])")
    assert shown.returncode == 0, shown.stderr


def converts(tmp_path: pathlib.Path) -> list[object]:
    """The command that writes a .pth file; what it reads is made here."""
    published, ours = tmp_path / "published.safetensors", tmp_path / "crnn.params"
    save_file(golden_vectors.state_dict("crnn", 3), published)
    command = [sys.executable, "-m", "textsr_jax.convert", "crnn", published, f"--out={ours}"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return ["-m", "textsr_jax.convert", "--to-torch", "crnn", ours, f"--out={tmp_path / 'c.pth'}"]


def reads_lmdb(tmp_path: pathlib.Path) -> list[object]:
    (tmp_path / "data.mdb").touch()
    return ["read.py", tmp_path]


def reads_with_onnx(tmp_path: pathlib.Path) -> list[object]:
    word_image("open").save(tmp_path / "open.png")
    return ["read.py", tmp_path / "open.png", "--runtime=onnx", f"--model={tmp_path}"]


def reads_pdf(tmp_path: pathlib.Path) -> list[object]:
    word_image("open").save(tmp_path / "open.pdf")
    return ["read.py", tmp_path / "open.pdf"]


EXPERIMENTS = "textsr_jax.experiments"
WITH_QWIX = """
from textsr_jax.errors import one_line_errors
from textsr_jax.quantization.integer_products import accelerated
with one_line_errors():
    accelerated(None)
"""
COMMANDS = [
    ("train", "grain", ["train.py", TINY, "--workdir=W"]),
    ("train", "grain", ["train.py", TINY, "--dry_run"]),
    ("train", "tensorflow_datasets", ["train.py", TINY, "--workdir=W"]),
    ("train", "tensorboard", ["train.py", TINY, "--workdir=W"]),
    ("train", "grain", ["evaluate.py", "--config.data.root="]),
    ("train", "tensorflow_datasets", ["evaluate.py", "--config.data.root="]),
    ("train", "grain", ["evaluate.py", "--config=configs/div2k.py", "--photographs=W"]),
    ("train", "grain", ["quantize.py", TINY]),
    ("train", "grain", ["-m", f"{EXPERIMENTS}.table1", TINY, "--folder=W"]),
    ("train", "tensorflow_datasets", ["-m", f"{EXPERIMENTS}.fit_temperature"]),
    ("lmdb", "lmdb", reads_lmdb),
    ("fonts", "fontpkg_*", ["train.py", TINY, "--workdir=W", "--config.data.data_dir=W/data"]),
    ("fonts", "fontpkg_*", ["-m", f"{EXPERIMENTS}.draw_samples", "--out=W"]),
    ("plots", "matplotlib", ["quantize.py", TINY, "--sensitivity"]),
    ("plots", "matplotlib", ["quantize.py", TINY, "--search", "--max_drop=1"]),
    ("plots", "matplotlib", ["-m", f"{EXPERIMENTS}.fit_temperature"]),
    ("plots", "matplotlib", ["-m", f"{EXPERIMENTS}.judges", "--sr=W", "--data_root=W"]),
    ("onnx", "onnxruntime", reads_with_onnx),
    ("onnx", "onnx", ["-m", "textsr_jax.export", "W", "--out=W"]),
    ("photos", "rapidocr", ["read.py", "W", "--page"]),
    ("photos", "pypdfium2", reads_pdf),
    ("convert", "torch", converts),
    ("qwix", "qwix", ["-c", WITH_QWIX]),
    ("demo", "gradio", ["-m", "textsr_jax.demo"]),
    ("bulk", "ray", ["-m", "textsr_jax.bulk", "W", "--out=W"]),
    ("cloud", "s3fs", ["-m", "textsr_jax.report.page", "s3://bucket/run"]),
    ("benchmarks", "torch", ["-m", "benchmarks.train"]),
    ("benchmarks", "torch", ["-m", "benchmarks.fidelity"]),
    ("benchmarks", "onnxruntime", ["-m", "benchmarks.int8"]),
    ("train", "grain", ["-m", "benchmarks.peers"]),
    ("train", "tensorflow_datasets", ["-m", "benchmarks.data"]),
    ("lmdb", "lmdb", ["-m", "benchmarks.crops"]),
]


@pytest.mark.slow
@pytest.mark.parametrize(("extra", "package", "command"), COMMANDS)
def test_a_missing_package_is_one_line_that_names_its_extra(extra, package, command, tmp_path):
    if callable(command):
        command = command(tmp_path)
    command = [str(part).replace("=W", f"={tmp_path / 'w'}") for part in command]
    done = without(package, *command)
    assert done.returncode == 2, done.stderr
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("error: ") or line.startswith(str(tmp_path)), line
    assert f"pip install -e '.[{extra}]'" in line
    assert "Traceback" not in done.stderr
