"""The benchmarks' commands: what they say when they are called wrongly, and how they count runs."""

import ast
import pathlib

import pytest

from benchmarks import networks
from tests import forked

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize(
    "module",
    [
        "networks",
        "fidelity",
        "memory",
        "integer",
        "train",
        "data",
        "reading",
        "bulk",
        "crops",
        "peers",
        "checkpoints",
        "degradations",
        "photographs",
    ],
)
def test_a_wrong_name_is_one_line(module):
    run = forked.run(["-m", f"benchmarks.{module}", "vgg"])
    assert run.returncode != 0
    assert run.stderr.count("\n") == 1
    assert "'vgg'" in run.stderr


@pytest.mark.parametrize(
    "file", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda file: file.stem
)
def test_a_benchmark_defines_no_flags_when_another_imports_it(file):
    """Flags of two benchmarks share names, so that absl refuses the second of them."""
    on_import = ast.parse(file.read_text()).body
    on_import = [node for node in on_import if not isinstance(node, ast.FunctionDef | ast.If)]
    assert not [node for node in on_import if "DEFINE_" in ast.unparse(node)]


def test_the_sides_take_turns_behind_a_first_run():
    calls = []
    sides = networks.Sides(lambda: calls.append("jax"), lambda: calls.append("torch"))
    times = networks.measure(sides, 5)
    assert calls == ["jax", "torch"] * 6
    assert times["runs"] == 5
    assert times["ratio"] == times["jax_s"] / times["torch_s"]
