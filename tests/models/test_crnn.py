"""CRNN: its size, its preparation of images, pooling and LSTM."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from textsr_jax.models import Network, count_parameters
from textsr_jax.models.crnn import CRNN, LSTM, _overlapping_pool, prepare
from textsr_jax.models.layers.resizing import bicubic_matrix


def small(dtype=None):
    return Network(lambda rngs: CRNN(channels=(4,) * 7, hidden=6, dtype=dtype, rngs=rngs))


@pytest.fixture(scope="module")
def variables():
    """Random variables of the small network."""
    return small().init(jax.random.key(0))


def test_the_defaults_are_the_published_network():
    network = Network(lambda rngs: CRNN(rngs=rngs))
    assert count_parameters(network.template) == 8_331_301


def test_images_are_prepared_as_published():
    images = np.random.default_rng(0).random((3, 32, 128, 3)).astype(np.float32)
    resized = torch.nn.functional.interpolate(
        torch.from_numpy(images.transpose(0, 3, 1, 2).copy()), (32, 100), mode="bicubic"
    )
    red, green, blue = resized.numpy().transpose(1, 0, 2, 3)
    expected = 0.299 * red + 0.587 * green + 0.114 * blue
    prepared = prepare(images)
    assert prepared.shape == (3, 32, 100, 1)
    np.testing.assert_allclose(prepared[..., 0], expected, rtol=0, atol=1e-5)


def test_low_images_are_resized_in_height_too():
    images = np.random.default_rng(0).random((2, 16, 64, 3)).astype(np.float32)
    resized = torch.nn.functional.interpolate(
        torch.from_numpy(images.transpose(0, 3, 1, 2).copy()), (32, 100), mode="bicubic"
    )
    red, green, blue = resized.numpy().transpose(1, 0, 2, 3)
    expected = 0.299 * red + 0.587 * green + 0.114 * blue
    np.testing.assert_allclose(prepare(images)[..., 0], expected, rtol=0, atol=1e-5)


def test_bicubic_resizing_averages_four_pixels():
    matrix = bicubic_matrix(128, 100)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-6)
    assert (np.count_nonzero(matrix, axis=1) <= 4).all()
    np.testing.assert_array_equal(bicubic_matrix(7, 7), np.eye(7))
    # Half way between two pixels the cubic weighs (a, 4 - a, 4 - a, a) / 8 with a = -0.75.
    np.testing.assert_allclose(
        bicubic_matrix(8, 4)[1], [0, -0.09375, 0.59375, 0.59375, -0.09375, 0, 0, 0], atol=1e-7
    )


def test_an_image_becomes_26_frames_of_classes(variables):
    images = jax.random.uniform(jax.random.key(1), (2, 32, 128, 3))
    logits = jax.jit(small().__call__)(variables, images)
    assert (logits.shape, logits.dtype) == ((2, 26, 37), jnp.float32)
    classify = jax.jit(functools.partial(small(), method="classify"))
    np.testing.assert_allclose(classify(variables, prepare(images)), logits, atol=1e-6)


def test_bfloat16_is_close_and_comes_out_as_float32(variables):
    images = jax.random.uniform(jax.random.key(1), (2, 32, 128, 3))
    exact, coarse = (
        jax.jit(small(dtype).__call__)(variables, images) for dtype in (None, jnp.bfloat16)
    )
    assert coarse.dtype == jnp.float32
    assert not np.array_equal(exact, coarse)
    np.testing.assert_allclose(coarse, exact, atol=0.02)


def test_overlapping_pooling_with_its_gradient():
    x = np.random.default_rng(0).standard_normal((2, 4, 5, 3)).astype(np.float32)

    def ours(x):
        return _overlapping_pool(nnx.relu(x))

    def theirs(x):
        return nnx.max_pool(nnx.relu(x), (2, 2), strides=(2, 1), padding=((0, 0), (1, 1)))

    assert ours(x).shape == (2, 2, 6, 3)
    np.testing.assert_array_equal(ours(x), theirs(x))
    gradients = (jax.grad(lambda x, pool=pool: (pool(x) ** 2).sum())(x) for pool in (ours, theirs))
    np.testing.assert_allclose(*gradients, rtol=1e-6)


@pytest.mark.parametrize("reverse", [False, True])
def test_lstm_step_by_step(reverse):
    lstm = LSTM(3, 2, reverse=reverse, dtype=None, rngs=nnx.Rngs(0))
    rng = np.random.default_rng(0)
    lstm.input.bias[...] = rng.standard_normal(8)
    lstm.recurrent.bias[...] = rng.standard_normal(8)
    sequence = rng.standard_normal((4, 5, 3)).astype(np.float32)

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    state = cell = np.zeros((5, 2))
    states = []
    for frame in sequence[::-1] if reverse else sequence:
        gates = frame @ lstm.input.kernel[...] + lstm.input.bias[...]
        gates += state @ lstm.recurrent.kernel[...] + lstm.recurrent.bias[...]
        i, f, g, o = np.split(np.asarray(gates), 4, axis=1)
        cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
        state = sigmoid(o) * np.tanh(cell)
        states.append(state)
    np.testing.assert_allclose(lstm(sequence), states[::-1] if reverse else states, atol=1e-5)
