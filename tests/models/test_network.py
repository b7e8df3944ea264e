"""The functional view of a module: same seed same tree, running changes nothing, training does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.conftest import same
from textsr_jax.models.network import Keys, Network, count_parameters
from textsr_jax.quantization import Rule, dequantize, quantize


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


def test_the_draws_are_nnxs_own(network):
    module = Tiny(nnx.Rngs(params=jax.random.key(7)))
    kernel = network.init(jax.random.key(7))["params"]["layers"]["0"]["kernel"]
    np.testing.assert_array_equal(kernel, module.layers[0].kernel[...])
    rngs, keys = nnx.Rngs(params=jax.random.key(3)), Keys(jax.random.key(3))
    for _ in range(4):
        assert rngs.params() == keys.params()


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


def test_a_network_through_an_expansion_takes_variables_in_another_form(network):
    variables = network.init(jax.random.key(0))
    halved = jax.tree.map(lambda leaf: leaf / 2, variables)
    expanded = []

    def double(tree):
        expanded.append(tree)
        return jax.tree.map(lambda leaf: 2 * leaf, tree)

    through = network.through(double)
    x = jnp.array([[1.0, 2.0], [3.0, 5.0]])
    assert np.array_equal(through(halved, x), network(variables, x))
    assert np.array_equal(through(halved, x, method="double"), 2 * network(variables, x))
    assert np.array_equal(through.module(halved)(x), network(variables, x))
    for one, other in zip(through.train(halved, x), network.train(variables, x), strict=True):
        assert same(one, other)
    assert len(expanded) == 4
    # The network itself stays as it was, and new variables are in its own form.
    assert np.array_equal(network(variables, x), through(halved, x))
    assert same(through.init(jax.random.key(0)), variables)
    assert through.template == network.template


def test_packed_variables_are_expanded_inside_jit(network):
    variables = network.init(jax.random.key(0))
    packed = quantize(variables, [Rule(".*/kernel", 4, granularity="channel")])
    through = network.through(dequantize)
    x = jnp.array([[1.0, 2.0], [3.0, 5.0]])
    run = jax.jit(through)
    assert np.allclose(run(packed, x), network(dequantize(packed), x), atol=1e-6)
    # What the compiled function is given are the packed codes: six of 4 bits, and no kernel.
    given = jax.tree.leaves(run.lower(packed, x).in_avals)
    assert [leaf.shape for leaf in given if leaf.dtype == jnp.uint8] == [(3,)]
    assert not [leaf for leaf in given if leaf.shape == (2, 3)]
