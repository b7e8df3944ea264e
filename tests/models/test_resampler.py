"""The content-adaptive resampler: its kernels, and its sampling against the definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textsr_jax.models import Network, count_parameters
from textsr_jax.models.resampler import Resampler, resample

CENTRE = 7 * 3 + 3


def small(dtype=None):
    return Network(
        lambda rngs: Resampler(
            stem_channels=4, channels=6, trunk_channels=8, blocks=1, dtype=dtype, rngs=rngs
        )
    )


@pytest.fixture(scope="module")
def variables():
    """Random variables of the small network."""
    return small().init(jax.random.key(0))


def random_taps(rng, shape, reach):
    """Kernels with sum 1, and offsets up to `reach`, float32 (*shape, 49)."""
    kernels = rng.random((*shape, 49))
    kernels /= kernels.sum(axis=-1, keepdims=True)
    offsets = rng.uniform(-reach, reach, (2, *shape, 49))
    return [x.astype(np.float32) for x in (kernels, *offsets)]


def test_the_defaults_are_the_published_network():
    network = Network(lambda rngs: Resampler(rngs=rngs))
    assert count_parameters(network.template) == 10_645_663 - 12  # without the mean shift


@pytest.mark.slow
def test_kernels_are_averages_and_offsets_are_bounded(variables):
    for size in [(2, 16, 16, 3), (1, 24, 40, 3)]:
        hr = jax.random.uniform(jax.random.key(1), size)
        made = jax.jit(small().__call__)(variables, hr)
        shape = (size[0], size[1] // 2, size[2] // 2)
        assert made.images.shape == (*shape, 3)
        assert made.kernels.shape == made.offsets_h.shape == made.offsets_v.shape == (*shape, 49)
        assert float(made.kernels.min()) > 0
        np.testing.assert_allclose(made.kernels.sum(axis=-1), 1, rtol=1e-5)
        assert float(jnp.abs(jnp.stack([made.offsets_h, made.offsets_v])).max()) <= 1
        np.testing.assert_allclose(
            made.images, resample(hr, made.kernels, made.offsets_h, made.offsets_v), atol=1e-6
        )


@pytest.mark.parametrize("size", [(12, 16), (16, 20), (8, 16)])
def test_images_that_do_not_fit_are_refused(variables, size):
    with pytest.raises(ValueError, match="multiples of 8, 16 at least"):
        small()(variables, jnp.zeros((1, *size, 3)))


@pytest.mark.slow
def test_every_parameter_learns(variables):
    hr = jax.random.uniform(jax.random.key(1), (2, 16, 24, 3))

    def error(params):
        images = small()({"params": params, "stats": {}}, hr).images
        return ((images - 0.5) ** 2).mean()

    gradient = jax.jit(jax.grad(error))(variables["params"])
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        assert np.isfinite(leaf).all(), path
        assert np.abs(leaf).max() > 0, path


@pytest.mark.slow
def test_bfloat16_is_close_and_comes_out_as_float32(variables):
    hr = jax.random.uniform(jax.random.key(1), (2, 16, 24, 3))
    exact, coarse = (
        jax.jit(small(dtype).__call__)(variables, hr) for dtype in (None, jnp.bfloat16)
    )
    assert coarse.images.dtype == jnp.float32
    assert not np.array_equal(exact.images, coarse.images)
    np.testing.assert_allclose(coarse.images, exact.images, atol=0.02)


def test_the_middle_tap_alone_averages_blocks_of_four_pixels():
    hr = np.random.default_rng(0).random((1, 6, 8, 3)).astype(np.float32)
    kernels = np.zeros((1, 3, 4, 49), np.float32)
    kernels[..., CENTRE] = 1
    still = np.zeros_like(kernels)
    blocks = hr.reshape(1, 3, 2, 4, 2, 3)
    np.testing.assert_allclose(resample(hr, kernels, still, still), blocks.mean((2, 4)), atol=1e-6)
    # An offset of 1 is two pixels: a quarter moves from between two pixels onto one of them.
    right_down = resample(hr, kernels, still + 0.25, still + 0.25)
    np.testing.assert_allclose(right_down, blocks[:, :, 1, :, 1], atol=1e-6)
    right_up = resample(hr, kernels, still + 0.25, still - 0.25)
    np.testing.assert_allclose(right_up, blocks[:, :, 0, :, 1], atol=1e-6)


def slow(hr, kernels, offsets_h, offsets_v):
    """The definition, tap by tap."""

    def between(index, count, size, tap, offset):
        # In float32: at a whole number of pixels outside the image the definition jumps.
        position = np.float32((index + 0.5) / count * size + tap - 0.5) + np.float32(2) * offset
        low = np.floor(position)
        first = int(np.clip(low, 0, size + 5))
        return (first, 1 - (position - low)), (min(first + 1, size + 5), position - low)

    padded = np.pad(hr, ((0, 0), (3, 3), (3, 3), (0, 0)), mode="reflect")
    lr = np.zeros((*kernels.shape[:3], hr.shape[3]))
    for image, row, column, tap in np.ndindex(kernels.shape):
        here = image, row, column, tap
        y = between(row, kernels.shape[1], hr.shape[1], tap // 7, offsets_v[here])
        x = between(column, kernels.shape[2], hr.shape[2], tap % 7, offsets_h[here])
        for y_index, y_weight in y:
            for x_index, x_weight in x:
                pixel = padded[image, y_index, x_index]
                lr[image, row, column] += kernels[here] * y_weight * x_weight * pixel
    return lr


@settings(max_examples=12)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.sampled_from([(4, 6), (8, 4)]),
    reach=st.sampled_from([1.0, 4.0]),
)
def test_sampling_equals_the_definition(seed, size, reach):
    rng = np.random.default_rng(seed)
    height, width = size
    hr = rng.random((2, height, width, 3)).astype(np.float32)
    taps = random_taps(rng, (2, height // 2, width // 2), reach)
    np.testing.assert_allclose(jax.jit(resample)(hr, *taps), slow(hr, *taps), atol=1e-5)


@pytest.mark.parametrize("argument", range(4))
def test_gradients_are_finite_differences(argument):
    rng = np.random.default_rng(argument)
    arguments = [rng.random((1, 6, 8, 2)).astype(np.float32), *random_taps(rng, (1, 3, 4), 1)]
    for offsets in arguments[2:]:
        # Away from pixels, where a sample's slope jumps: between two it is bilinear, and so the
        # difference below is exact.
        offsets[:] = (
            rng.integers(-2, 2, offsets.shape) + rng.uniform(-0.3, 0.3, offsets.shape)
        ) / 2
    weights = rng.standard_normal((1, 3, 4, 2)).astype(np.float32)

    @jax.jit
    def value(*arguments):
        return (resample(*arguments) * weights).sum()

    gradient = np.asarray(jax.grad(value, argument)(*arguments))
    step = 0.05
    for index in rng.choice(arguments[argument].size, 40, replace=False):
        values = []
        for sign in (1, -1):
            moved = [*arguments]
            moved[argument] = arguments[argument].copy()
            moved[argument].flat[index] += sign * step
            values.append(float(value(*moved)))
        difference = (values[0] - values[1]) / (2 * step)
        assert float(gradient.ravel()[index]) == pytest.approx(difference, abs=2e-4)


def test_the_gradient_needs_little_memory():
    rng = np.random.default_rng(0)
    arguments = [np.zeros((2, 64, 64, 3), np.float32), *random_taps(rng, (2, 32, 32), 1)]
    gradient = jax.jit(jax.grad(lambda *arguments: resample(*arguments).sum(), (1, 2, 3)))
    compiled = gradient.lower(*arguments).compile().memory_analysis()
    # All taps at once would take seven times as much.
    assert compiled.temp_size_in_bytes < 2 * sum(argument.nbytes for argument in arguments)
