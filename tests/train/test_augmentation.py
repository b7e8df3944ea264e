"""Augmentation: same key same bits, LR and HR stay a pair, words stay in the picture."""

import jax
import numpy as np
import pytest
from PIL import Image, ImageDraw

from textsr_jax.data.batching import Batch
from textsr_jax.data.synthetic.generation import HR_SHAPE, LR_SHAPE
from textsr_jax.train import augmentation
from textsr_jax.train.augmentation import change_pairs, change_words

INK, GROUND = (30, 60, 120), (230, 220, 200)


def drawn() -> np.ndarray:
    image = Image.new("RGB", (128, 32), GROUND)
    ImageDraw.Draw(image).text((14, 2), "Words", fill=INK, font_size=26)
    return np.asarray(image)


def batch_of(hr: np.ndarray, count: int = 300) -> Batch:
    hr = np.repeat(hr[None], count, axis=0)
    number = np.arange(count, dtype=np.int32)
    return Batch(hr[:, ::2, ::2], hr, np.zeros((count, 5), np.int32), number, number >= 0)


CHANGE = {change: jax.jit(change) for change in (change_words, change_pairs)}


@pytest.fixture(scope="module")
def changed() -> Batch:
    return jax.tree.map(np.asarray, CHANGE[change_words](batch_of(drawn()), jax.random.key(1)))


@pytest.mark.slow
@pytest.mark.parametrize("change", [change_words, change_pairs])
def test_the_key_decides_every_bit(change):
    batch, change = batch_of(drawn()), CHANGE[change]
    one, again, other = (change(batch, jax.random.key(seed)) for seed in (3, 3, 4))
    assert (one.hr.shape, one.hr.dtype) == ((300, *HR_SHAPE), np.uint8)
    assert (one.lr.shape, one.lr.dtype) == ((300, *LR_SHAPE), np.uint8)
    jax.tree.map(np.testing.assert_array_equal, one, again)
    different = (np.asarray(one.hr) != np.asarray(other.hr)).any(axis=(1, 2, 3))
    assert different.mean() > 0.9
    assert len({image.tobytes() for image in np.asarray(one.hr)}) > 100


@pytest.mark.slow
def test_words_keep_their_lr_image_and_all_that_is_no_image(changed):
    before = batch_of(drawn())
    for name in ("lr", "characters", "index", "valid"):
        np.testing.assert_array_equal(getattr(changed, name), getattr(before, name))


@pytest.mark.slow
def test_words_stay_visible(changed):
    def contrast(images: np.ndarray) -> np.ndarray:
        return np.ptp(images.astype(float).mean(axis=3), axis=(1, 2))

    assert contrast(changed.hr).min() > 25
    # A pale word on white is not driven out of the range of values, nor a dark one on black.
    for hr in (255 - (255 - drawn()) // 4, drawn() // 4):
        pale = CHANGE[change_words](batch_of(hr.astype(np.uint8)), jax.random.key(2)).hr
        assert contrast(np.asarray(pale)).min() > 6


def test_words_stay_in_the_picture(changed):
    """The word's pixels, thresholded, stay as many as a change of scale and slant explains."""
    whole = np.mean(drawn()[..., 0] < 128)
    grey = changed.hr.astype(float).mean(axis=3)
    middle = (grey.min(axis=(1, 2)) + grey.max(axis=(1, 2))) / 2
    dark = (grey < middle[:, None, None]).mean(axis=(1, 2))
    word = np.minimum(dark, 1 - dark)
    assert (word > 0.3 * whole).all() and (word < 2.5 * whole).all()


def test_words_are_sometimes_inverted(changed):
    """In an inverted image the ground, which is most of it, is darker than the word."""
    grey = changed.hr.astype(float).mean(axis=3)
    middle = (grey.min(axis=(1, 2)) + grey.max(axis=(1, 2))) / 2
    assert 0.03 < np.mean(np.median(grey, axis=(1, 2)) < middle) < 0.2


@pytest.mark.slow
def test_words_that_are_not_warped_move_by_whole_pixels():
    """What they leave takes the mean colour of their border."""
    hr = np.random.default_rng(0).integers(0, 256, HR_SHAPE).astype(np.float32) / 255
    images = np.repeat(hr[None], 200, axis=0)
    warped = np.asarray(augmentation._warped(images, jax.random.key(5)))
    seen = set()
    for image in warped:
        for down in range(-2, 3):
            for right in range(-2, 3):
                rows, columns = slice(2, 30), slice(2, 126)
                moved = hr[2 + down : 30 + down, 2 + right : 126 + right]
                if np.allclose(image[rows, columns], moved, atol=1e-6):
                    seen.add((down, right))
                    border = np.concatenate([hr[0], hr[-1], hr[:, 0], hr[:, -1]]).mean(axis=0)
                    if down > 0:
                        np.testing.assert_allclose(image[-1], np.tile(border, (128, 1)), atol=1e-6)
    assert len(seen) > 15


@pytest.mark.slow
def test_blur_and_coarsening_keep_the_ground_and_weaken_the_finest_stripes():
    ground = np.full((60, 32, 128, 3), 0.3, np.float32)
    stripes = np.tile(np.arange(128)[:, None] % 2, (60, 32, 1, 3)).astype(np.float32)
    for soften in (augmentation._blurred, augmentation._coarsened):
        np.testing.assert_allclose(soften(ground, jax.random.key(0)), ground, atol=1e-5)
        softened = np.asarray(soften(stripes, jax.random.key(0)))
        kept = np.abs(softened - stripes).max(axis=(1, 2, 3)) == 0
        assert 0.6 < kept.mean() < 0.95
        assert softened[~kept].std(axis=(1, 2, 3)).mean() < 0.35  # 0.5 unchanged
        assert softened.min() > -1e-5 and softened.max() < 1 + 1e-5


@pytest.mark.slow
def test_pairs_stay_pairs():
    batch = CHANGE[change_pairs](batch_of(drawn()), jax.random.key(6))
    np.testing.assert_array_equal(batch.lr, np.asarray(batch.hr)[:, ::2, ::2])
    before, values = drawn().reshape(-1, 3), np.asarray(batch.hr).reshape(300, -1, 3)
    colours = len(np.unique(before, axis=0))
    for after in values:
        # A change is one of values: pixels of one colour stay of one colour.
        assert len(np.unique(np.hstack([before, after]), axis=0)) == colours


def test_pairs_come_in_every_order_of_channels_and_sometimes_inverted():
    batch = CHANGE[change_pairs](batch_of(drawn()), jax.random.key(7))
    ground = np.asarray(batch.hr)[:, 0, 0].astype(int)
    assert len({tuple(order) for order in np.argsort(ground)}) == 6
    assert 0.04 < np.mean(ground.mean(axis=1) < 128) < 0.18
    unchanged = (np.sort(ground) == sorted(GROUND)).all(axis=1)
    assert 0.35 < unchanged.mean() < 0.55
