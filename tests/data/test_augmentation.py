"""Augmentation: same seed same bits, LR and HR stay a pair, words stay in the picture."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from textsr_jax.data.augmentation import pair_augmentation, recognizer_augmentation
from textsr_jax.data.records import HR_SHAPE, LR_SHAPE, Record


@pytest.fixture
def record():
    image = Image.new("RGB", (128, 32), (230, 220, 200))
    ImageDraw.Draw(image).text((14, 2), "Words", fill=(30, 60, 120), font_size=26)
    hr = np.asarray(image)
    return Record("set:1", hr[::2, ::2], hr, "Words")


@pytest.mark.parametrize("augment", [recognizer_augmentation, pair_augmentation])
def test_same_seed_same_bits(record, augment):
    for seed in range(20):
        one, two = (augment(record, np.random.default_rng(seed)) for _ in range(2))
        np.testing.assert_array_equal(one.hr, two.hr)
        np.testing.assert_array_equal(one.lr, two.lr)
    assert len({augment(record, np.random.default_rng(n)).hr.tobytes() for n in range(40)}) > 20


@pytest.mark.parametrize("augment", [recognizer_augmentation, pair_augmentation])
def test_shapes_types_and_the_original_stay(record, augment):
    before = record.hr.copy()
    rng = np.random.default_rng(0)
    for _ in range(50):
        changed = augment(record, rng)
        assert (changed.hr.shape, changed.hr.dtype) == (HR_SHAPE, np.uint8)
        assert (changed.lr.shape, changed.lr.dtype) == (LR_SHAPE, np.uint8)
        assert (changed.key, changed.label) == (record.key, record.label)
    np.testing.assert_array_equal(record.hr, before)


def test_recognizer_augmentation_leaves_the_lr_image(record):
    rng = np.random.default_rng(1)
    for _ in range(20):
        np.testing.assert_array_equal(recognizer_augmentation(record, rng).lr, record.lr)


def test_recognizer_augmentation_keeps_the_word_visible(record):
    rng = np.random.default_rng(2)
    contrast = [np.ptp(recognizer_augmentation(record, rng).hr.mean(axis=2)) for _ in range(300)]
    assert min(contrast) > 25
    # A pale word on white is not driven out of the range of values either.
    pale = Record("set:2", record.lr, (255 - (255 - record.hr) // 4).astype(np.uint8), "Words")
    contrast = [np.ptp(recognizer_augmentation(pale, rng).hr.mean(axis=2)) for _ in range(300)]
    assert min(contrast) > 6


def test_recognizer_augmentation_keeps_the_word_in_the_picture(record):
    """The word's pixels, thresholded, stay as many as a change of scale and slant explains."""
    rng = np.random.default_rng(3)
    whole = np.mean(record.hr[..., 0] < 128)
    for _ in range(100):
        grey = recognizer_augmentation(record, rng).hr.mean(axis=2)
        dark = np.mean(grey < (grey.min() + grey.max()) / 2)
        assert 0.3 * whole < min(dark, 1 - dark) < 2.5 * whole


def test_recognizer_augmentation_sometimes_inverts(record):
    """In an inverted image the ground, which is most of it, is darker than the word."""
    rng = np.random.default_rng(4)
    grey = [recognizer_augmentation(record, rng).hr.mean(axis=2) for _ in range(400)]
    inverted = np.mean([np.median(g) < (g.min() + g.max()) / 2 for g in grey])
    assert 0.05 < inverted < 0.25


def test_pair_augmentation_keeps_lr_and_hr_a_pair(record):
    rng = np.random.default_rng(5)
    for _ in range(100):
        changed = pair_augmentation(record, rng)
        np.testing.assert_array_equal(changed.lr, changed.hr[::2, ::2])


def test_pair_augmentation_reaches_every_order_of_channels(record):
    rng = np.random.default_rng(6)
    orders = set()
    for _ in range(200):
        ground = pair_augmentation(record, rng).hr[0, 0].astype(int)
        orders.add(tuple(np.argsort(ground)))
    assert len(orders) == 6
