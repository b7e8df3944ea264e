"""The STN: where its control points start, and what its spline does to an image."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from textsr_jax.models import Network, count_parameters
from textsr_jax.models.stn import STN, canonical_points, rectify


def small(dtype=None):
    return Network(
        lambda rngs: STN((4,) * 6, features=8, num_control_points=8, dtype=dtype, rngs=rngs)
    )


@pytest.fixture(scope="module")
def variables():
    """Fresh variables of the small network."""
    return small().init(jax.random.key(0))


def control_points(network, variables, images):
    find = functools.partial(network, train=False, method="control_points")
    return jax.jit(find)(variables, images)


def test_the_defaults_are_the_published_network():
    assert count_parameters(Network(lambda rngs: STN(rngs=rngs)).template) == 1_854_760


def test_starts_at_the_canonical_points(variables):
    images = jax.random.uniform(jax.random.key(1), (3, 16, 64, 3))
    points = control_points(small(), variables, images)
    assert points.shape == (3, 8, 2)
    np.testing.assert_allclose(points[1, 0], [0.01, 0.01], atol=1e-6)
    np.testing.assert_allclose(points[1, 3], [0.99, 0.01], atol=1e-6)
    np.testing.assert_allclose(points[1, 4], [0.01, 0.99], atol=1e-6)
    np.testing.assert_allclose(points[2, 7], [0.99, 0.99], atol=1e-6)


def test_points_in_their_target_places_change_nothing():
    images = jax.random.uniform(jax.random.key(1), (2, 16, 64, 3))
    points = np.broadcast_to(canonical_points(20, 0.05).astype(np.float32), (2, 20, 2))
    np.testing.assert_allclose(rectify(images, points), images, atol=1e-4)


def test_moved_points_move_the_image():
    images = jax.random.uniform(jax.random.key(1), (1, 16, 64, 3))
    points = canonical_points(20, 0.05) + np.array([8 / 63, 0])  # read eight pixels further right
    rectified = rectify(images, jnp.asarray(points, jnp.float32)[None])
    np.testing.assert_allclose(rectified[:, :, :-8], images[:, :, 8:], atol=1e-4)
    # What lies outside is the edge.
    np.testing.assert_allclose(rectified[:, :, -8:], images[:, :, -1:].repeat(8, 2), atol=1e-4)


@pytest.mark.slow
def test_training_learns_points_and_updates_the_statistics(variables):
    network = small()
    images = jax.random.uniform(jax.random.key(1), (4, 16, 64, 3))

    @jax.jit
    @functools.partial(jax.grad, has_aux=True)
    def step(params):
        rectified, stats = network.train({**variables, "params": params}, images)
        return (rectified**2).mean(), stats

    grads, stats = step(variables["params"])
    assert float(jnp.abs(grads["fc2"]["kernel"]).max()) > 0
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))
    # Momentum 0.9: a tenth of the way from 0 to the batch's mean.
    features = network.module(variables).convs[0].conv(images)
    found = stats["convs"]["0"]["bn"]["mean"]
    np.testing.assert_allclose(found, 0.1 * features.mean(axis=(0, 1, 2)), atol=1e-6)


def test_bfloat16_warps_in_float32(variables):
    # Fresh variables give the canonical points in any precision.
    images = jax.random.uniform(jax.random.key(1), (2, 16, 64, 3))
    exact, coarse = (
        jax.jit(small(dtype).__call__)(variables, images) for dtype in (None, jnp.bfloat16)
    )
    np.testing.assert_allclose(coarse, exact, rtol=0, atol=1e-6)


def test_statistics_move_by_a_tenth_as_published():
    """PyTorch's BatchNorm has momentum 0.1: running = 0.9 running + 0.1 of the batch's."""
    network, variables = small(), small().init(jax.random.key(0))
    images = np.random.default_rng(0).random((4, 16, 64, 3)).astype(np.float32)
    train = jax.jit(network.train)
    _, once = train(variables, images)
    _, twice = train(variables | {"stats": once}, images)
    first = variables["stats"]
    norms = [first["convs"][str(number)]["bn"] for number in range(6)] + [first["fc1_bn"]]
    assert len(jax.tree.leaves(first)) == 2 * len(norms)
    # The batch's are the same both times: of 1 - 0.9 the first step takes, of 1 - 0.81 both.
    moved = jax.tree.map(lambda a, b: b - a, first, once)
    further = jax.tree.map(lambda a, b: b - a, first, twice)
    for one, two in zip(jax.tree.leaves(moved), jax.tree.leaves(further), strict=True):
        assert np.abs(one).max() > 1e-6
        np.testing.assert_allclose(two, 1.9 * one, rtol=1e-4, atol=1e-6)
    # And by hand for the first: the mean of its convolution.
    params = variables["params"]["convs"]["0"]["conv"]
    made = jax.lax.conv_general_dilated(
        images, params["kernel"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    made = np.asarray(made + params["bias"], np.float64)
    np.testing.assert_allclose(
        once["convs"]["0"]["bn"]["mean"], 0.1 * made.mean((0, 1, 2)), rtol=1e-3, atol=1e-6
    )
    np.testing.assert_allclose(
        once["convs"]["0"]["bn"]["var"], 0.9 + 0.1 * made.var((0, 1, 2)), rtol=1e-4
    )
