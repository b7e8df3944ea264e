"""The camera: blur keeps the light, and compression loses more at lower quality."""

import numpy as np
import pytest
from PIL import Image

from textsr_jax.data.synthetic import camera, rendering


def test_spread_smears_along_its_line_alone():
    dot = np.zeros((9, 9, 3), np.uint8)
    dot[4, 4] = 250
    line = np.stack([np.linspace(-2.4, 2.4, 50), np.zeros(50)], axis=1)
    smeared = np.asarray(camera.spread(Image.fromarray(dot), line))
    np.testing.assert_array_equal(smeared[4, 2:7], np.full((5, 3), 50))
    assert smeared.astype(int).sum() == 250 * 3


@pytest.mark.parametrize("radius, places", [(0.4, 1), (0.7, 5), (1.2, 9), (1.9, 21)])
def test_spread_by_a_disc_keeps_the_light_and_widens_with_it(radius, places):
    dot = np.zeros((9, 9, 3), np.uint8)
    dot[4, 4] = 250
    blurred = np.asarray(camera.spread(Image.fromarray(dot), radius * camera.DISC))
    assert abs(blurred[..., 0].astype(int).sum() - 250) <= 13
    assert np.abs(blurred.astype(int) - np.rot90(blurred)).max() <= 6
    assert (blurred[..., 0] > 0).sum() == places


def test_spread_leaves_flat_pictures_alone_up_to_their_rims():
    flat = Image.new("RGB", (12, 12), (10, 200, 90))
    assert set(camera.spread(flat, 2 * camera.DISC).get_flattened_data()) == {(10, 200, 90)}


def test_compress_loses_more_at_lower_quality():
    picture = rendering.render("quality", np.random.default_rng(3))
    errors = [
        np.abs(np.asarray(camera.compress(Image.fromarray(picture), q)) - picture.astype(float))
        for q in (95, 60, 20)
    ]
    assert errors[0].mean() < errors[1].mean() < errors[2].mean()
