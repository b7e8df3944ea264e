"""Gaps of a line: where they are and how wide, on plain, shaded and noisy ground."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from textsr_jax.photos import splitting


def line(text, height=40, size=26, ink=(30, 20, 60), ground=(200, 210, 190)):
    """A drawn line with the room above and below it that a detector leaves."""
    font = ImageFont.load_default(size)
    width = round(font.getlength(text)) + 20
    image = Image.new("RGB", (width, height), ground)
    ImageDraw.Draw(image).text((10, height / 2), text, fill=ink, font=font, anchor="lm")
    return np.asarray(image)


def bars(*widths, height=40, letter=20, top=10):
    """Black bars of 8 pixels with blank space of these widths between them, in pixels."""
    columns = [10]
    for width in widths:
        columns.append(columns[-1] + 8 + width)
    image = np.full((height, columns[-1] + 18, 3), 220, np.uint8)
    for left in columns:
        image[top : top + letter, left : left + 8] = 20
    return image


def test_gaps_have_places_and_widths_in_heights():
    image = bars(4, 10, 20)
    found, (start, end) = splitting.gaps(image)
    width = image.shape[1]
    assert [gap.width for gap in found] == pytest.approx([0.1, 0.25, 0.5], abs=0.06)
    assert [gap.ratio for gap in found] == pytest.approx([1.6, 3, 3.3], abs=1)
    assert [width * gap.left for gap in found] == pytest.approx([18, 30, 48], abs=1.5)
    assert [width * gap.right for gap in found] == pytest.approx([22, 40, 68], abs=1.5)
    assert (width * start, width * end) == pytest.approx((10, 76), abs=1.5)


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


@pytest.mark.parametrize("change", [np.asarray, shaded, noisy, light_on_dark])
@pytest.mark.parametrize("text", ["Central Station", "OPEN DAILY", "9-17 Saturday"])
def test_the_widest_gap_ends_a_word(change, text):
    image = line(text)
    found, _ = splitting.gaps(change(image))
    widest = max(found, key=lambda gap: gap.width)
    before = ImageFont.load_default(26).getlength(text.split(" ")[0]) + 10
    assert not widest.never
    assert image.shape[1] * widest.left == pytest.approx(before, abs=4)
    others = [gap.width for gap in found if gap is not widest]
    assert not others or max(others) < widest.width / 1.1


def test_an_underline_hides_no_gap_and_one_colour_has_none():
    image = bars(10, 10)
    image[30:32, 5:-5] = 20
    assert len(splitting.gaps(image)[0]) == 2
    assert splitting.gaps(np.full((20, 90, 3), 7, np.uint8)) == ([], (0.0, 1.0))
