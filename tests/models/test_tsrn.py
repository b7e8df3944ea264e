"""TSRN: its size, its GRU against a plain loop and PyTorch's, and what training reaches."""

import functools
import json

import jax
import numpy as np
import pytest
import torch

from benchmarks.golden import reference_tensors
from textsr_jax import convert
from textsr_jax.errors import UserError
from textsr_jax.models import Network, count_parameters
from textsr_jax.models.tsrn import TSRN, BidirectionalGRU, GRUBlock


def small(dtype=None):
    return Network(lambda rngs: TSRN(blocks=1, channels=8, dtype=dtype, rngs=rngs))


@pytest.fixture(scope="module")
def variables():
    """Random variables of the small network."""
    return small().init(jax.random.key(0))


@pytest.fixture(scope="module")
def gru():
    """A GRU of width 5 to 2 x 3 and its variables."""
    network = Network(lambda rngs: BidirectionalGRU(5, 3, rngs=rngs))
    return network, network.init(jax.random.key(0))


SEQUENCES = np.random.default_rng(0).standard_normal((7, 4, 5)).astype(np.float32)


def test_the_defaults_are_the_published_network():
    published = json.loads((reference_tensors.HERE / "tsrn.json").read_text())
    assert published["parameters"] == 2_671_020
    assert count_parameters(convert.network("tsrn", stn=True).template) == 2_671_020
    assert count_parameters(Network(lambda rngs: TSRN(rngs=rngs)).template) == 816_260


def test_the_gru_is_a_loop_over_time(gru):
    network, variables = gru

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    def read(name, sequences):
        params = jax.tree.map(np.float64, variables["params"][name])
        state, states = np.zeros((4, 3)), []
        for x in sequences:
            given = x @ params["input"]["kernel"] + params["input"]["bias"]
            product = state @ params["recurrent"]["kernel"] + params["recurrent"]["bias"]
            reset = sigmoid(given[:, :3] + product[:, :3])
            update = sigmoid(given[:, 3:6] + product[:, 3:6])
            candidate = np.tanh(given[:, 6:] + reset * product[:, 6:])
            state = (1 - update) * candidate + update * state
            states.append(state)
        return np.stack(states)

    forward, backward = read("forward", SEQUENCES), read("backward", SEQUENCES[::-1])[::-1]
    expected = np.concatenate([forward, backward], axis=-1)
    np.testing.assert_allclose(jax.jit(network.__call__)(variables, SEQUENCES), expected, atol=1e-6)


def test_the_gru_and_its_gradients_are_pytorch_s(gru):
    network, variables = gru
    theirs = torch.nn.GRU(5, 3, bidirectional=True)
    names = {
        f"{published}_l0{suffix}": (direction, layer, leaf)
        for direction, suffix in (("forward", ""), ("backward", "_reverse"))
        for layer, letters in (("input", "ih"), ("recurrent", "hh"))
        for leaf, published in (("kernel", f"weight_{letters}"), ("bias", f"bias_{letters}"))
    }
    for name, (direction, layer, leaf) in names.items():
        ours = np.asarray(variables["params"][direction][layer][leaf])
        getattr(theirs, name).data = torch.from_numpy(ours.T.copy())
    expected = theirs(torch.from_numpy(SEQUENCES))[0]
    (expected**2).sum().backward()

    @jax.jit
    @functools.partial(jax.grad, has_aux=True)
    def differentiate(params):
        read = network({**variables, "params": params}, SEQUENCES)
        return (read**2).sum(), read

    grads, read = differentiate(variables["params"])
    np.testing.assert_allclose(read, expected.detach(), rtol=0, atol=1e-6)
    for name, (direction, layer, leaf) in names.items():
        found = np.asarray(grads[direction][layer][leaf]).T
        np.testing.assert_allclose(found, getattr(theirs, name).grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("axis", [1, 2])
def test_a_gru_block_reads_lines_in_both_directions(axis):
    network = Network(lambda rngs: GRUBlock(4, dtype=None, rngs=rngs))
    variables = network.init(jax.random.key(0))
    images = jax.random.normal(jax.random.key(1), (1, 5, 6, 4))
    changed = images.at[0, 2, 3].add(1)
    read = jax.jit(functools.partial(network, axis=axis))
    moved = (abs(read(variables, changed) - read(variables, images)) > 0).any(axis=-1)[0]
    line = np.zeros((5, 6), bool)
    line[(slice(None), 3) if axis == 1 else (2, slice(None))] = True
    np.testing.assert_array_equal(moved, line)


def test_odd_widths_are_refused():
    with pytest.raises(UserError, match=r"config\.sr\.tsrn\.channels=7: must be even"):
        Network(lambda rngs: TSRN(channels=7, rngs=rngs))
