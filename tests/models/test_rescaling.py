"""The resampler with EDSR behind it: 8-bit LR images, gradients through rounding and sampling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from tests.conftest import micro_config
from textsr_jax.errors import UserError
from textsr_jax.images import to_uint8
from textsr_jax.models import Network, build_rescaler
from textsr_jax.models.bicubic import reduce
from textsr_jax.models.edsr import EDSR
from textsr_jax.models.resampler import Resampler
from textsr_jax.models.rescaling import round_to_8_bits

CONFIG = micro_config("", "")


@pytest.fixture(scope="module")
def rescaler():
    return build_rescaler(CONFIG.resampler, CONFIG.sr)


@pytest.fixture(scope="module")
def variables(rescaler):
    return rescaler.init(jax.random.key(0))


def test_rounding_gives_files_values_and_passes_the_gradient():
    images = jnp.array([-0.2, 0.0, 0.1, 0.3339, 0.7, 1.0, 1.4])
    rounded = round_to_8_bits(images)
    levels = np.clip(np.rint(np.asarray(images) * 255), 0, 255)
    np.testing.assert_array_equal(to_uint8(rounded), levels)
    # XLA's division by 255 may be off by a unit in the last place.
    np.testing.assert_allclose(rounded, levels / 255, rtol=1.2e-7)
    weights = jnp.arange(7.0)
    gradient = jax.grad(lambda images: (weights * round_to_8_bits(images) ** 2).sum())(images)
    np.testing.assert_allclose(gradient, 2 * weights * rounded, rtol=1e-6)


@pytest.mark.slow
def test_it_is_the_resampler_and_edsr_one_after_the_other(rescaler, variables):
    hr = jax.random.uniform(jax.random.key(1), (2, 24, 16, 3))
    sr, made = jax.jit(rescaler.__call__)(variables, hr)
    assert set(variables["params"]) == {"resampler", "edsr"}
    settings = {n: v for n, v in CONFIG.resampler.to_dict().items() if n != "dtype"}
    resampler = Network(lambda rngs: Resampler(**settings, rngs=rngs))
    edsr = Network(lambda rngs: EDSR(**CONFIG.sr.edsr.to_dict(), rngs=rngs))
    alone = resampler({"params": variables["params"]["resampler"], "stats": {}}, hr)
    levels = np.asarray(made.images) * 255
    np.testing.assert_allclose(levels, np.rint(levels), atol=1e-4)
    assert np.abs(np.asarray(alone.images) * 255 - levels).max() < 0.51
    np.testing.assert_allclose(made.kernels, alone.kernels, atol=1e-6)
    enlarged = edsr({"params": variables["params"]["edsr"], "stats": {}}, made.images)
    np.testing.assert_allclose(sr, enlarged, atol=1e-5)
    assert sr.shape == hr.shape
    # Any LR image can be enlarged.
    other = rescaler(variables, jnp.full((1, 5, 7, 3), 0.5), method="enlarge")
    assert other.shape == (1, 10, 14, 3)


@pytest.mark.slow
def test_the_gradient_reaches_every_parameter(rescaler, variables):
    hr = jax.random.uniform(jax.random.key(2), (2, 32, 32, 3))

    def error(params):
        (sr, _), _ = rescaler.train({"params": params, "stats": {}}, hr)
        return jnp.abs(sr - hr).mean()

    gradient = jax.jit(jax.grad(error))(variables["params"])
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        name = jax.tree_util.keystr(path)
        assert np.isfinite(leaf).all() and np.abs(leaf).max() > 0, name


@pytest.mark.slow
def test_fresh_kernels_and_offsets_differ_from_pixel_to_pixel(rescaler, variables):
    hr = jax.random.uniform(jax.random.key(3), (1, 32, 32, 3))
    _, made = rescaler(variables, hr)
    for part in made[1:]:
        assert np.std(part, axis=(1, 2)).max() > 1e-6
    # Biases are drawn too, or the trunks' ReLUs die early in training.
    biases = [
        leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(variables["params"]["resampler"])
        if "bias" in jax.tree_util.keystr(path)
    ]
    assert all(np.std(bias) > 0 for bias in biases)


def test_networks_of_fixed_size_are_refused():
    config = CONFIG.sr.copy_and_resolve_references()
    config.name = "tbsrn"
    with pytest.raises(UserError, match=r"config.sr.name='tbsrn': the resampler goes with edsr"):
        build_rescaler(CONFIG.resampler, config)


def test_reduction_is_pillows_bicubic():
    hr = np.random.default_rng(0).integers(0, 256, (24, 36, 3), np.uint8)
    expected = Image.fromarray(hr).resize((18, 12), Image.Resampling.BICUBIC)
    found = np.clip(np.asarray(reduce(hr[None] / np.float32(255)))[0] * 255, 0, 255)
    # Pillow rounds between its two passes.
    assert np.abs(found - np.asarray(expected, float)).max() <= 1.01
