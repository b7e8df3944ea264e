"""Max pooling against XLA's own, forwards and backwards."""

import jax
import numpy as np
import pytest
from flax import nnx

from textsr_jax.models.layers.pooling import max_pool


@pytest.mark.parametrize("window", [(2, 2), (1, 2), (2, 1), (1, 1)])
def test_it_is_max_pooling_with_its_gradient(window):
    x = np.random.default_rng(0).standard_normal((2, 4, 6, 3)).astype(np.float32)
    assert np.array_equal(max_pool(x, window), nnx.max_pool(x, window, window))
    ours = jax.grad(lambda x: (max_pool(x, window) ** 2).sum())(x)
    theirs = jax.grad(lambda x: (nnx.max_pool(x, window, window) ** 2).sum())(x)
    assert np.allclose(ours, theirs)
