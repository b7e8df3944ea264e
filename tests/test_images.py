"""Image files of every mode come out as the RGB that a person sees."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from textsr_jax import images
from textsr_jax.errors import UserError

GRADIENT = np.linspace(0, 255, 24).astype(np.uint8).reshape(4, 6)


def test_grey_and_rgb_files_open_unchanged(tmp_path):
    Image.fromarray(GRADIENT).save(tmp_path / "grey.png")
    opened = images.open_rgb(tmp_path / "grey.png")
    assert (opened == GRADIENT[..., None]).all()
    assert opened.shape == (4, 6, 3)
    colour = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    Image.fromarray(colour).save(tmp_path / "rgb.png")
    assert (images.open_rgb(tmp_path / "rgb.png") == colour).all()


def test_palette_images_are_looked_up(tmp_path):
    colour = np.zeros((4, 6, 3), np.uint8)
    colour[:, 3:] = (255, 0, 0)
    Image.fromarray(colour).quantize(2).save(tmp_path / "palette.png")
    assert (images.open_rgb(tmp_path / "palette.png") == colour).all()


def test_transparency_is_laid_on_white(tmp_path):
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[0, 0] = (10, 20, 30, 255)
    pixels[1, 1] = (0, 0, 0, 128)
    Image.fromarray(pixels).save(tmp_path / "rgba.png")
    opened = images.open_rgb(tmp_path / "rgba.png")
    assert opened[0, 0].tolist() == [10, 20, 30]
    assert opened[0, 1].tolist() == [255, 255, 255]
    assert abs(int(opened[1, 1, 0]) - 127) <= 1


def test_sixteen_bit_levels_are_scaled(tmp_path):
    levels = GRADIENT.astype(np.uint16) * 257
    Image.fromarray(levels).save(tmp_path / "deep.png")
    assert (images.open_rgb(tmp_path / "deep.png")[..., 1] == GRADIENT).all()


def test_exif_orientation_is_applied(tmp_path):
    image = Image.fromarray(np.stack([GRADIENT] * 3, axis=-1))
    exif = image.getexif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise to see it upright
    image.save(tmp_path / "turned.png", exif=exif)
    opened = images.open_rgb(tmp_path / "turned.png")
    assert (opened[..., 0] == np.rot90(GRADIENT, -1)).all()


def test_what_cannot_be_opened_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none.png: no such file"):
        images.open_rgb(tmp_path / "none.png")
    with pytest.raises(UserError, match=r"is a folder"):
        images.open_rgb(tmp_path)
    (tmp_path / "words.txt").write_text("not pixels")
    with pytest.raises(UserError, match=r"words.txt: cannot read it \(not an image file\)"):
        images.open_rgb(tmp_path / "words.txt")
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:3000])
    with pytest.raises(UserError, match=r"cut.png: cannot read it"):
        images.open_rgb(tmp_path / "cut.png")


def test_uint8_and_float_are_inverse():
    levels = np.arange(256, dtype=np.uint8)
    assert (images.to_uint8(images.to_float(levels)) == levels).all()
    assert images.to_uint8(np.array([-0.5, 0.0, 1.0, 7.0])).tolist() == [0, 0, 255, 255]


def test_resize_is_pillows_bicubic():
    image = np.random.default_rng(0).integers(0, 256, (20, 50, 3), np.uint8)
    expected = Image.fromarray(image).resize((64, 16), Image.Resampling.BICUBIC)
    assert (images.resize(image, images.LR_SIZE) == np.asarray(expected)).all()
    assert images.resize(image, (50, 20)) is image


@given(
    height=st.integers(1, 6),
    width=st.integers(1, 6),
    right=st.integers(-7, 7),
    down=st.integers(-7, 7),
)
def test_what_is_moved_leaves_its_edge_behind(height, width, right, down):
    before = np.random.default_rng(0).integers(0, 256, (2, height, width, 3), np.uint8)
    after = images.moved(before, right, down)
    assert after.shape == before.shape and after.dtype == np.uint8
    for row in range(height):
        for column in range(width):
            there = min(max(row - down, 0), height - 1), min(max(column - right, 0), width - 1)
            np.testing.assert_array_equal(after[:, row, column], before[:, *there])
