"""A Flax NNX module whose kernels stay packed: what it holds, what it computes, what trains."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from tests.conftest import same
from textsr_jax.errors import UserError
from textsr_jax.quantization import Rule, dequantize, quantize
from textsr_jax.quantization.flax_modules import nnx as packed_module

RULES = [Rule(".*(kernel|embedding)", 4, granularity="channel")]


class Reader(nnx.Module):
    """Two linear layers that share their parameters, and an embedding that writes too."""

    def __init__(self, rngs: nnx.Rngs):
        self.layers = nnx.List([nnx.Linear(16, 16, rngs=rngs)])
        self.shared = self.layers[0]
        self.embed = nnx.Embed(16, 16, rngs=rngs)

    def __call__(self, x: jax.Array, tokens: jax.Array) -> jax.Array:
        return self.logits(nnx.relu(self.shared(self.layers[0](x)) + self.embed(tokens)))

    def logits(self, x: jax.Array) -> jax.Array:
        return self.embed.attend(x)


@pytest.fixture(scope="module")
def module() -> Reader:
    return Reader(nnx.Rngs(0))


@pytest.fixture(scope="module")
def packed(module) -> Reader:
    return packed_module(module, RULES)


@pytest.fixture(scope="module")
def batch() -> tuple[jax.Array, jax.Array]:
    return jax.random.normal(jax.random.key(1), (4, 16)), jnp.array([0, 3, 7, 3])


def expanded(module: Reader) -> Reader:
    """The module with the values that its packed parameters have."""
    params = nnx.to_pure_dict(nnx.state(module, nnx.Param))
    return nnx.merge(nnx.graphdef(module), nnx.State(dequantize(quantize(params, RULES))))


def held(module: nnx.Module) -> int:
    return sum(leaf.nbytes for leaf in jax.tree.leaves(nnx.state(module)))


def test_its_state_holds_codes_and_ranges(module, packed):
    # Two of 16 x 16: half a byte a code, an offset and a step for each channel; and one bias.
    assert held(packed) == 2 * (16 * 16 // 2 + 2 * 4 * 16) + 4 * 16
    assert held(module) == 4 * (2 * 16 * 16 + 16)
    assert type(packed) is Reader
    assert packed.shared is packed.layers[0]


def test_it_computes_what_the_expanded_module_does(module, packed, batch):
    run = nnx.jit(lambda module, batch: module(*batch))
    found = run(packed, batch)
    np.testing.assert_array_equal(found, run(expanded(module), batch))
    assert float(jnp.abs(found - run(module, batch)).max()) > 1e-3
    # Another method than `__call__`, outside jit.
    x = jnp.eye(3, 16)
    np.testing.assert_array_equal(packed.logits(x), expanded(module).logits(x))


def test_it_is_split_and_merged(packed, batch):
    graph, params, rest = nnx.split(packed, nnx.Param, ...)
    assert {path[-1] for path in nnx.to_flat_state(params).paths} == {"bias"}
    assert same(nnx.state(nnx.merge(graph, params, rest)), nnx.state(packed))
    assert "bits=4" in str(packed)


def test_other_parameters_learn_and_codes_stay(module, packed, batch):
    changed = nnx.clone(packed)

    @nnx.jit
    def step(module: Reader) -> nnx.State:
        optimizer = nnx.Optimizer(module, optax.sgd(0.1), wrt=nnx.Param)
        gradient = nnx.grad(lambda module: jnp.square(module(*batch) - 1).mean())(module)
        optimizer.update(module, gradient)
        return gradient

    found, plain = step(changed), step(expanded(module))
    assert len(jax.tree.leaves(found)) == 1
    gradient = found["layers"][0]["bias"][...]
    np.testing.assert_allclose(gradient, plain["layers"][0]["bias"][...], rtol=1e-5, atol=1e-7)
    moved = packed.shared.bias[...] - 0.1 * gradient
    np.testing.assert_allclose(changed.shared.bias[...], moved, rtol=0, atol=1e-7)
    assert same(changed.shared.kernel.get_raw_value(), packed.shared.kernel.get_raw_value())


def test_values_cannot_be_set(packed):
    with pytest.raises(UserError, match="a packed parameter takes no values"):
        packed.shared.kernel[...] = jnp.zeros((16, 16))
