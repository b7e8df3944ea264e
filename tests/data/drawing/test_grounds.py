"""Grounds in array code: those of `synthetic.backgrounds`, and the letters keep their contrast."""

import functools

import jax
import numpy as np
import pytest
from PIL import Image

from textsr_jax.data.drawing import colours, grounds
from textsr_jax.data.drawing.draws import Draws
from textsr_jax.data.synthetic import backgrounds

WHITE, GREY, BLACK = (np.full(3, value, np.float32) for value in (240, 128, 10))
COUNT = 64
BUSY = {kind.draw.__name__: kind for kind in grounds.KINDS if kind.busy}


def keys(count=COUNT):
    return jax.random.split(jax.random.key(0), count)


@pytest.fixture(scope="module")
def drawn():
    """Surfaces (64, 3, 64, 256) on grey, by the name of their kind."""
    surface = np.broadcast_to(GREY[:, None, None], (3, 64, 256))

    def draw(kind, key):
        return kind.draw(Draws(key, kind.numbers), surface)

    return {
        kind.draw.__name__: np.asarray(jax.jit(jax.vmap(functools.partial(draw, kind)))(keys()))
        for kind in grounds.KINDS
    }


@pytest.mark.parametrize("rows, columns", [(3, 12), (64, 17), (2, 2), (24, 256)])
def test_noise_is_enlarged_as_pillow_does(rows, columns):
    noise = np.random.default_rng(0).uniform(-1, 1, (rows, columns)).astype(np.float32)
    image = Image.fromarray(noise).resize((256, 64), Image.Resampling.BICUBIC)
    np.testing.assert_allclose(grounds._smooth(noise, rows, columns), image, atol=2e-5)
    # The same with sizes that are arrays, of which only a part of the grid is used.
    grid = np.pad(noise, ((0, 64 - rows), (0, 256 - columns)), constant_values=9)
    smooth = jax.jit(grounds._smooth)(grid, rows, columns)
    np.testing.assert_allclose(smooth, image, atol=2e-5)


@pytest.mark.slow
def test_surfaces_are_as_strong_and_as_rough_as_those_of_today(drawn):
    theirs = {
        name: np.stack(
            [
                getattr(backgrounds, f"_{name}")(
                    np.broadcast_to(GREY, (64, 256, 3)).copy(), np.random.default_rng(seed)
                )
                for seed in range(COUNT)
            ]
        ).transpose(0, 3, 1, 2)
        for name in BUSY
    }
    for name, surfaces in theirs.items():
        for trait in (
            lambda pictures: pictures.std(axis=(2, 3)).mean(axis=1),
            lambda pictures: np.abs(np.diff(pictures, axis=3)).mean(axis=(1, 2, 3)),
            lambda pictures: np.abs(np.diff(pictures, axis=2)).mean(axis=(1, 2, 3)),
        ):
            ours, today = np.sort(trait(drawn[name])), np.sort(trait(surfaces))
            places = np.concatenate([ours, today])
            below = [np.searchsorted(part, places, "right") / COUNT for part in (ours, today)]
            # Two samples of one distribution are farther apart once in a thousand times.
            assert np.abs(below[0] - below[1]).max() < 1.95 * np.sqrt(2 / COUNT), name


@pytest.mark.slow
@pytest.mark.parametrize("letters", [WHITE, BLACK], ids=["white", "black"])
def test_busy_surfaces_leave_a_third_of_the_contrast(drawn, letters):
    contrast = colours.luma(letters) - colours.luma(GREY)
    subdue = jax.jit(jax.vmap(grounds.subdue, (0, None, None, 0)))
    most = np.linspace(0.25, 0.66, COUNT, dtype=np.float32)
    for name in BUSY:
        surfaces = subdue(drawn[name], GREY, letters, most)
        left = (colours.luma(letters) - colours.luma(surfaces, axis=1)) / contrast
        assert left.min() > 1 / 3
        # What takes less is not changed.
        away = (colours.luma(drawn[name], axis=1) - colours.luma(GREY)) / contrast < 0.25
        np.testing.assert_allclose(
            np.asarray(surfaces).transpose(0, 2, 3, 1)[away],
            drawn[name].transpose(0, 2, 3, 1)[away],
            atol=1e-3,
        )


@pytest.mark.slow
def test_all_kinds_but_flat_paint_show(drawn):
    for surfaces in drawn.values():
        assert (surfaces.std(axis=(2, 3)).max(axis=1) > 1).mean() > 0.8
        assert len({picture.tobytes() for picture in surfaces}) == COUNT


@pytest.mark.slow
def test_planks_run_in_one_direction(drawn):
    across, down = (np.abs(np.diff(drawn["planks"], axis=axis)).mean((1, 2, 3)) for axis in (3, 2))
    assert (np.maximum(across / down, down / across) > 2).mean() > 0.9


def test_borders_lie_at_the_rim():
    covers, paints = jax.jit(jax.vmap(lambda key: grounds.border(Draws(key, 31))))(keys(200))
    assert set(np.unique(covers)) == {0, 1}
    assert not covers[:, 12:52, 16:240].any()
    for rim in (covers[:, :10], covers[:, -10:], covers[:, :, :14], covers[:, :, -14:]):
        assert rim.any(axis=(1, 2)).mean() > 0.4
    assert paints.shape == (200, 3)


def test_a_polygon_covers_what_its_corners_enclose():
    square = np.array([[10, 20], [30, 20], [30, 40], [10, 40], [10, 40]], np.float32)
    expected = np.zeros((64, 256), bool)
    expected[20:40, 10:30] = True
    np.testing.assert_array_equal(grounds._polygon(square), expected)


def test_blur_spreads_by_sigma_and_keeps_the_sum():
    point = np.zeros((64, 256), np.float32)
    point[32, 100] = 1
    blurred = np.asarray(grounds.blur(point, 2.0))
    assert blurred.sum() == pytest.approx(1, abs=1e-4)
    for axis, middle in ((0, 100), (1, 32)):
        weights = blurred.sum(axis=axis)
        spread = (weights * (np.arange(len(weights)) - weights.argmax()) ** 2).sum()
        assert spread == pytest.approx(4, rel=0.01), middle
    np.testing.assert_array_equal(grounds.blur(point, 0.05), point)


@pytest.mark.slow
def test_a_batch_has_its_shares_of_kinds_and_borders():
    count = 100
    draw = jax.jit(grounds.draw_batch)
    colour = np.tile(GREY, (count, 1)), np.tile(WHITE, (count, 1))
    surfaces = np.asarray(draw(keys(count), *colour))
    assert surfaces.shape == (count, 3, 64, 256)
    # 44 of 100 have no kind, and 87 have no border.
    middle = surfaces[:, :, 12:52, 16:240]
    plain = np.ptp(middle, axis=(2, 3)).max(axis=1) < 0.01
    assert 44 <= plain.sum() <= 46
    framed = np.ptp(surfaces, axis=(2, 3)).max(axis=1) > 1
    assert 1 <= (plain & framed).sum() <= 13
    np.testing.assert_array_equal(surfaces, draw(keys(count), *colour))
