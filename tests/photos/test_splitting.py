"""Spaces of a line: where words begin and end, on plain, shaded and noisy ground."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from textsr_jax.photos import splitting


def line(text, height=40, size=26, ink=(30, 20, 60), ground=(200, 210, 190), stroke=0):
    """A drawn line with the room above and below it that a detector leaves."""
    font = ImageFont.load_default(size)
    width = round(font.getlength(text)) + 20
    image = Image.new("RGB", (width, height), ground)
    canvas = ImageDraw.Draw(image)
    canvas.text((10, height / 2), text, fill=ink, font=font, anchor="lm", stroke_width=stroke)
    return np.asarray(image)


def shaded(image):
    ramp = (
        np.linspace(0.4, 1.0, image.shape[1])[:, None]
        * np.linspace(1, 0.8, len(image))[:, None, None]
    )
    return (image * ramp).astype(np.uint8)


def noisy(image):
    noise = np.random.default_rng(0).normal(0, 12, image.shape)
    return (image + noise).clip(0, 255).astype(np.uint8)


def light_on_dark(image):
    return 255 - image


def small(image):
    reduced = Image.fromarray(image).resize((image.shape[1] // 4, image.shape[0] // 4))
    return np.asarray(reduced)


@pytest.mark.parametrize("change", [np.asarray, shaded, noisy, light_on_dark, small])
@pytest.mark.parametrize("text", ["Central Station", "OPEN DAILY", "9-17 Saturday"])
def test_the_likeliest_gap_ends_a_word(change, text):
    image = line(text)
    (found,) = splitting.spaces([change(image)])
    likeliest = max(found.gaps, key=lambda gap: gap.log_odds)
    font, width = ImageFont.load_default(26), image.shape[1]
    before, after = text.split(" ")
    assert width * likeliest.left == pytest.approx(font.getlength(before) + 10, abs=5)
    assert width * likeliest.right == pytest.approx(width - 10 - font.getlength(after), abs=5)
    assert (width * found.start, width * found.end) == pytest.approx((10, width - 10), abs=5)
    assert [gap for gap in found.gaps if gap.log_odds > 0] == [likeliest]


def test_ink_may_cover_more_than_half_of_a_line():
    image = line("MMM  WWW", height=22, stroke=2)
    assert (image[..., 0] < 100).mean() > 0.5
    (found,) = splitting.spaces([image])
    (gap,) = [gap for gap in found.gaps if gap.log_odds > 0]
    before = 10 + ImageFont.load_default(26).getlength("MMM")
    space = ImageFont.load_default(26).getlength("  ")
    assert image.shape[1] * gap.middle == pytest.approx(before + space / 2, abs=5)


def test_one_colour_has_no_words():
    (found,) = splitting.spaces([np.full((20, 90, 3), 7, np.uint8)])
    assert found == splitting.Spaces((), 0.0, 1.0)
    assert splitting.spaces([]) == []


def test_windows_of_long_lines_are_joined_where_they_overlap():
    """Each column is taken from the window in which it lies further from the edge."""

    def column_means(windows):
        odds = windows.mean(axis=1)[:, ::2].copy()
        # What lies near to a window's edge is seen wrongly, but for the ends of the line.
        odds[:, :8] += 50
        odds[:, -8:] -= 50
        return odds

    lengths = (40, 256, 257, 700)
    lines = [np.random.default_rng(n).normal(size=(32, n)).astype(np.float32) for n in lengths]
    for drawn, odds in zip(lines, splitting.word_odds(lines, column_means), strict=True):
        plain = drawn.mean(axis=0)[::2]
        assert odds.shape == plain.shape
        inner = slice(8, max(8, len(plain) - 64))
        np.testing.assert_allclose(odds[inner], plain[inner], rtol=1e-5)
