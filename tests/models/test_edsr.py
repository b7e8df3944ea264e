"""EDSR: its size, its colours and its pixel shuffle."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from textsr_jax.models import Network, count_parameters
from textsr_jax.models.edsr import EDSR
from textsr_jax.models.layers import convolution
from textsr_jax.models.layers.pixels import RGB_MEAN


def small(dtype=None):
    return Network(lambda rngs: EDSR(blocks=2, channels=8, dtype=dtype, rngs=rngs))


@pytest.fixture(scope="module")
def variables():
    """Random variables of the small network."""
    return small().init(jax.random.key(0))


def test_the_defaults_are_the_paper_s_network():
    network = Network(lambda rngs: EDSR(rngs=rngs))
    assert count_parameters(network.template) == 40_729_627 - 24  # without the mean shifts


def test_any_size_is_doubled(variables):
    enlarge = jax.jit(small().__call__)
    for size in [(1, 16, 64, 3), (3, 5, 7, 3)]:
        sr = enlarge(variables, jnp.full(size, 0.5))
        assert sr.shape == (size[0], 2 * size[1], 2 * size[2], 3)


def test_a_silent_tail_leaves_the_mean_colour(variables):
    params = variables["params"]
    silent = {**params, "tail": jax.tree.map(jnp.zeros_like, params["tail"])}
    lr = jax.random.uniform(jax.random.key(1), (1, 4, 4, 3))
    sr = jax.jit(small().__call__)({**variables, "params": silent}, lr)
    np.testing.assert_array_equal(sr, np.broadcast_to(np.float32(RGB_MEAN), sr.shape))


def test_bfloat16_is_close_and_comes_out_as_float32(variables):
    lr = jax.random.uniform(jax.random.key(1), (2, 8, 8, 3))
    exact, coarse = (
        jax.jit(small(dtype).__call__)(variables, lr) for dtype in (None, jnp.bfloat16)
    )
    assert coarse.dtype == jnp.float32
    assert not np.array_equal(exact, coarse)
    np.testing.assert_allclose(coarse, exact, atol=0.02)


@pytest.mark.slow
def test_a_wide_one_computes_what_plain_convolutions_do(monkeypatch):
    """By Winograd's algorithm, in both directions."""
    monkeypatch.setattr(convolution, "_MIN_BYTES", 0)
    network = Network(lambda rngs: EDSR(blocks=1, channels=128, rngs=rngs))
    variables = network.init(jax.random.key(0))
    lr = jax.random.uniform(jax.random.key(1), (2, 5, 6, 3))

    def loss(variables):
        sr = network(variables, lr)
        return (sr * jnp.sin(jnp.arange(sr.size).reshape(sr.shape))).sum(), sr

    def compiled():
        return jax.jit(jax.grad(loss, has_aux=True)).lower(variables)

    ours = compiled()
    with convolution.counted():
        plain = compiled()
    # One for each layer and gradient there; here of head and tail, which are narrow.
    assert ours.as_text().count("stablehlo.convolution") < plain.as_text().count(
        "stablehlo.convolution"
    )
    (gradients, sr), (wanted, wanted_sr) = (made.compile()(variables) for made in (ours, plain))
    np.testing.assert_allclose(sr, wanted_sr, atol=1e-6)
    jax.tree.map(
        lambda ours, plain: np.testing.assert_allclose(
            ours, plain, rtol=0, atol=1e-5 * np.abs(plain).max()
        ),
        gradients,
        wanted,
    )


@pytest.mark.slow
def test_blocks_computed_twice_give_the_same_gradients_and_keep_less():
    lr = jax.random.uniform(jax.random.key(1), (4, 16, 32, 3))
    variables = Network(lambda rngs: EDSR(blocks=6, channels=8, rngs=rngs)).init(jax.random.key(2))
    found, kept = [], []
    for remat in (False, True):
        network = Network(lambda rngs, r=remat: EDSR(blocks=6, channels=8, remat=r, rngs=rngs))

        def loss(variables, network=network):
            return jnp.square(network.train(variables, lr)[0]).mean()

        value, backward = jax.vjp(loss, variables)
        found.append((value, backward(1.0)))
        # What the backward pass needs of the forward pass. (XLA on CPUs merges both computations.)
        kept.append(sum(leaf.nbytes for leaf in jax.tree.leaves(backward)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), *found)
    assert kept[1] < 0.8 * kept[0]
