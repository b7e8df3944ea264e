"""TBSRN: its size, its position table, its attention over the whole image, and its training."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from benchmarks.golden import reference_tensors
from textsr_jax import convert
from textsr_jax.errors import UserError
from textsr_jax.models import Network, count_parameters
from textsr_jax.models.tbsrn import TBSRN, FeatureEnhancer, position_table


def small(dtype=None):
    return Network(lambda rngs: TBSRN(blocks=1, channels=8, heads=2, dtype=dtype, rngs=rngs))


@pytest.fixture(scope="module")
def variables():
    """Random variables of the small network."""
    return small().init(jax.random.key(0))


def test_the_defaults_are_the_published_network():
    published = json.loads((reference_tensors.HERE / "tbsrn.json").read_text())
    statistics = re.compile(r".*\.(running_mean|running_var|num_batches_tracked)")
    unused = {
        name: np.prod(shape)
        for name, shape in published["tensors"].items()
        if convert.TABLES["tbsrn"].why_dropped(name) and not statistics.fullmatch(name)
    }
    parts = {re.sub(r"^block\d\.|\..*$", "", name) for name in unused}
    assert parts == {"conv", "bn", "gru1", "gru2", "feature_enhancer"}
    assert published["parameters"] == 3_210_335
    assert sum(unused.values()) == 229_875
    assert count_parameters(convert.network("tbsrn", stn=True).template) == 3_210_335 - 229_875
    assert count_parameters(Network(lambda rngs: TBSRN(rngs=rngs)).template) == 1_125_700


def test_positions_tell_the_column_then_the_row():
    table = position_table(3, 5, 8)
    assert (table.shape, table.dtype) == ((3, 5, 8), np.float32)
    for row in range(3):
        for column in range(5):
            expected = [
                function(place / 10000 ** (exponent / 4))
                for place in (column, row)
                for exponent in (0, 2)
                for function in (np.sin, np.cos)
            ]
            np.testing.assert_allclose(table[row, column], expected, rtol=0, atol=1e-6)


def test_every_pixel_sees_all_others_and_its_place():
    network = Network(lambda rngs: FeatureEnhancer(8, 2, dtype=None, rngs=rngs))
    variables = network.init(jax.random.key(0))
    enhance = jax.jit(network.__call__)
    images = jax.random.normal(jax.random.key(1), (2, 4, 6, 8))
    changed = enhance(variables, images.at[0, 2, 3].add(1)) - enhance(variables, images)
    assert (abs(changed[0]).max(axis=-1) > 0).all()
    np.testing.assert_array_equal(changed[1], 0)  # but none in another image
    uniform = enhance(variables, jnp.ones((1, 4, 6, 8)))[0].reshape(24, 8)
    assert len(np.unique(np.round(uniform, 4), axis=0)) == 24


@pytest.mark.slow
def test_the_enhancer_is_a_transformer_layer():
    network = Network(lambda rngs: FeatureEnhancer(4, 2, dtype=None, rngs=rngs))
    variables = network.init(jax.random.key(0))
    # Biases and norms away from zero and one, so that they count.
    keys = iter(jax.random.split(jax.random.key(1), 100))
    params = jax.tree.map(
        lambda leaf: leaf + 0.3 * jax.random.normal(next(keys), leaf.shape), variables["params"]
    )
    images = np.random.default_rng(0).standard_normal((1, 2, 3, 4)).astype(np.float32)

    def linear(params, x):
        return x @ params["kernel"] + params["bias"]

    def norm(params, x):
        deviation = x.std(axis=1, ddof=1, keepdims=True) + 1e-6
        return params["scale"] * (x - x.mean(axis=1, keepdims=True)) / deviation + params["bias"]

    p = jax.tree.map(np.float64, params)
    tokens = np.concatenate([images[0], position_table(2, 3, 4)], axis=-1).reshape(6, 8)
    query, key, value = (linear(p["attention"][name], tokens) for name in ("query", "key", "value"))
    heads = []
    for head in (slice(0, 4), slice(4, 8)):
        weights = np.exp(query[:, head] @ key[:, head].T / np.sqrt(4))
        heads.append(weights / weights.sum(axis=1, keepdims=True) @ value[:, head])
    read = linear(p["attention"]["out"], np.concatenate(heads, axis=1))
    tokens = norm(p["norm1"], tokens + read)
    hidden = np.maximum(linear(p["linear1"], tokens), 0)
    tokens = norm(p["norm2"], tokens + linear(p["linear2"], hidden))
    expected = linear(p["out"], tokens).reshape(1, 2, 3, 4)
    found = jax.jit(network.__call__)({**variables, "params": params}, images)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("channels", "heads"), [(6, 2), (8, 3)])
def test_widths_that_do_not_fit_are_refused(channels, heads):
    with pytest.raises(UserError, match=rf"config\.sr\.tbsrn\.channels={channels}: must be a mul"):
        Network(lambda rngs: TBSRN(channels=channels, heads=heads, rngs=rngs))


def test_training_drops_attention_maps_and_hidden_layers(monkeypatch):
    network = Network(lambda rngs: TBSRN(blocks=1, channels=8, heads=2, dropout=0.3, rngs=rngs))
    variables = network.init(jax.random.key(0))
    images = jax.random.uniform(jax.random.key(1), (1, 4, 8, 3))
    dropped = []
    call = nnx.Dropout.__call__

    def record(self, values, **settings):
        if not settings["deterministic"]:
            dropped.append((values.shape, self.rate))
        return call(self, values, **settings)

    monkeypatch.setattr(nnx.Dropout, "__call__", record)

    def train(key):
        return network.train(variables, images, rngs=nnx.Rngs(dropout=key))

    jax.eval_shape(train, jax.random.key(2))
    assert dropped == [((1, 2, 32, 32), 0.3), ((1, 32, 16), 0.3)]
    first, again, other = (jax.jit(train)(jax.random.key(key))[0] for key in (2, 2, 3))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-4
    dropped.clear()
    jax.eval_shape(network, variables, images)
    assert not dropped
