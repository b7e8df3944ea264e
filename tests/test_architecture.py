"""Which part of the package may import which, and how long its files and classes may be."""

import ast
import functools
import pathlib
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE = ROOT / "textsr_jax"

MOST_LINES = 400
MOST_LINES_OF_A_CLASS = 200

GROUND = {"errors", "text", "images", "runtime"}
# What a part may import, besides itself. With a part it may import what that part may import.
MAY_IMPORT = {
    "errors": set(),
    "text": {"errors"},
    "images": {"errors"},
    "runtime": {"errors"},
    "models": GROUND,
    "losses": GROUND,
    "metrics": GROUND,
    "decoding": GROUND,
    "quantization": {"errors", "runtime"},
    "config": {"errors"},
    "data": GROUND | {"config"},
    "storage": GROUND | {"models", "quantization", "config"},
    "convert": {"models", "storage", "config"},
    "train": {"models", "losses", "metrics", "decoding", "data", "storage", "config"},
    "reading": {"models", "decoding", "quantization", "storage"},
    "export": {"models", "decoding", "quantization", "storage", "reading"},
    "photos": {"reading"},
    "demo": {"reading", "export", "photos"},
    "bulk": {"reading", "data", "photos"},
    "evaluation": {"reading", "data", "storage", "quantization", "metrics", "losses"},
    "report": {"metrics", "images", "text", "errors"},
}
# The package itself, what runs several parts, and files started as commands may import all.
MAY_IMPORT_ALL = {"", "cli", "experiments"}

# What does not follow the rules yet. An entry that follows them fails its test: remove it.
NOT_YET: dict[str, set[str]] = {
    "imports": set(),
    "circles": set(),
    "tests": set(),
    "lines": set(),
    "class lines": set(),
}


@functools.cache
def module_files() -> dict[str, pathlib.Path]:
    """The package's modules by their full names."""
    return {
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
        for file in PACKAGE.rglob("*.py")
    }


@functools.cache
def parsed(file: pathlib.Path) -> ast.Module:
    return ast.parse(file.read_text())


def imported_modules(module: str, file: pathlib.Path) -> Iterator[str]:
    """What `file` imports, inside functions too; of `from a import b` it is `a.b` if a module."""
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(parsed(file)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.rsplit(".", node.level - 1)[0] if node.level > 1 else package
            origin = ".".join(filter(None, [above if node.level else "", node.module]))
            for name in node.names:
                inner = f"{origin}.{name.name}"
                yield inner if inner in module_files() else origin


@functools.cache
def imports() -> dict[str, set[str]]:
    """By each of the package's modules: the others of the package that it imports."""
    return {
        module: {name for name in imported_modules(module, file) if name in module_files()}
        for module, file in module_files().items()
    }


def part(module: str) -> str:
    """The folder or file of the package that `module` belongs to; "" for the package itself."""
    return ".".join(module.split(".")[1:2])


def allowed(origin: str) -> set[str]:
    """What the part `origin` may import, directly or as a part that it may import does."""
    parts = {origin} | MAY_IMPORT[origin]
    while more := set().union(*(MAY_IMPORT[name] for name in parts)) - parts:
        parts |= more
    return parts


def test_every_part_is_in_the_table():
    assert {part(module) for module in module_files()} <= MAY_IMPORT.keys() | MAY_IMPORT_ALL


def test_no_package_has_a_module_and_something_else_of_one_name():
    """The name would mean one or the other by what was imported first, in the API pages too."""
    wrong = set()
    for module, file in module_files().items():
        for node in parsed(file).body if file.name == "__init__.py" else ():
            if isinstance(node, ast.ImportFrom) and node.module != module:
                names = {name.asname or name.name for name in node.names}
                wrong |= {f"{module}.{name}" for name in names} & module_files().keys()
    assert not wrong


def circle(module: str) -> bool:
    """Whether `module` imports itself by way of others."""
    reached, ahead = set(), [module]
    while ahead:
        ahead += (more := imports()[ahead.pop()] - reached)
        reached |= more
    return module in reached


def test_parts_import_what_the_table_allows():
    wrong = {
        (part(module), part(other))
        for module, others in imports().items()
        if part(module) not in MAY_IMPORT_ALL and not module.endswith(".__main__")
        for other in others
        if part(other) not in allowed(part(module))
    }
    assert {f"{origin} imports {other}" for origin, other in wrong} == NOT_YET["imports"]


def test_no_module_imports_itself_by_way_of_others():
    assert {part(module) for module in imports() if circle(module)} == NOT_YET["circles"]


def test_package_and_benchmarks_import_nothing_of_the_tests():
    files = [*PACKAGE.rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py"), *ROOT.glob("*.py")]
    wrong = {
        str(file.relative_to(ROOT))
        for file in files
        for name in imported_modules("", file)
        if name.partition(".")[0] == "tests"
    }
    assert wrong == NOT_YET["tests"]


def test_files_are_short():
    files = [*module_files().values(), *(ROOT / "benchmarks").rglob("*.py")]
    long = {
        str(file.relative_to(ROOT))
        for file in files
        if len(file.read_text().splitlines()) > MOST_LINES
    }
    assert long == NOT_YET["lines"]


def test_classes_are_short():
    long = {
        f"{module}.{node.name}"
        for module, file in module_files().items()
        for node in ast.walk(parsed(file))
        if isinstance(node, ast.ClassDef)
        and node.end_lineno - node.lineno + 1 > MOST_LINES_OF_A_CLASS
    }
    assert long == NOT_YET["class lines"]
