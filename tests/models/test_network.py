"""The functional view of a module: same seed same tree, running changes nothing, training does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.conftest import same
from textsr_jax.models.network import Network, count_parameters


class Tiny(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.layers = nnx.List([nnx.Linear(2, 3, rngs=rngs)])
        self.bn = nnx.BatchNorm(3, momentum=0.9, rngs=rngs)

    def __call__(self, x, *, train: bool = False):
        return self.bn(self.layers[0](x), use_running_average=not train)

    def double(self, x):
        return 2 * self(x)


@pytest.fixture
def network():
    return Network(Tiny)


def test_the_tree_has_published_style_paths_and_string_keys(network):
    assert set(network.template["params"]) == {"layers", "bn"}
    assert network.template["params"]["layers"]["0"]["kernel"].shape == (2, 3)
    assert set(network.template["stats"]["bn"]) == {"mean", "var"}
    assert count_parameters(network.template) == 2 * 3 + 3 + 3 + 3


def test_the_seed_decides_every_bit(network):
    first, again = (network.init(jax.random.key(seed)) for seed in (1, 1))
    assert same(first, again)
    assert not same(first, network.init(jax.random.key(2)))


def test_evaluation_computes_the_module_and_changes_nothing(network):
    variables = network.init(jax.random.key(0))
    before = jax.tree.map(np.asarray, variables)
    x = jnp.array([[1.0, 2.0], [3.0, 5.0]])
    kernel = variables["params"]["layers"]["0"]["kernel"]
    expected = x @ kernel / np.sqrt(1 + 1e-5)
    assert np.allclose(network(variables, x), expected, atol=1e-6)
    assert np.allclose(network(variables, x, method="double"), 2 * expected, atol=1e-6)
    assert same(variables, before)


def test_training_returns_new_statistics_under_jit_and_grad(network):
    variables = network.init(jax.random.key(0))
    x = jnp.array([[1.0, 2.0], [3.0, 5.0]])

    @jax.jit
    @jax.value_and_grad
    def unused(params):
        return network.train({"params": params, "stats": variables["stats"]}, x)[0].sum()

    unused(variables["params"])
    output, stats = jax.jit(network.train)(variables, x)
    assert np.allclose(output.mean(axis=0), 0, atol=1e-5)
    values = x @ variables["params"]["layers"]["0"]["kernel"]
    assert np.allclose(stats["bn"]["mean"], 0.1 * values.mean(axis=0), atol=1e-6)
    assert same(variables["stats"]["bn"]["mean"], jnp.zeros(3))
