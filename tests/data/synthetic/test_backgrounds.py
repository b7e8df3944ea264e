"""Backgrounds: busy ones leave the letters their contrast, and no two kinds look alike."""

import numpy as np
import pytest

from textsr_jax.data.synthetic import backgrounds, colours

SHAPE = (64, 256)
WHITE, GREY, BLACK = (np.full(3, value, np.float32) for value in (240, 128, 10))


def draw(seed, ground=GREY, letters=WHITE):
    return backgrounds.draw(ground, letters, SHAPE, np.random.default_rng(seed))


def test_the_same_seed_gives_the_same_background():
    surface = draw(3)
    assert surface.shape == (*SHAPE, 3)
    assert surface.dtype == np.float32
    np.testing.assert_array_equal(surface, draw(3))


def test_many_are_flat_and_many_are_not():
    spread = np.array([draw(seed).std(axis=(0, 1)).max() for seed in range(200)])
    assert 0.2 < (spread < 1).mean() < 0.6
    assert 0.1 < (spread > 12).mean() < 0.5


@pytest.mark.parametrize("letters", [WHITE, BLACK], ids=["white", "black"])
@pytest.mark.parametrize("paint", sorted(set(backgrounds._BUSY), key=lambda f: f.__name__))
def test_busy_backgrounds_keep_away_from_the_letters(paint, letters, monkeypatch):
    monkeypatch.setattr(backgrounds, "_BUSY", (paint,))
    monkeypatch.setattr(backgrounds, "_add_border", lambda *_: None)
    contrast = abs(colours.luma(letters) - colours.luma(GREY))
    busy = 0
    for seed in range(60):
        surface = draw(seed, GREY, letters)
        rng = np.random.default_rng(seed)
        rng.random()  # the border's chance
        if 0.34 <= rng.random() < 0.56:
            busy += 1
            left = np.abs(colours.luma(letters) - colours.luma(surface))
            side = np.sign(colours.luma(letters) - colours.luma(surface))
            assert (side == np.sign(colours.luma(letters) - colours.luma(GREY))).all()
            assert left.min() >= contrast / 3
    assert busy > 5


@pytest.mark.parametrize("paint", sorted(set(backgrounds._BUSY), key=lambda f: f.__name__))
def test_busy_backgrounds_are_no_flat_paint(paint):
    ground = np.broadcast_to(GREY, (*SHAPE, 3)).copy()
    drawn = [paint(ground.copy(), np.random.default_rng(seed)) for seed in range(20)]
    assert sum((picture.std(axis=(0, 1)) > 2).any() for picture in drawn) >= 17
    assert len({picture.tobytes() for picture in drawn}) == 20


def test_clouds_are_smooth_and_centred():
    noise = backgrounds.clouds(4, 16, SHAPE, np.random.default_rng(0))
    assert noise.shape == (*SHAPE, 1)
    assert abs(noise.mean()) < 0.2
    assert np.abs(np.diff(noise, axis=1)).max() < 0.3
    assert np.abs(noise).max() < 1.5
