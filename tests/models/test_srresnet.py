"""What TSRN and TBSRN share: Mish, the frame around the blocks, and how they train."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from textsr_jax.models import Network
from textsr_jax.models.srresnet import ConvPair, SRResNet, mish
from textsr_jax.models.tbsrn import TBSRN
from textsr_jax.models.tsrn import TSRN


class Block(nnx.Module):
    def __init__(self, rngs):
        self.convs = ConvPair(8, dtype=None, rngs=rngs)

    def __call__(self, x, *, train, rngs):
        return x + self.convs(x, train=train)


NETWORK = Network(lambda rngs: SRResNet(lambda: Block(rngs), 1, 8, dtype=None, rngs=rngs))


@pytest.fixture(scope="module")
def variables():
    """Random variables of a network of one block."""
    return NETWORK.init(jax.random.key(0))


def test_mish_and_its_gradient():
    x = jnp.concatenate([jnp.linspace(-30, 30, 2001), jnp.array([-1e4, -100, 100, 1e4])])
    exact = np.asarray(x, np.float64)
    gate = np.tanh(np.logaddexp(0, exact))
    np.testing.assert_allclose(mish(x), x * gate, rtol=1e-6)
    gradient = gate + exact * (1 - gate**2) * np.exp(-np.logaddexp(0, -exact))
    np.testing.assert_allclose(jax.vmap(jax.grad(mish))(x), gradient, rtol=0, atol=1e-5)


def test_any_size_is_doubled(variables):
    enlarge = jax.jit(NETWORK.__call__)
    for size in [(1, 16, 64, 3), (2, 4, 6, 3)]:
        sr = enlarge(variables, jnp.full(size, 0.5))
        assert sr.shape == (size[0], 2 * size[1], 2 * size[2], 3)


def test_tanh_ends_it_and_nothing_is_clipped(variables):
    params = variables["params"]
    bias = jnp.array([-2.0, 0.5, 2.0])
    tail = {"kernel": jnp.zeros_like(params["tail"]["kernel"]), "bias": bias}
    silent = {**variables, "params": {**params, "tail": tail}}
    sr = jax.jit(NETWORK.__call__)(silent, jnp.zeros((1, 4, 4, 3)))
    np.testing.assert_allclose(sr, np.broadcast_to(np.tanh(bias), sr.shape), rtol=1e-6)


def test_one_slope_for_all_that_is_negative(variables):
    # With silent blocks and no skip through them the head alone decides.
    params = {**variables["params"], "slope": jnp.ones(1)}
    flipped = {
        **params,
        "head": jax.tree.map(jnp.negative, params["head"]),
        "upsample": {**params["upsample"], "kernel": -params["upsample"]["kernel"]},
        "body_end_bn": jax.tree.map(jnp.zeros_like, params["body_end_bn"]),
    }
    plain = {**params, "body_end_bn": flipped["body_end_bn"]}
    lr = jax.random.uniform(jax.random.key(1), (1, 4, 6, 3))
    enlarge = jax.jit(NETWORK.__call__)
    # Slope 1 makes PReLU linear, so that two flips of sign cancel; any other does not.
    expected = enlarge({**variables, "params": plain}, lr)
    found = enlarge({**variables, "params": flipped}, lr)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    bent = enlarge({**variables, "params": {**flipped, "slope": jnp.full(1, 0.5)}}, lr)
    assert abs(bent - expected).max() > 1e-3


def small(kind, dtype=None):
    return Network(lambda rngs: kind(blocks=1, channels=8, dtype=dtype, rngs=rngs))


@pytest.mark.slow
@pytest.mark.parametrize("kind", [TBSRN, TSRN])
def test_training_reaches_every_parameter_and_moves_the_statistics(kind):
    network = small(kind)
    variables = network.init(jax.random.key(0))
    lr = jax.random.uniform(jax.random.key(1), (3, 4, 6, 3))

    @jax.jit
    @functools.partial(jax.grad, has_aux=True)
    def step(params):
        sr, stats = network.train({**variables, "params": params}, lr)
        return (sr**2).mean(), stats

    grads, stats = step(variables["params"])
    for keys, leaf in jax.tree_util.tree_leaves_with_path(grads):
        path = "/".join(key.key for key in keys)
        assert np.isfinite(leaf).all(), path
        # BatchNorm takes away whatever the bias before it adds, and softmax a key's.
        if not re.search(r"(conv1|conv2|body_end|key)/bias$", path):
            assert abs(leaf).max() > 1e-7, path
    moved = jax.tree.map(lambda a, b: bool((a != b).all()), stats, variables["stats"])
    assert jax.tree.all(moved)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "bound"), [(TBSRN, 0.03), (TSRN, 0.02)])
def test_bfloat16_is_close_and_comes_out_as_float32(kind, bound):
    variables = small(kind).init(jax.random.key(0))
    lr = jax.random.uniform(jax.random.key(1), (2, 8, 8, 3))
    exact, coarse = (
        jax.jit(small(kind, dtype).__call__)(variables, lr) for dtype in (None, jnp.bfloat16)
    )
    assert coarse.dtype == jnp.float32
    assert not np.array_equal(exact, coarse)
    np.testing.assert_allclose(coarse, exact, atol=bound)
