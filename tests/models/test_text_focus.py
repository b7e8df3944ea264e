"""The text-focus recogniser: its size, its causality, its dtypes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from textsr_jax.models import Network, count_parameters
from textsr_jax.models.text_focus import TextFocusRecognizer


def small(dtype=None):
    return Network(
        lambda rngs: TextFocusRecognizer(
            (4, 8), (8, 8, 8, 8), (1, 1, 2, 1), 32, 4, 16, 16, dtype=dtype, rngs=rngs
        )
    )


@pytest.fixture(scope="module")
def variables():
    """Random variables of the small network."""
    return small().init(jax.random.key(0))


def read(variables, gray, tokens, **settings):
    return jax.jit(small(**settings).__call__)(variables, gray, jnp.array(tokens))


def test_the_defaults_are_the_published_network():
    network = Network(lambda rngs: TextFocusRecognizer(rngs=rngs))
    assert count_parameters(network.template) == 62_314_951 - 2 * 17  # two unused layers


def test_a_step_sees_only_what_came_before(variables):
    gray = jax.random.uniform(jax.random.key(1), (1, 32, 128, 1)).repeat(2, axis=0)
    logits, attention = read(variables, gray, [[0, 5, 6, 7], [0, 5, 9, 7]])
    assert attention.shape == (2, 4, 4, 256)
    np.testing.assert_allclose(attention.sum(axis=-1), 1, rtol=1e-5)
    np.testing.assert_allclose(logits[0, :2], logits[1, :2], rtol=0, atol=1e-6)
    assert (abs(logits[0, 2:] - logits[1, 2:]).max(axis=-1) > 1e-3).all()


@pytest.mark.slow
def test_training_updates_the_statistics(variables):
    gray = jax.random.uniform(jax.random.key(1), (2, 32, 128, 1))
    (logits, _), stats = jax.jit(small().train)(variables, gray, jnp.zeros((2, 3), jnp.int32))
    assert np.isfinite(logits).all()
    assert jax.tree.structure(stats) == jax.tree.structure(variables["stats"])
    assert (stats["encoder"]["stages"]["3"]["end"]["bn"]["var"] != 1).all()


@pytest.mark.slow
def test_bfloat16_gives_float32_logits_and_attention(variables):
    gray = jax.random.uniform(jax.random.key(1), (1, 32, 128, 1))
    logits, attention = read(variables, gray, [[0, 5, 6]], dtype=jnp.bfloat16)
    exact, _ = read(variables, gray, [[0, 5, 6]])
    assert logits.dtype == attention.dtype == jnp.float32
    np.testing.assert_allclose(logits, exact, atol=0.1)


@pytest.mark.slow
def test_training_drops_where_the_published_code_does(monkeypatch):
    network = Network(
        lambda rngs: TextFocusRecognizer(
            (4, 4), (4, 4, 4, 4), (1, 1, 1, 1), 16, 2, 24, 8, 0.4, rngs=rngs
        )
    )
    variables = network.init(jax.random.key(0))
    gray, tokens = jnp.ones((2, 32, 128, 1)) * 0.5, jnp.array([[0, 3, 4], [0, 5, 0]])
    dropped = []
    call = nnx.Dropout.__call__

    def record(self, values, **settings):
        if not settings["deterministic"]:
            dropped.append((values.shape, self.rate))
        return call(self, values, **settings)

    monkeypatch.setattr(nnx.Dropout, "__call__", record)

    def train(key):
        return network.train(variables, gray, tokens, rngs=nnx.Rngs(dropout=key))

    jax.eval_shape(train, jax.random.key(1))
    # Positions, both attentions' maps, and the hidden layer.
    assert [shape for shape, _ in dropped] == [
        *((2, 3, 8), (2, 2, 3, 3)),
        *((2, 2, 3, 256), (2, 3, 24)),
    ]
    assert {rate for _, rate in dropped} == {0.4}
    # The frozen recogniser of the loss is in evaluation mode: nothing is dropped.
    dropped.clear()
    jax.eval_shape(network, variables, gray, tokens)
    assert not dropped
