"""TATT: its size, and the two ways in which its queries are made."""

import json

import jax
import numpy as np
import pytest
from flax import nnx

from benchmarks.golden import reference_tensors
from textsr_jax import convert
from textsr_jax.errors import UserError
from textsr_jax.models import Network, count_parameters
from textsr_jax.models.tatt import TATT, AttentionInterpreter


def interpreter(queries):
    def build(rngs: nnx.Rngs) -> nnx.Module:
        return AttentionInterpreter(5, 4, 2, (1, 1), (2, 3), queries, 0.0, dtype=None, rngs=rngs)

    return Network(build)


def test_the_defaults_are_the_published_network():
    published = json.loads((reference_tensors.HERE / "tatt.json").read_text())
    template = convert.network("tatt", stn=True).template
    # The decoder's attention of pixels to each other, its norm, and a layer for features.
    assert count_parameters(template) == published["parameters"] - 37_696


def test_queries_of_columns_leave_the_images_of_a_batch_alone():
    rng = np.random.default_rng(0)
    features = rng.standard_normal((1, 2, 3, 4)).astype(np.float32)
    prior = rng.random((1, 7, 5)).astype(np.float32)
    pair = [np.concatenate([array, array]) for array in (features, prior)]
    network = interpreter("columns")
    variables = network.init(jax.random.key(0))
    made, attention = jax.jit(network.__call__)(variables, *pair)
    np.testing.assert_allclose(made[0], made[1], rtol=0, atol=1e-6)
    np.testing.assert_allclose(attention.sum(-1), 1, rtol=0, atol=1e-6)
    # As published, the GRU runs from one image of a batch to the next: equal images differ.
    made, _ = jax.jit(interpreter("batch").__call__)(variables, *pair)
    assert np.abs(made[0] - made[1]).max() > 1e-3


def test_other_sizes_are_refused():
    with pytest.raises(UserError, match=r"channels=6: must be even and a multiple of .*heads=4"):
        Network(lambda rngs: TATT(channels=6, rngs=rngs))
    with pytest.raises(UserError, match="images of 3x3 pixels: TATT takes 2x3 alone"):
        interpreter("columns").skeleton()(np.zeros((1, 3, 3, 4)), np.zeros((1, 7, 5)))
