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


def test_words_as_written_have_the_case_the_marks_and_the_spaces_of_their_labels():
    predictions = ["St. John's", "st. John's", "St John's", "St.John's", "st. john's"]
    labels = ["St. John's"] * 5
    right = metrics.correct_words(predictions, labels, as_written=True)
    np.testing.assert_array_equal(right, [True, False, False, False, False])
    assert metrics.word_accuracy(predictions, labels, as_written=True) == 0.2
    assert metrics.word_accuracy(predictions, labels) == 1.0


def test_no_words_have_no_accuracy():
    with pytest.raises(ValueError, match="no words"):
        metrics.word_accuracy([], [])


def test_luma_is_y_of_bt_601():
    corners = np.array([[[[0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]]]], np.float32)
    # Pillow has Y of JPEG's YCbCr, without headroom: these are BT.601's own figures.
    expected = [16, 235, 81.481, 144.553, 40.966]
    np.testing.assert_allclose(255 * metrics.luma(corners)[0, 0, :, 0], expected, rtol=1e-6)


def published_quality(sr, hr, border):
    """PSNR and SSIM of uint8 photographs in float64, written from their definitions."""

    def luma(image):
        weights = np.array([65.481, 128.553, 24.966]) / 255
        return (16 + image.astype(float) @ weights)[border:-border, border:-border]

    sr, hr = luma(sr), luma(hr)
    psnr = 10 * np.log10(255**2 / np.mean((sr - hr) ** 2))
    distance = np.arange(11) - 5
    window = np.exp(-(distance[:, None] ** 2 + distance**2) / (2 * 1.5**2))
    window /= window.sum()

    def blur(plane):
        return convolve2d(plane, window, mode="same", boundary="symm")

    mean_sr, mean_hr = blur(sr), blur(hr)
    var_sr, var_hr = blur(sr * sr) - mean_sr**2, blur(hr * hr) - mean_hr**2
    covariance = blur(sr * hr) - mean_sr * mean_hr
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    top = (2 * mean_sr * mean_hr + c1) * (2 * covariance + c2)
    return psnr, (top / ((mean_sr**2 + mean_hr**2 + c1) * (var_sr + var_hr + c2))).mean()


@pytest.mark.parametrize("size", [(16, 24), (33, 17)])
def test_luma_quality_is_that_of_the_published_protocol(size):
    rng = np.random.default_rng(1)
    hr = rng.integers(0, 256, (3, *size, 3), np.uint8)
    hr[1] = np.linspace(0, 255, size[1], dtype=np.uint8)[:, None]  # smooth
    sr = np.clip(hr + rng.normal(0, 6, hr.shape), 0, 255).astype(np.uint8)
    # What lies in the border does not count.
    sr[:, :2] = 255 - sr[:, :2]
    psnr, ssim = metrics.luma_quality(sr / np.float32(255), hr / np.float32(255), 2)
    expected = [published_quality(one, other, 2) for one, other in zip(sr, hr, strict=True)]
    np.testing.assert_allclose(psnr, [value for value, _ in expected], rtol=1e-5)
    np.testing.assert_allclose(ssim, [value for _, value in expected], rtol=1e-4)
