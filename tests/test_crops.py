"""Rules of reading: what is sharp, turns of tall images, windows of wide ones and their texts."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ImageFilter

from tests.conftest import word_image
from textsr_jax import crops
from textsr_jax.images import HR_SIZE, LR_SIZE, resize


def test_what_lr_holds_as_well_is_not_sharp():
    image = np.asarray(word_image("open"))
    soft = np.asarray(word_image("open").filter(ImageFilter.GaussianBlur(1.5)))
    assert crops.is_sharp(image)
    # What has no more pixels than an LR image is one.
    assert not crops.is_sharp(resize(image, LR_SIZE))
    # Elsewhere pixels do not count, but what they show.
    for size in (HR_SIZE, (512, 128)):
        assert crops.is_sharp(resize(image, size))
        assert not crops.is_sharp(resize(soft, size))
    assert crops.detail(soft) < 0.1 * crops.detail(image)


def test_detail_is_the_part_of_the_variance_that_is_lost():
    assert crops.detail(np.full((32, 128, 3), 77, np.uint8)) == 0
    # Columns of alternating pixels are one grey when halved: nearly nothing comes back.
    stripes = np.zeros((32, 128, 3), np.uint8)
    stripes[:, ::2] = 200
    assert crops.detail(stripes) == pytest.approx(1, abs=0.05)


def test_windows_cover_a_wide_image_and_overlap():
    image = np.random.default_rng(0).integers(0, 256, (20, 300, 3), np.uint8)
    places = crops.windows(image)
    assert places[0].left == 0 and places[-1].right == 15
    assert np.array_equal(places[0].image, image[:, : int(20 * crops.WINDOW)])
    assert np.array_equal(places[-1].image, image[:, -int(20 * crops.WINDOW) :])
    for place, following in itertools.pairwise(places):
        assert place.right - following.left >= crops.OVERLAP - 1e-9
        assert place.image.shape[1] == pytest.approx(20 * crops.WINDOW, abs=1)
    # No more of them than that takes.
    assert (len(places) - 1) * (crops.WINDOW - crops.OVERLAP) + crops.WINDOW < 15 + crops.WINDOW
    (whole,) = crops.windows(image[:, : int(20 * crops.WIDE)])
    assert whole.image.shape[1] == int(20 * crops.WIDE) and whole.right == crops.WIDE


def places(*lefts: float) -> list[crops.Window]:
    return [crops.Window(np.zeros((1, 4, 3), np.uint8), left, left + 4) for left in lefts]


@pytest.mark.parametrize(
    ("words", "joined"),
    [
        # Three of eight letters are shared.
        (["restaura", "urantbar"], "restaurantbar"),
        # A cut letter at an edge was read as another one, or as two.
        (["restauri", "urantbar"], "restaurantbar"),
        (["restaura", "lrantbar"], "restaurantbar"),
        (["restaurall", "urantbar"], "restaurantbar"),
        # A letter repeats: the windows say which one it is.
        (["aaaaaaaa", "aaaaaaaa"], "aaaaaaaaaaaaa"),
        (["open", ""], "open"),
        (["", "open"], "open"),
        (["", ""], ""),
    ],
)
def test_what_two_windows_share_is_there_once(words, joined):
    assert crops.join(words, places(0, 2.5)) == joined


def test_texts_that_do_not_agree_are_cut_in_the_middle_of_what_they_share():
    assert crops.join(["abcdefgh", "stuvwxyz"], places(0, 2)) == "abcdefuvwxyz"


def test_three_windows_and_one():
    assert crops.join(["restaura", "aurantba", "antbarcafe"], places(0, 2.5, 4.5)) == (
        "restaurantbarcafe"
    )
    assert crops.join(["open"], places(0)) == "open"


def test_windows_side_by_side_are_the_image():
    image = np.random.default_rng(0).integers(0, 256, (32, 500, 3), np.uint8)
    found = crops.windows(image)
    assert len(found) > 2
    assert np.array_equal(crops.side_by_side([place.image for place in found], found), image)
    only = crops.windows(image[:, :128])
    assert np.array_equal(crops.side_by_side([image[:, :128]], only), image[:, :128])
    # A narrow image was stretched to be read.
    narrow = crops.windows(image[:, :40])
    assert crops.side_by_side([image[:, :128]], narrow).shape == (32, 128, 3)


@given(st.integers(0, 60), st.integers(0, 60), st.integers(8, 40))
def test_blank_sides_are_cut_but_for_a_margin(left, right, height):
    margin = math.ceil(crops.MARGIN * height)
    image = np.full((height, left + 20 + right, 3), 90, np.uint8)
    image[height // 2, left : left + 20] = 200
    cut = crops.trimmed(image)
    before, after = min(left, margin), min(right, margin)
    assert cut.shape == (height, before + 20 + after, 3)
    np.testing.assert_array_equal(cut, image[:, left - before : left + 20 + after])


def test_what_is_not_blank_stays():
    rng = np.random.default_rng(0)
    noisy = rng.integers(0, 255, (16, 64, 3), np.uint8)
    np.testing.assert_array_equal(crops.trimmed(noisy), noisy)
    plain = np.full((16, 64, 3), 7, np.uint8)
    np.testing.assert_array_equal(crops.trimmed(plain), plain)
