"""Grey of colours, and the shuffle between channels and pixels."""

import jax.numpy as jnp
import numpy as np
from PIL import Image

from textsr_jax.images import to_float
from textsr_jax.models.layers.pixels import pixel_shuffle, pixel_unshuffle, to_gray, with_mask


def test_gray_weighs_the_colours():
    colours = jnp.eye(3).reshape(1, 1, 3, 3)
    np.testing.assert_allclose(to_gray(colours)[0, 0, :, 0], [0.299, 0.587, 0.114], rtol=1e-6)


def test_the_mask_is_pillows_gray_at_most_its_mean():
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 16, 3), np.uint8)
    images[1], images[2] = 7, 7  # The second is plain, so all of it is as bright as its mean.
    images[2, 3, 3] = 255
    masked = np.asarray(with_mask(to_float(images)))
    np.testing.assert_array_equal(masked[..., :3], to_float(images))
    for image, mask in zip(images, masked[..., 3], strict=True):
        gray = np.asarray(Image.fromarray(image).convert("L"))
        np.testing.assert_array_equal(mask, gray <= gray.mean())
    assert masked[1, ..., 3].all() and not masked[2, 3, 3, 3]


def test_pixel_shuffle_takes_channels_in_the_published_order():
    features = np.random.default_rng(0).random((2, 3, 4, 5 * 4)).astype(np.float32)
    shuffled = np.asarray(pixel_shuffle(features, 2))
    assert shuffled.shape == (2, 6, 8, 5)
    for channel in range(5):
        for row in range(2):
            for column in range(2):
                np.testing.assert_array_equal(
                    shuffled[:, row::2, column::2, channel],
                    features[..., 4 * channel + 2 * row + column],
                )


def test_pixel_unshuffle_undoes_pixel_shuffle():
    features = np.random.default_rng(0).random((2, 3, 4, 5 * 4)).astype(np.float32)
    np.testing.assert_array_equal(pixel_unshuffle(pixel_shuffle(features, 2), 2), features)
