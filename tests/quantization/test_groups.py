"""Checks ranges of groups and of layers: which values share one, and what comes back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from textsr_jax.quantization import Rule, dequantize, groups, quantize, simulate
from textsr_jax.quantization.tree import unpacked_codes


@pytest.mark.parametrize("shape", [(7, 3), (6, 3), (2, 3), (2, 3, 2, 5), (1, 4)])
def test_columns_hold_a_group_each_and_come_back(shape):
    x = jnp.arange(np.prod(shape)).reshape(shape)
    rows, channels = np.asarray(x).reshape(-1, shape[-1]), shape[-1]
    parts = groups.columns(x, 3)
    assert sum(part.shape[1] for part in parts) == groups.group_count(shape, 3) * channels
    found = [column.tolist() for part in parts for column in np.asarray(part).T]
    by_hand = [
        rows[start : start + 3, channel].tolist()
        for start in range(0, len(rows), 3)
        for channel in range(channels)
    ]
    assert found == by_hand
    np.testing.assert_array_equal(groups.from_columns(parts, shape), x)


@pytest.mark.slow
def test_each_group_has_the_range_of_its_own_values():
    rng = np.random.default_rng(0)
    # 150 rows: two groups of 64, and one of 22.
    x = (rng.laplace(size=(5, 10, 3, 4)) * rng.uniform(0.1, 10, (5, 10, 3, 1))).astype(np.float32)
    tree = quantize({"x": x}, [Rule("x", 4, "minmax", "group")])
    leaf, rows = tree["x"], x.reshape(150, 4)
    assert (leaf.axis, leaf.group_size, leaf.offset.shape) == (3, 64, (3, 4))
    codes = np.asarray(unpacked_codes(leaf)).reshape(150, 4)
    values = np.asarray(dequantize(tree)["x"]).reshape(150, 4)
    for group, start in enumerate((0, 64, 128)):
        own = rows[start : start + 64]
        offset, scale = np.asarray(leaf.offset[group]), np.asarray(leaf.scale[group])
        np.testing.assert_array_equal(offset, own.min(0))
        # The step is rounded up to a bfloat16 number.
        np.testing.assert_allclose(scale, np.ptp(own, 0) / 15, rtol=2**-7)
        np.testing.assert_allclose(
            values[start : start + 64], offset + codes[start : start + 64] * scale, rtol=1e-6
        )
        assert np.all(np.abs(values[start : start + 64] - own) <= 0.5001 * scale)
    np.testing.assert_allclose(
        jax.jit(lambda tree: simulate(tree, [Rule("x", 4, "minmax", "group")]))({"x": x})["x"],
        dequantize(tree)["x"],
        atol=1e-5,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("granularity", "alone"), [("layer", "tensor"), ("layer-channel", "channel")]
)
def test_scanned_layers_have_the_ranges_that_each_has_alone(granularity, alone):
    rng = np.random.default_rng(1)
    tree = {
        "kernel": (rng.laplace(size=(3, 2, 5, 4)) * 10.0 ** np.arange(3)[:, None, None, None]),
        "bias": rng.laplace(size=(3, 4)) * 10.0 ** np.arange(3)[:, None],
    }
    tree = jax.tree.map(lambda leaf: leaf.astype(np.float32), tree)
    together = quantize(tree, [Rule(".*", 3, "gaussian", granularity)])
    for layer in range(3):
        own = quantize(
            {name: leaf[layer] for name, leaf in tree.items()}, [Rule(".*", 3, "gaussian", alone)]
        )
        for name, leaf in own.items():
            np.testing.assert_allclose(together[name].offset[layer], leaf.offset, rtol=1e-5)
            # Steps are rounded up to bfloat16 numbers, except the only one of a tensor.
            np.testing.assert_allclose(together[name].scale[layer], leaf.scale, rtol=2**-7)
            step = np.asarray(leaf.scale)
            values, ours = dequantize(leaf), dequantize(together)[name][layer]
            assert np.all(np.abs(values - ours) <= 1.1 * step)


def test_vectors_and_empty_leaves_have_one_range():
    tree = {"bias": jnp.arange(3.0), "empty": jnp.zeros((0, 4)), "scalar": jnp.float32(3)}
    for granularity in ("group", "layer", "layer-channel"):
        packed = quantize(tree, [Rule(".*", 8, "least_squares", granularity)])
        assert {leaf.group_size for leaf in packed.values()} == {None}
        assert {leaf.axis for leaf in packed.values()} == {None}
        for name, values in dequantize(packed).items():
            np.testing.assert_allclose(values, tree[name], atol=0.5 * 2 / 255)
