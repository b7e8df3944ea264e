"""The camera: each loss comes by its chance, and leaves its own marks on a picture."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from textsr_jax.data.drawing import camera
from textsr_jax.data.drawing.chances import CameraSettings, Chances
from textsr_jax.data.synthetic import rendering

# Compiled once: the settings are an argument.
photographs = jax.jit(jax.vmap(camera.photograph, (0, None, None, None)))
KEYS = jax.random.split(jax.random.key(0), 32)


@functools.cache
def scene():
    """A word, as large as a scene, and no colours but greys."""
    word = Image.fromarray(rendering.render("Camera", np.random.default_rng(8)))
    return jnp.asarray(word.convert("L").convert("RGB").resize((256, 64), 3), jnp.float32)


@functools.cache
def taken(*losses, height=48.0):
    """32 photographs of the word, with these losses and no others."""
    chances = Chances(**dict.fromkeys(losses, 1.0))
    settings = CameraSettings(photograph=chances, height=height, spread=0.0, soft=0.0, grey=0.0)
    return np.asarray(photographs(KEYS, scene(), 4.0, settings))


@pytest.mark.slow
def test_a_camera_without_losses_takes_the_scene():
    clear = taken()
    assert clear.shape == (32, 32, 128, 3) and clear.dtype == np.float32
    small = np.asarray(Image.fromarray(np.uint8(scene())).resize((128, 32), 3), float)
    assert np.abs(clear - small).mean() < 3
    np.testing.assert_array_equal(clear, np.clip(np.round(clear), 0, 255))


@pytest.mark.slow
def test_the_same_key_takes_the_same_picture():
    settings = CameraSettings()
    found = photographs(KEYS, scene(), 4.0, settings)
    np.testing.assert_array_equal(found, photographs(KEYS, scene(), 4.0, settings))
    assert len(np.unique(np.asarray(found).reshape(32, -1), axis=0)) == 32


@pytest.mark.slow
@pytest.mark.parametrize("loss", Chances.__dataclass_fields__)
def test_each_loss_changes_nearly_every_picture_and_leaves_it_a_picture(loss):
    changed = np.abs(taken(loss) - taken()).mean(axis=(1, 2, 3))
    assert (changed > 0.2).mean() > 0.75
    # The word stays: bright places stay brighter than dark ones.
    alike = [
        np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(taken(loss), taken(), strict=True)
    ]
    assert np.median(alike) > 0.6


@pytest.mark.slow
def test_each_loss_leaves_its_marks():
    clear = taken()

    def colour(pictures):
        return np.ptp(pictures, axis=-1).mean()

    def detail(pictures):
        return np.abs(np.diff(pictures, axis=2)).mean()

    assert colour(clear) == 0 and colour(taken("mosaic")) > 2
    assert taken("dark").mean() < 0.9 * clear.mean()
    assert taken("overexposed").mean() > clear.mean() + 10
    for loss in ("defocus", "motion", "anisotropic", "tiny", "shrunk"):
        assert detail(taken(loss)) < 0.97 * detail(clear)
    assert detail(taken("halo")) > 1.05 * detail(clear)
    assert np.abs(taken("halo") - clear).mean() > 1

    def comb(pictures):
        return np.abs(pictures[:, 1:-1] - (pictures[:, :-2] + pictures[:, 2:]) / 2).mean()

    assert comb(taken("interlaced", height=32.0)) > 1.5 * comb(taken(height=32.0))


def test_words_have_their_size_in_the_photograph():
    keys = jax.random.split(jax.random.key(1), 2000)
    sizes = jax.jit(jax.vmap(camera.native_size, (0, None, None)))
    settings = CameraSettings()
    height, width = np.asarray(sizes(keys, 3.0, settings))
    assert np.median(height) == pytest.approx(33, abs=2)
    assert (height < 12).mean() == pytest.approx(settings.photograph.tiny, abs=0.015)
    assert height.min() >= 6 and height.max() == 48 and width.max() == 144
    np.testing.assert_array_equal(height, np.round(height))
    tiny = settings.replace(photograph=Chances(tiny=1.0))
    height, width = np.asarray(sizes(keys, 3.0, tiny))
    assert height.min() == 6 and height.max() == 12
    assert np.abs(width - 3 * height).max() <= 2


def test_chosen_keeps_the_chances():
    picks = (np.arange(1000) + 0.5) / 1000
    kinds = jax.vmap(lambda pick: camera.chosen(pick, 0.2, 0.0, 0.3))(picks)
    assert np.bincount(kinds).tolist() == [200, 0, 300, 500]


def test_noise_of_colours_correlates():
    fields = np.random.default_rng(0).normal(0, 1, (100, 3, 200))
    for shared in (0.0, 0.64, 1.0):
        noise = np.asarray(camera.correlated(fields, shared))
        expected = np.full((3, 3), shared) + (1 - shared) * np.eye(3)
        covariance = np.cov(noise.transpose(1, 0, 2).reshape(3, -1))
        np.testing.assert_allclose(covariance, expected, atol=0.03)
