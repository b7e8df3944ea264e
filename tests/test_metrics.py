"""The metrics against their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import convolve2d

from textsr_jax import metrics


def test_psnr_of_each_image_and_of_the_batch():
    hr = jnp.zeros((3, 4, 4, 3))
    sr = hr + jnp.array([0.1, 0.01, 0.0]).reshape(3, 1, 1, 1)
    np.testing.assert_allclose(metrics.psnr(sr, hr), [20, 40, np.inf], rtol=1e-5)
    expected = -10 * np.log10((0.01 + 0.0001) / 3)
    np.testing.assert_allclose(metrics.psnr_batch(sr, hr), expected, rtol=1e-5)
    assert metrics.psnr_batch(hr, hr) == np.inf


def test_ssim_follows_its_definition():
    rng = np.random.default_rng(0)
    hr = rng.random((2, 9, 15, 3))
    sr = np.clip(hr + 0.1 * rng.normal(size=hr.shape), 0, 1)
    distance = np.arange(11) - 5
    window = np.exp(-(distance[:, None] ** 2 + distance**2) / (2 * 1.5**2))
    window /= window.sum()

    def blur(plane):
        return convolve2d(plane, window, mode="same")  # zeros outside

    def similarity(x, y):
        mean_x, mean_y = blur(x), blur(y)
        var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
        covariance = blur(x * y) - mean_x * mean_y
        top = (2 * mean_x * mean_y + 1e-4) * (2 * covariance + 9e-4)
        return (top / ((mean_x**2 + mean_y**2 + 1e-4) * (var_x + var_y + 9e-4))).mean()

    expected = [
        np.mean([similarity(sr[image, ..., c], hr[image, ..., c]) for c in range(3)])
        for image in range(2)
    ]
    found = metrics.ssim(sr.astype(np.float32), hr.astype(np.float32))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_ssim_of_equal_images_is_one_and_falls_with_noise():
    hr = jax.random.uniform(jax.random.key(0), (2, 32, 128, 3))
    noise = jax.random.normal(jax.random.key(1), hr.shape)
    np.testing.assert_allclose(metrics.ssim(hr, hr), 1, rtol=1e-6)
    little, much = (metrics.ssim(hr + level * noise, hr) for level in (0.05, 0.2))
    assert (much < little).all() and (little < 1).all()


def test_words_are_compared_in_lower_case_without_punctuation():
    predictions = ["hello", "st7", "exit", ""]
    labels = ["HELLO!", "St.7", "exits", "&"]
    np.testing.assert_array_equal(
        metrics.correct_words(predictions, labels), [True, True, False, True]
    )
    assert metrics.word_accuracy(predictions, labels) == 0.75


def test_no_words_have_no_accuracy():
    with pytest.raises(ValueError, match="no words"):
        metrics.word_accuracy([], [])
