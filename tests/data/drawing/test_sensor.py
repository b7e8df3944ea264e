"""The sensor: noise has its moments, a Bayer pattern its colours, and light its limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from textsr_jax.data.drawing import sensor


def test_normal_numbers():
    numbers = np.asarray(sensor.normal(jax.random.key(0), (200, 500)), float)
    assert abs(numbers.mean()) < 0.01 and numbers.std() == pytest.approx(1, abs=0.01)
    # A sum of four even numbers has the excess kurtosis -1.2 / 4.
    assert (numbers**4).mean() == pytest.approx(2.7, abs=0.06)
    assert abs(np.corrcoef(numbers[:, :-1].ravel(), numbers[:, 1:].ravel())[0, 1]) < 0.01
    np.testing.assert_array_equal(numbers, sensor.normal(jax.random.key(0), (200, 500)))


@pytest.mark.parametrize("phase", [(0, 0), (1, 0)])
def test_mosaic_takes_each_colour_where_its_cells_are(phase):
    picture = np.random.default_rng(0).uniform(0, 255, (8, 3, 12)).astype(np.float32)
    found = np.asarray(sensor.mosaic(picture, jnp.zeros((8, 12)), jnp.array(phase)))
    for y in range(1, 7):
        for x in range(1, 11):
            row, column = (y + phase[0]) % 2, (x + phase[1]) % 2
            colour = {(0, 0): 0, (1, 1): 2}.get((row, column), 1)
            assert found[y, colour, x] == pytest.approx(picture[y, colour, x], rel=1e-6)
            if colour == 0:
                green = (
                    picture[[y - 1, y + 1], 1, x].sum() + picture[y, 1, [x - 1, x + 1]].sum()
                ) / 4
                blue = picture[y - 1 : y + 2 : 2, 2, x - 1 : x + 2 : 2].mean()
                assert found[y, 1, x] == pytest.approx(green, rel=1e-5)
                assert found[y, 2, x] == pytest.approx(blue, rel=1e-5)


def test_mosaic_leaves_even_colours_alone_up_to_the_rim():
    flat = np.broadcast_to(np.array([10.0, 200, 90])[:, None], (6, 3, 10))
    for phase in ((0, 0), (0, 1), (1, 1)):
        found = sensor.mosaic(jnp.asarray(flat), jnp.zeros((6, 10)), jnp.array(phase))
        np.testing.assert_allclose(found, flat, rtol=1e-6)


def test_noise_of_a_mosaic_is_coloured_and_smooth():
    noise = np.random.default_rng(0).normal(0, 4, (200, 200))
    found = (
        np.asarray(sensor.mosaic(jnp.full((200, 3, 200), 128.0), noise, jnp.zeros(2, int))) - 128
    )
    # Red: a quarter measured, a half means of two, a quarter means of four; green: a half each.
    assert found[:, 0].var() == pytest.approx(16 * (1 + 2 / 2 + 1 / 4) / 4, rel=0.05)
    assert found[:, 1].var() == pytest.approx(16 * (1 + 1 / 4) / 2, rel=0.05)
    assert abs(np.corrcoef(found[:, 0].ravel(), found[:, 2].ravel())[0, 1]) < 0.05
    assert np.corrcoef(found[:, 0, 1:].ravel(), found[:, 0, :-1].ravel())[0, 1] > 0.4


def test_overexposed_pictures_are_bright_and_clipped():
    picture = jnp.asarray(np.random.default_rng(0).uniform(40, 160, (8, 3, 12)), jnp.float32)
    found = sensor.overexpose(picture, 100.0, 200.0, 0.0)
    np.testing.assert_allclose(found, np.minimum(picture * 2, 255), rtol=1e-5)
    veiled = sensor.overexpose(picture, 100.0, 90.0, 51.0)
    np.testing.assert_allclose(veiled, 51 + 0.8 * picture, rtol=1e-5)
