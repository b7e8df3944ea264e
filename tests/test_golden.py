"""The parity vectors, array by array, in float32 and in bfloat16 compute.

`golden_outputs` computes what is compared and holds the bounds.
"""

import numpy as np
import pytest

from benchmarks.golden import outputs as golden_outputs
from benchmarks.golden import vectors as golden_vectors
from benchmarks.golden.bounds import BOUNDS, is_input
from benchmarks.golden.outputs import Comparison

FILES = sorted(path.stem for path in golden_vectors.FOLDER.glob("*.npz"))


def cases():
    """Every array that is not an input in float32; in bfloat16 those that are held there."""
    for file in FILES:
        held = {
            name.partition(",")[0]
            for name, bound in BOUNDS.get(file, {}).items()
            if bound.bfloat16 is not None and np.isfinite(bound.bfloat16)
        }
        arrays = [name for name in golden_vectors.vectors(file) if not is_input(file, name)]
        yield from ((file, name, "float32") for name in arrays)
        yield from ((file, name, "bfloat16") for name in arrays if name in held)


@pytest.mark.parametrize(("file", "array", "dtype"), list(cases()))
def test_golden_array(file, array, dtype):
    assert file in BOUNDS, f"{file}.npz: nothing reads it"
    found = [each for each in golden_outputs.comparisons(file, dtype) if each.array == array]
    assert found, f"{file}.npz: nothing is compared with {array}"
    for each in found:
        off = f"{each.name}: {each.measure} {each.difference:.3g}, allowed {each.bound:g}"
        assert each.holds or each.bound == np.inf, off


def test_golden_files():
    """An empty folder would pass all tests, having none; the copy lacks no file."""
    assert FILES
    assert sorted(BOUNDS) == sorted(path.stem for path in golden_vectors.COPY.glob("*.npz"))


@pytest.mark.parametrize(
    ("measure", "ours", "expected", "difference"),
    [
        ("absolute", [1.5, 2, -4], [1, 2, -4], 0.5),
        ("relative", [1.5, 2, -4], [1, 2, -4], 0.5),
        ("relative", [1, 2, -3], [1, 2, -4], 0.25),
        ("of the largest", [2, 2, -4], [1, 2, -4], 0.25),
        ("relative L2", [0, 3 + 3, 4 - 4], [0, 3, 4], 1.0),
        ("unequal", [1, 2, 3, 9], [1, 2, 3, 4], 0.25),
        ("unequal, by one", [1, 2, 3, 5], [1, 2, 3, 4], 0.25),
        ("unequal, by one", [1, 2, 3, 6], [1, 2, 3, 4], np.inf),
        ("absolute", [1, 2], [[1, 2]], np.inf),
        ("absolute", [1, np.nan], [1, 2], np.nan),
    ],
)
def test_measures(measure, ours, expected, difference):
    comparison = Comparison("", "", np.array(ours, float), np.array(expected), measure, 0.25)
    np.testing.assert_allclose(comparison.difference, difference)
    assert comparison.holds == (difference <= 0.25)
