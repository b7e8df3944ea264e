"""JPEG: what comes back is what Pillow gives back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from textsr_jax.data.drawing import jpeg
from textsr_jax.data.synthetic import camera, rendering

compress = jax.jit(jpeg.compress)


def planes(picture):
    return jnp.asarray(picture, jnp.float32).transpose(0, 2, 1)


def pillow(picture, quality):
    return np.asarray(camera.compress(Image.fromarray(picture), quality), float)


@pytest.mark.parametrize("quality", [30, 49, 50, 75, 95])
def test_pictures_come_back_as_from_pillow(quality):
    for seed in range(4):
        word = rendering.render("Quality", np.random.default_rng(seed))
        found = np.asarray(compress(planes(word), quality)).transpose(0, 2, 1)
        expected = pillow(word, quality)
        lost = np.abs(expected - word).mean()
        off = np.abs(found - expected).mean()
        assert off < 0.8 and off < 0.15 * lost + 0.25, (off, lost)


def test_sizes_that_are_no_blocks_go_on_with_their_rim():
    word = rendering.render("Rim", np.random.default_rng(1))[:21, :83]
    padded = np.pad(word, ((0, 11), (0, 45), (0, 0)), mode="edge")
    found = np.asarray(compress(planes(padded), 40)).transpose(0, 2, 1)
    assert np.abs(found[:21, :83] - pillow(word, 40)).mean() < 0.5
