"""Checks the error of quantised trees: decibels by hand, tables and JSON."""

import json
import math

import jax.numpy as jnp
import numpy as np
import pytest

from textsr_jax.errors import UserError
from textsr_jax.quantization import QuantizedArray, Rule, dequantize, error, quantize


def test_decibels_by_hand():
    tree = {
        "a": jnp.array([3.0, 4.0]),
        "b": jnp.array([10.0]),
        "c": jnp.ones(2),
        "n": jnp.arange(2),
    }
    # Errors of 0.5 and 0: squares 25 and 0.25; then 100 and 1.
    other = {**tree, "a": jnp.array([3.5, 4.0]), "b": jnp.array([9.0])}
    found = error(tree, other)
    assert {leaf.path: leaf.sqnr_db for leaf in found.leaves} == {
        "a": pytest.approx(20),
        "b": pytest.approx(20),
    }
    assert found.sqnr_db == pytest.approx(10 * math.log10(125 / 1.25))
    assert error(tree, tree).leaves == () and error(tree, tree).sqnr_db == math.inf


@pytest.mark.slow
def test_quantised_leaves_have_their_bits_and_what_is_exact_has_no_error():
    x = np.random.default_rng(0).laplace(size=(70, 3)).astype(np.float32)
    tree = {"x": x, "flat": jnp.full((3, 2), 0.5, jnp.bfloat16)}
    packed = quantize(tree, [Rule("x", 4, "minmax", "group"), Rule("flat", 2)])
    found = error(tree, packed)
    leaves = {leaf.path: leaf for leaf in found.leaves}
    values = np.asarray(dequantize(packed)["x"], np.float64)
    by_hand = 10 * np.log10(np.square(x.astype(np.float64)).sum() / np.square(x - values).sum())
    assert leaves["x"].sqnr_db == pytest.approx(by_hand, abs=1e-5)
    # 210 codes, and six ranges of 48 bits.
    assert leaves["x"].bits == pytest.approx(4 + 6 * 48 / 210)
    assert (leaves["x"].how, leaves["x"].shape) == ("minmax, groups of 64", (70, 3))
    assert leaves["flat"].sqnr_db == math.inf
    lines = str(found).splitlines()
    assert lines[0].split() == ["leaf", "shape", "ranges", "bits", "SQNR,", "dB"]
    assert f"{by_hand:.2f}" in lines[2] and lines[-1].split()[0] == "all"
    written = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert [leaf["sqnr_db"] for leaf in written["leaves"]] == [
        None,
        pytest.approx(by_hand, abs=1e-5),
    ]
    # Expanded trees have the same error, of the leaves that changed.
    (expanded,) = error(tree, dequantize(packed)).leaves
    assert (expanded.path, expanded.bits) == ("x", None)
    assert expanded.sqnr_db == pytest.approx(leaves["x"].sqnr_db)


def test_shared_leaves_count_once_and_nan_is_no_number():
    x, y = jnp.array([1.0, 2.0]), jnp.array([1.0, 2.5])
    found = error({"a": x, "b": [x]}, {"a": y, "b": [y]})
    assert [leaf.path for leaf in found.leaves] == ["a"]
    bad = error({"a": x}, {"a": x.at[0].set(jnp.nan)})
    assert math.isnan(bad.sqnr_db) and bad.as_json()["sqnr_db"] is None


def test_trees_of_other_models_are_refused():
    with pytest.raises(UserError, match=r"^b: only one of the two trees has it"):
        error({"a": jnp.ones(2)}, {"a": jnp.ones(2), "b": jnp.ones(2)})
    with pytest.raises(UserError, match=r"^a: its shape is \(2,\) in one tree and \(3,\) in the"):
        error({"a": jnp.ones(2)}, {"a": jnp.ones(3)})
    packed = quantize({"a": jnp.ones(2)}, [Rule("a", 4)])
    assert isinstance(packed["a"], QuantizedArray)
    with pytest.raises(UserError, match=r"^a: its shape is"):
        error({"a": jnp.ones(3)}, packed)
