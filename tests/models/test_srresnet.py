"""What TSRN and TBSRN share: Mish, and the frame around the blocks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from textsr_jax.models import Network
from textsr_jax.models.srresnet import ConvPair, SRResNet, mish


class Block(nnx.Module):
    def __init__(self, rngs):
        self.convs = ConvPair(8, dtype=None, rngs=rngs)

    def __call__(self, x, *, train):
        return x + self.convs(x, train=train)


NETWORK = Network(lambda rngs: SRResNet(lambda: Block(rngs), 1, 8, dtype=None, rngs=rngs))


@pytest.fixture(scope="module")
def variables():
    """Random variables of a network of one block."""
    return NETWORK.init(jax.random.key(0))


def test_mish_and_its_gradient():
    x = jnp.concatenate([jnp.linspace(-30, 30, 2001), jnp.array([-1e4, -100, 100, 1e4])])
    softplus = np.logaddexp(0, np.asarray(x, np.float64))
    np.testing.assert_allclose(mish(x), x * np.tanh(softplus), rtol=1e-6)
    gradients = [jax.vmap(jax.grad(function))(x) for function in (mish, jax.nn.mish)]
    np.testing.assert_allclose(*gradients, rtol=0, atol=1e-5)


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
