"""Degradation: the losses of the prepared data sets, with a camera's on top."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from textsr_jax.data.drawing import degradation
from textsr_jax.data.drawing.chances import CameraSettings, Chances
from textsr_jax.data.synthetic import degradation as prepared
from textsr_jax.data.synthetic import rendering

# Compiled once: the settings are an argument.
degrade = jax.jit(jax.vmap(degradation.degrade, (0, 0, None, None)))
KEYS = jax.random.split(jax.random.key(0), 48)
# What the prepared data sets have.
PREPARED = CameraSettings(degrade=Chances(motion=0.2, noise=1.0, jpeg=1.0))


@pytest.fixture(scope="module")
def words():
    return np.stack([rendering.render("Degrade", np.random.default_rng(i)) for i in range(48)])


def psnr(words, pictures):
    values = []
    for hr, lr in zip(words, pictures, strict=True):
        sr = Image.fromarray(lr).resize((128, 32), Image.Resampling.BICUBIC)
        values.append(10 * np.log10(255**2 / np.mean((np.asarray(sr, float) - hr) ** 2)))
    return np.mean(values)


@pytest.mark.slow
def test_difficulties_lose_as_much_as_in_the_prepared_sets(words):
    hr = jnp.asarray(words, jnp.float32)
    for number, name in enumerate(prepared.DIFFICULTIES):
        values = []
        for draw in range(6):
            rngs = [np.random.default_rng([draw, word]) for word in range(48)]
            others = [
                prepared.degrade(*pair) for pair in zip(words, 48 * [name], rngs, strict=True)
            ]
            keys = jax.vmap(jax.random.fold_in, (0, None))(KEYS, draw)
            found = np.uint8(degrade(keys, hr, number, PREPARED))
            values.append((psnr(words, found), psnr(words, others)))
        ours, theirs = np.mean(values, axis=0)
        assert ours == pytest.approx(theirs, abs=0.4), name


@pytest.mark.slow
def test_a_camera_loses_more(words):
    hr = jnp.asarray(words, jnp.float32)
    with_all = np.uint8(degrade(KEYS, hr, 1, CameraSettings()))
    assert psnr(words, with_all) < psnr(words, np.uint8(degrade(KEYS, hr, 1, PREPARED))) - 0.1
    np.testing.assert_array_equal(with_all, degrade(KEYS, hr, 1, CameraSettings()))
    for loss in ("tiny", "defocus", "mosaic", "dark", "interlaced"):
        chances = Chances(**{"noise": 1.0, "jpeg": 1.0, loss: 1.0})
        lost = degrade(KEYS, hr, 1, CameraSettings(degrade=chances))
        assert np.abs(lost - np.asarray(degrade(KEYS, hr, 1, PREPARED))).mean() > 1


@pytest.mark.slow
def test_a_plain_picture_stays_nearly_plain():
    grey = jnp.full((48, 32, 128, 3), 128.0)
    for number, much in enumerate(prepared.DIFFICULTIES.values()):
        lr = np.asarray(degrade(KEYS, grey, number, PREPARED))
        assert lr.shape == (48, 16, 64, 3)
        np.testing.assert_array_equal(lr, np.clip(np.round(lr), 0, 255))
        assert np.abs(lr.mean(axis=(1, 2, 3)) - 128).max() <= much.brightness + 3
        assert lr.std(axis=(1, 2, 3)).max() < 2 * much.noise[1] + 2 * much.shade * 128
