"""Parameters of Flax NNX, Flax Linen, Equinox and plain containers: rules, values, training."""

import equinox
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

from tests.conftest import same
from textsr_jax.quantization import Rule, dequantize, is_quantized, quantize
from textsr_jax.quantization.training import straight_through

X = np.random.default_rng(0).normal(size=(3, 16)).astype(np.float32)


def plain():
    kernel = np.random.default_rng(1).normal(size=(16, 16)).astype(np.float32)
    tree = {"layers": ({"kernel": jnp.asarray(kernel), "bias": jnp.ones(16)},)}
    return tree, "layers/0/kernel", lambda tree, x: x @ tree["layers"][0]["kernel"] + 1


def flax_linen():
    dense = linen.Dense(16)
    return dense.init(jax.random.key(0), X), "kernel", dense.apply


def flax_nnx():
    graph, params = nnx.split(nnx.Linear(16, 16, rngs=nnx.Rngs(0)))
    tree = nnx.to_pure_dict(params)
    return tree, "kernel", lambda tree, x: nnx.merge(graph, nnx.State(tree))(x)


def equinox_layer():
    layer = equinox.nn.Linear(16, 16, key=jax.random.key(0))
    # Its weight has outputs first.
    return layer, "weight", lambda layer, x: jax.vmap(layer)(x)


@pytest.mark.parametrize("library", [plain, flax_linen, flax_nnx, equinox_layer])
def test_its_trees_are_packed_expanded_and_trained_through(library):
    tree, path, apply = library()
    rules = [Rule(path, 4)]
    packed = quantize(tree, rules)
    leaves = jax.tree.leaves(packed, is_leaf=is_quantized)
    (kernel,) = filter(is_quantized, leaves)
    assert kernel.shape == (16, 16) and kernel.codes.nbytes == 16 * 16 // 2
    assert jax.tree.structure(dequantize(packed)) == jax.tree.structure(tree)
    found = jax.jit(lambda packed, x: apply(dequantize(packed), x))(packed, X)
    matrix = np.asarray(dequantize(kernel))
    matrix = matrix.T if library is equinox_layer else matrix
    bias = next(np.asarray(leaf) for leaf in leaves if not is_quantized(leaf))
    np.testing.assert_allclose(found, X @ matrix + bias, rtol=0, atol=1e-5)
    through = straight_through(rules)
    assert same(through(tree), dequantize(packed))
    gradient = jax.jit(jax.grad(lambda tree: apply(through(tree), X).sum()))(tree)
    expected = np.repeat(X.sum(0)[:, None], 16, 1)
    for leaf in filter(lambda leaf: leaf.ndim == 2, jax.tree.leaves(gradient)):
        leaf = leaf.T if library is equinox_layer else leaf
        np.testing.assert_allclose(leaf, expected, rtol=0, atol=1e-5)
