"""Attention and its LayerNorm."""

import jax
import jax.numpy as jnp
import numpy as np

from textsr_jax.models import Network
from textsr_jax.models.layers.attention import LayerNorm, MultiHeadAttention


def test_layer_norm_adds_epsilon_to_the_unbiased_deviation():
    x = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)
    expected = (x - x.mean(1, keepdims=True)) / (x.std(1, ddof=1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(LayerNorm(8)(x), expected, rtol=1e-5, atol=1e-6)
    # Equal values have no deviation, and still a gradient.
    assert np.isfinite(jax.grad(lambda x: LayerNorm(8)(x).sum())(jnp.ones(8))).all()


def test_attention_follows_its_mask():
    network = Network(lambda rngs: MultiHeadAttention(8, 2, dtype=None, rngs=rngs))
    variables = network.init(jax.random.key(0))
    x, memory = np.random.default_rng(0).normal(size=(2, 1, 3, 8)).astype(np.float32)
    mask = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0]], bool)
    read, attention = network(variables, x, memory, mask)
    np.testing.assert_array_equal(attention[0, :, :2], np.eye(3)[None, :2].repeat(2, 0))
    np.testing.assert_array_equal(attention[..., 2], 0)
    # A step that looks at one place reads that place's value.
    module = network.module(variables)
    np.testing.assert_allclose(read[0, :2], module.out(module.value(memory[0, :2])), atol=1e-6)
