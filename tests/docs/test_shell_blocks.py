"""Every command in the README and the documentation exists, and so do its flags and fields."""

import ast
import configparser
import difflib
import functools
import importlib.util
import pathlib
import re
import shlex

import pytest

from tests.docs import pages

SHELL = ("", "sh", "bash", "shell")
SCRIPTS = ("train", "evaluate", "quantize", "read")
# Programs of others, whose flags are theirs.
OTHERS = {"git", "ls", "ray", "cd", "tensorboard", "du", "tail", "wc"}


def commands(page: pathlib.Path) -> list[tuple[int, list[str]]]:
    """The commands of a page's shell blocks, word by word, with the line where each begins."""
    found = []
    for block in pages.blocks(page):
        if block.language not in SHELL:
            continue
        text = re.sub(r"\\\n", lambda match: " ", block.text)
        for offset, line in enumerate(text.split("\n")):
            words = shlex.split(line, comments=True)
            for part in _split(words, ("|", "&&")):
                found.append((block.line + offset, part))
    return [(line, words) for line, words in found if words]


def _split(words: list[str], marks: tuple[str, ...]) -> list[list[str]]:
    parts: list[list[str]] = [[]]
    for word in words:
        if word in marks:
            parts.append([])
        else:
            parts[-1].append(word)
    return parts


WITH_COMMANDS = [page for page in pages.PAGES if commands(page)]


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=pages.name)
def test_commands_and_flags_exist(page):
    for line, words in commands(page):
        try:
            check(words)
        except AssertionError as error:
            raise AssertionError(
                f"{pages.name(page)}:{line}: {error}: {shlex.join(words)}"
            ) from None


def check(words: list[str]) -> None:
    """Raises AssertionError where a command, a flag or a field of a config does not exist."""
    words = list(words)
    while words and re.fullmatch(r"[A-Z_0-9]+=.*", words[0]):
        words.pop(0)
    if not words:
        return
    program, *rest = words
    if program in ("srun", "gcloud"):
        # They start the command that they name.
        inner = " ".join(rest)
        if "python" in inner:
            start = inner.index("python") if program == "srun" else inner.index(".venv/bin/python")
            check(shlex.split(inner[start:]))
        return
    program = pathlib.Path(program).name
    if program == "time":
        return check(rest)
    if program.startswith("python"):
        return check_python(rest)
    if program.startswith("textsr-"):
        return check_flags(f"textsr_jax.cli.{program.removeprefix('textsr-')}", rest)
    if program == "make":
        targets = re.findall(r"^([\w-]+):", (pages.ROOT / "Makefile").read_text(), re.MULTILINE)
        for target in rest:
            assert "=" in target or target in targets, f"make has no target {target}"
        return None
    if program == "pip":
        return check_extras(rest)
    assert program in OTHERS, "unknown program"
    return None


def check_python(arguments: list[str]) -> None:
    first, *rest = arguments
    if first == "-c":
        return compile(rest[0], "-c", "exec") and None
    if first == "-m":
        module = rest[0]
        if module in ("pytest", "venv", "sphinx"):
            return None
        return check_flags(module, rest[1:])
    assert first.removesuffix(".py") in SCRIPTS, f"there is no script {first}"
    return check_flags(f"textsr_jax.cli.{first.removesuffix('.py')}", rest)


def check_extras(arguments: list[str]) -> None:
    config = configparser.ConfigParser()
    config.read(pages.ROOT / "setup.cfg")
    known = set(config["options.extras_require"])
    for argument in arguments:
        for extras in re.findall(r"\[([\w,]+)\]", argument):
            for extra in extras.split(","):
                assert extra in known, f"there is no extra {extra}"


@functools.cache
def source(module: str) -> pathlib.Path:
    """The file of a module, or of its `__main__`; tests and benchmarks count too."""
    try:
        found = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        found = None
    assert found is not None, f"there is no module {module}"
    place = pathlib.Path(found.origin)
    return place.with_name("__main__.py") if place.name == "__init__.py" else place


@functools.cache
def flags_of(module: str) -> tuple[set[str], bool]:
    """The flags that a command defines, and whether it takes --config and fields of it."""
    found, takes_config = set(), False
    for node in ast.walk(ast.parse(source(module).read_text())):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        first = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
        if "DEFINE_" in called and isinstance(first, str):
            found.add(first)
            found |= {f"no{first}"} if called.endswith(("DEFINE_bool", "DEFINE_boolean")) else set()
        elif called.endswith("add_argument"):
            found |= {each.value.lstrip("-") for each in node.args}
        elif called.endswith("define_flag"):
            takes_config = True
    if takes_config:
        found |= {"config", "print_config"}
    return found | {"help"}, takes_config


def check_flags(module: str, arguments: list[str]) -> None:
    known, takes_config = flags_of(module)
    for argument in arguments:
        if not argument.startswith("--") or argument == "--":
            continue
        flag, _, value = argument[2:].partition("=")
        if flag.startswith("config.") and takes_config:
            check_field(flag.removeprefix("config."))
            continue
        close = difflib.get_close_matches(flag, known, n=1)
        assert flag in known, f"{module} has no flag --{flag}; there is {close}"
        if flag == "config" and value.startswith("configs/"):
            check_config(value)


@functools.cache
def paper():
    from configs import paper

    return paper.get_config()


def check_field(field: str) -> None:
    """A field of the config; STAGE stands for any stage, FIELD for any field."""
    if field == "FIELD":
        return
    part = paper()
    for key in field.replace("STAGE", "stage2").split("."):
        assert key in part, f"there is no field config.{field}"
        part = part[key]


def check_config(value: str) -> None:
    name, _, variant = value.partition(":")
    assert (pages.ROOT / name).exists(), f"there is no {name}"
    if variant and variant != "VARIANT":
        from textsr_jax.config import variants

        assert callable(getattr(variants, variant, None)), f"there is no variant {variant}"


def test_what_does_not_exist_is_found():
    for command in (
        "python train.py --config=configs/tinny.py",
        "python train.py --config=configs/paper.py:tbsr",
        "python train.py --confg=configs/tiny.py",
        "python train.py --config.stage1.stepz=3",
        "python -m textsr_jax.report.table1",
        "python trane.py",
        "pip install -e '.[trane]'",
        "make dems",
        "trane",
    ):
        with pytest.raises(AssertionError):
            check(shlex.split(command))
