"""Rules of reading: what is sharp, turns of tall images, windows of wide ones and their texts."""

import io
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from tests.conftest import word_image
from textsr_jax.images import HR_SIZE, LR_SIZE, resize
from textsr_jax.reading import contents, crops


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


def test_joined_letters_say_where_they_are_from():
    assert crops.joined_letters(["restauri", "urantbar"], places(0, 2.5)) == [
        *((0, place) for place in range(6)),
        *((1, place) for place in range(1, 8)),
    ]


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
    image[:, left : left + 20 : 2] = image[:, left + 19] = 200
    cut = crops.trimmed(image)
    before, after = min(left, margin), min(right, margin)
    assert cut.shape == (height, before + 20 + after, 3)
    np.testing.assert_array_equal(cut, image[:, left - before : left + 20 + after])


@settings(max_examples=30)
@given(
    st.integers(0, 120),
    st.integers(0, 120),
    st.integers(8, 40),
    st.floats(0, 6),
    st.integers(0, 99),
)
def test_blank_rows_are_cut_where_there_are_many(above, below, height, noise, seed):
    rng = np.random.default_rng(seed)
    image = np.full((above + height + below, 60, 3), 90.0)
    # Strokes that change from row to row, as letters do.
    for row in range(height):
        start = 5 + row // 2 % 3
        image[above + row, start:55:4] = image[above + row, start + 1 : 55 : 4] = 200
    # A gradient is blank as well.
    image += rng.normal(0, noise, image.shape) + np.linspace(0, 40, 60)[:, None]
    cut = crops.trimmed(image.clip(0, 255).astype(np.uint8)).shape[0]
    if max(above, below) < 0.8 * height * crops.BLANK_ROWS - 3:
        assert cut == len(image)
    if max(above, below) > 1.2 * height * crops.BLANK_ROWS + 6:
        assert height <= cut <= height * (1 + 2 * crops.MARGIN) + 6 + 0.05 * len(image)


def test_upright_strokes_that_fill_most_rows_are_not_blank():
    image = np.full((11, 60, 3), 90, np.uint8)
    image[:8, 5:55:4] = image[:8, 6:55:4] = 200
    assert crops.trimmed(image).shape[0] == 11


def test_what_is_not_blank_stays():
    rng = np.random.default_rng(0)
    noisy = rng.integers(0, 255, (16, 64, 3), np.uint8)
    np.testing.assert_array_equal(crops.trimmed(noisy), noisy)
    plain = np.full((16, 64, 3), 7, np.uint8)
    np.testing.assert_array_equal(crops.trimmed(plain), plain)


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file).convert("RGB"))


@settings(max_examples=30)
@given(
    st.tuples(st.integers(1, 60), st.integers(1, 200)),
    st.tuples(*[st.integers(120, 135)] * 3),
    st.floats(0, 8),
    st.floats(-40, 40),
    st.integers(0, 99),
)
def test_one_colour_is_blank_in_noise_and_with_a_gradient(size, colour, noise, slope, seed):
    rng = np.random.default_rng(seed)
    smooth = (
        slope * np.linspace(-1, 1, size[1])[:, None]
        + slope * np.linspace(-1, 1, size[0])[:, None, None] ** 2
    )
    image = np.array(colour) + smooth + rng.normal(0, noise, (*size, 3))
    # Noise on a handful of pixels may look like anything.
    if noise < 3 or min(size) >= 12 or min(size) < contents.LEAST_PIXELS:
        assert contents.is_blank(image.clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize("quality", [30, 60, 90])
def test_jpeg_does_not_make_one_colour_a_word(quality):
    rng = np.random.default_rng(quality)
    flat = np.full((48, 200, 3), 131.0)
    for noise in (0, 2, 4):
        for slope in (0, 30):
            image = flat + rng.normal(0, noise, flat.shape) + np.linspace(0, slope, 200)[:, None]
            assert contents.is_blank(jpeg(image.astype(np.uint8), quality))


def test_faint_words_are_not_blank():
    word = np.asarray(word_image("open")).astype(float)
    for size in (LR_SIZE, HR_SIZE):
        for contrast in (0.2, 0.5, 1):
            faint = (128 + contrast * (word - word.mean())).clip(0, 255).astype(np.uint8)
            assert not contents.is_blank(resize(faint, size))


def two_words(gap: int, noise: float, seed: int = 0, width: int = 80) -> np.ndarray:
    rng = np.random.default_rng(seed)
    bars = np.full((32, width), 60.0)
    for column in (3, 4, 5):
        bars[4:28, column : width - 3 : 8] = 190
    line = np.concatenate([bars, np.full((32, gap), 60.0), bars], axis=1)
    image = line[..., None] + rng.normal(0, noise, (*line.shape, 3))
    return image.clip(0, 255).astype(np.uint8)


@settings(max_examples=30)
@given(st.integers(30, 400), st.floats(0, 20), st.integers(0, 99))
def test_words_with_wide_space_between_them_are_apart(gap, noise, seed):
    left, right = crops.apart(two_words(gap, noise, seed))
    # The letters end three pixels before their words do, the margin is five.
    assert left.shape[1] == pytest.approx(82, abs=5)
    assert right.shape[1] == pytest.approx(82, abs=5)


@settings(max_examples=30)
@given(st.integers(0, 12), st.floats(0, 20))
def test_words_with_a_space_between_them_are_one_line(gap, noise):
    image = two_words(gap, noise)
    (line,) = crops.apart(image)
    assert line.shape == image.shape


def test_letters_below_each_other_are_set_side_by_side():
    letter = np.full((24, 20, 3), 220, np.uint8)
    letter[2:22, 8:12] = letter[2:5, 2:18] = 20
    dotted = letter.copy()
    dotted[2:5], dotted[5:8] = 220, 220
    dotted[2:4, 8:12] = 20
    line = crops.unstacked(np.concatenate([letter, dotted, letter, letter]))
    assert line.shape[0] < 40 and line.shape[1] > 3 * 10
    ink = (line < 100).any(axis=(0, 2))
    # Four letters: a dot is no letter of its own.
    assert (np.diff(ink.astype(int)) == 1).sum() == 4
    assert crops.unstacked(np.concatenate([letter, letter])) is None


def test_photographs_are_told_from_large_crops():
    rng = np.random.default_rng(0)
    crop = resize(np.asarray(word_image("at"))[:, :60], (600, 390))
    assert not contents.is_photograph(crop, "at", 0.99)
    scene = resize(rng.integers(0, 256, (120, 160, 3), np.uint8), (640, 480))
    assert contents.is_photograph(scene, "hall", 0.99)
    # Small pictures, and lines, are crops whatever they show.
    assert not contents.is_photograph(resize(scene, (160, 120)), "", 0.0)
    assert not contents.is_photograph(scene[:220], "", 0.0)


def test_a_calm_scene_is_a_photograph_where_no_word_is_surely_read():
    rng = np.random.default_rng(0)
    calm = resize(rng.integers(0, 256, (6, 8, 3), np.uint8), (1280, 960))
    assert contents.is_photograph(calm, "it", 0.97) and contents.is_photograph(calm, "the", 0.86)
    # A word that fills a large crop is read.
    assert not contents.is_photograph(calm, "open", 0.97)
    assert not contents.is_photograph(resize(calm, (480, 360)), "it", 0.97)


def test_blank_space_makes_no_photograph():
    page = np.full((300, 300, 3), 230, np.uint8)
    page[140:172, 80:208] = np.asarray(word_image("harbor"))
    assert not contents.is_photograph(page, "harbor", 1.0)
