"""Image quality and reading accuracy, as the super-resolution and TextZoom literature counts them.

Images are float (batch, height, width, channels) in [0, 1]; the peak is 1.
"""

from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from textsr_jax import text

_WINDOW = 11
_SIGMA = 1.5


def psnr(sr: jax.Array, hr: jax.Array) -> jax.Array:
    """Peak signal-to-noise ratio of each image in dB, float32 (batch,); inf for equal images."""
    return -10 * jnp.log10(jnp.mean((sr - hr) ** 2, axis=(1, 2, 3)))


def psnr_batch(sr: jax.Array, hr: jax.Array) -> jax.Array:
    """PSNR of the whole batch's mean squared error in dB, a float32 scalar; inf for equal images.

    The published TextZoom evaluation averages this over batches, so it depends on their size.
    """
    return -10 * jnp.log10(jnp.mean((sr - hr) ** 2))


def ssim(sr: jax.Array, hr: jax.Array, outside: Literal["zeros", "mirror"] = "zeros") -> jax.Array:
    """Structural similarity of each image, float32 (batch,); 1 for equal images.

    Follows Wang et al. (2004): an 11x11 Gaussian window of sigma 1.5, each channel by itself, then
    the mean of all.

    Args:
      sr, hr: the images.
      outside: what the window sees beyond the image: "zeros", as published with TextZoom, or
        "mirror", the image mirrored at its edge, as published for photographs (EDSR, the
        content-adaptive resampler); sides of 5 pixels at least then.
    """
    mean_sr, mean_hr = _blur(sr, outside), _blur(hr, outside)
    variance_sr = _blur(sr * sr, outside) - mean_sr**2
    variance_hr = _blur(hr * hr, outside) - mean_hr**2
    covariance = _blur(sr * hr, outside) - mean_sr * mean_hr
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mean_sr * mean_hr + c1) / (mean_sr**2 + mean_hr**2 + c1)
    structure = (2 * covariance + c2) / (variance_sr + variance_hr + c2)
    return jnp.mean(luminance * structure, axis=(1, 2, 3))


def tri_ssim(first: jax.Array, second: jax.Array, third: jax.Array) -> jax.Array:
    """Structural similarity of three images, float32 (batch,); 1 for equal images.

    "A text attention network for spatial deformation robust scene text image super-resolution" (Ma
    et al., 2022). The windows and constants are those of `ssim`.

    Args:
      first, second, third: the images, float (batch, H, W, channels) in [0, 1].
    """
    images = (first, second, third)
    pairs = ((first, second), (second, third), (third, first))
    means = [_blur(image, "zeros") for image in images]
    products = [means[0] * means[1], means[1] * means[2], means[2] * means[0]]
    squares = [mean**2 for mean in means]
    variances = [
        _blur(image * image, "zeros") - square
        for image, square in zip(images, squares, strict=True)
    ]
    covariances = [
        _blur(one * other, "zeros") - product
        for (one, other), product in zip(pairs, products, strict=True)
    ]
    c1, c2 = 0.01**2, 0.03**2
    luminance = (sum(products) + c1) / (sum(squares) + c1)
    structure = (sum(covariances) + c2) / (sum(variances) + c2)
    return jnp.mean(luminance * structure, axis=(1, 2, 3))


def luma(images: jax.Array) -> jax.Array:
    """The Y channel of YCbCr (ITU-R BT.601, as MATLAB's rgb2ycbcr), float (batch, H, W, 1).

    RGB in [0, 1] becomes 16/255 for black to 235/255 for white.
    """
    weights = np.array([65.481, 128.553, 24.966], np.float32) / 255
    return (images * weights).sum(axis=-1, keepdims=True) + np.float32(16 / 255)


def luma_quality(sr: jax.Array, hr: jax.Array, border: int) -> tuple[jax.Array, jax.Array]:
    """PSNR (dB) and SSIM of each photograph, float32 (batch,) both, as SR benchmarks count them.

    On the Y channel, without the outermost `border` pixels, which enlargement cannot know well:
    `border` is the scale. The published code of the content-adaptive resampler has Y in PSNR
    larger by 256/255, which makes its figures 0.03 dB lower.
    """
    inner = slice(border, -border)
    sr, hr = luma(sr)[:, inner, inner], luma(hr)[:, inner, inner]
    return psnr(sr, hr), ssim(sr, hr, outside="mirror")


def correct_words(
    predictions: Sequence[str],
    labels: Sequence[str],
    *,
    keep_punctuation: bool = False,
    as_written: bool = False,
) -> np.ndarray:
    """Which predictions read their label: bool (n,).

    Both sides are lower-cased and, unless `keep_punctuation`, reduced to 0-9a-z, as TextZoom scores
    words. With `as_written` they must be the same string: case, punctuation and spaces count.
    """
    normalize = str if as_written else str.lower if keep_punctuation else text.normalize
    pairs = zip(predictions, labels, strict=True)
    return np.array([normalize(word) == normalize(label) for word, label in pairs], bool)


def word_accuracy(
    predictions: Sequence[str],
    labels: Sequence[str],
    *,
    keep_punctuation: bool = False,
    as_written: bool = False,
) -> float:
    """The share of predictions that read their label, in [0, 1]; see `correct_words`.

    Raises:
      ValueError: there are no words, or the two lists differ in length.
    """
    if len(labels) == 0:
        raise ValueError("the accuracy of no words is not defined")
    right = correct_words(
        predictions, labels, keep_punctuation=keep_punctuation, as_written=as_written
    )
    return float(right.mean())


def _blur(images: jax.Array, outside: str) -> jax.Array:
    """Gaussian blur of every channel; same shape."""
    distance = np.arange(_WINDOW) - _WINDOW // 2
    window = np.exp(-(distance**2) / (2 * _SIGMA**2))
    window = (window / window.sum()).astype(np.float32)
    batch, height, width, channels = images.shape
    # The window is a product, so two thin passes do; every channel is an image of its own.
    planes = images.transpose(0, 3, 1, 2).reshape(batch * channels, 1, height, width)
    padding = "SAME"
    if outside == "mirror":
        reach = _WINDOW // 2
        planes = jnp.pad(planes, ((0, 0), (0, 0), (reach, reach), (reach, reach)), "symmetric")
        padding = "VALID"
    for kernel in (window.reshape(1, 1, -1, 1), window.reshape(1, 1, 1, -1)):
        planes = jax.lax.conv_general_dilated(
            planes, kernel, (1, 1), padding, precision=jax.lax.Precision.HIGHEST
        )
    return planes.reshape(batch, channels, height, width).transpose(0, 2, 3, 1)
