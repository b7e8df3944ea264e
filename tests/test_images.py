"""Image files of every mode come out as the RGB that a person sees."""

import ast
import io
import math
import os
import pathlib
import socket
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from textsr_jax import images
from textsr_jax.errors import UserError

ROOT = pathlib.Path(__file__).parents[1]
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


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["turned.png", "turned.jpg", "turned.tif", "turned.webp"])
def test_every_orientation_is_pillow_s(tmp_path, orientation, name):
    image = Image.fromarray(np.repeat(GRADIENT, 8, axis=0).repeat(8, axis=1)).convert("RGB")
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(tmp_path / name, exif=exif)
    with Image.open(tmp_path / name) as opened:
        wanted = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
    np.testing.assert_array_equal(images.open_rgb(tmp_path / name), wanted)
    # A Pillow image, a file's content and an open file are turned as the file is.
    with Image.open(tmp_path / name) as opened:
        np.testing.assert_array_equal(images.image_rgb(opened), wanted)
    content = (tmp_path / name).read_bytes()
    np.testing.assert_array_equal(images.image_rgb(content), wanted)
    with open(tmp_path / name, "rb") as file:
        file.read(5)
        np.testing.assert_array_equal(images.image_rgb(file), wanted)


@pytest.mark.parametrize("suffix", ["png", "webp", "jpg"])
@pytest.mark.parametrize("exif", [b"garbage", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0II*"])
def test_damaged_exif_leaves_an_image_unturned(tmp_path, suffix, exif):
    colour = np.asarray(Image.fromarray(GRADIENT).convert("RGB"))
    Image.fromarray(colour).save(tmp_path / f"a.{suffix}", exif=exif, quality=100, lossless=True)
    opened = images.open_rgb(tmp_path / f"a.{suffix}")
    assert np.abs(opened.astype(int) - colour).max() <= 3
    with Image.open(tmp_path / f"a.{suffix}") as image:
        np.testing.assert_array_equal(images.image_rgb(image), opened)


FORMATS = ["png", "jpg", "jpe", "jfif", "gif", "bmp", "dib", "ppm", "pgm", "tga", "webp", "tiff"]


@pytest.mark.parametrize("suffix", [*FORMATS, "avif", "jp2", "qoi", "sgi", "ico", "pcx", "apng"])
def test_every_format_of_a_suffix_opens(tmp_path, suffix):
    assert f".{suffix}" in images.SUFFIXES
    if Image.registered_extensions()[f".{suffix}"] not in Image.SAVE:
        pytest.skip("this Pillow does not write it")
    grey = np.repeat(GRADIENT, 12, axis=0).repeat(8, axis=1)
    mode = "L" if suffix == "pgm" else "RGB"
    try:
        Image.fromarray(grey).convert(mode).save(tmp_path / f"a.{suffix}")
    except OSError:
        pytest.skip("this Pillow was built without it")
    opened = images.open_rgb(tmp_path / f"a.{suffix}")
    # Whatever a format loses, what the image shows is there.
    assert opened.shape == (48, 48, 3)
    assert np.abs(opened.astype(int) - grey[..., None]).mean() < 4


def test_suffixes_are_those_of_formats_that_pillow_opens():
    Image.init()
    assert set(images.FORMATS) <= set(Image.OPEN)
    for format, suffixes in images.FORMATS.items():
        for suffix in suffixes:
            assert Image.registered_extensions().get(suffix, format) in (format, "MPO")


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 10\n%%EndComments\nshowpage\n%%EOF\n"


def test_no_file_starts_another_program(tmp_path, monkeypatch):
    """PostScript under any name, alone or within what Pillow opens as a container of images."""

    def run(*arguments, **_):
        raise AssertionError(arguments)

    for name in ("Popen", "run", "call", "check_call", "check_output"):
        monkeypatch.setattr(subprocess, name, run)
    monkeypatch.setattr(os, "system", run)
    # IPTC's data record, of a size in its last two bytes.
    iptc = b"\x1c\x03\x14\x00\x01\x01\x1c\x08\x0a" + len(POSTSCRIPT).to_bytes(2, "big") + POSTSCRIPT
    for content in (POSTSCRIPT, b"\xc5\xd0\xd3\xc6" + bytes(28) + POSTSCRIPT, iptc):
        (tmp_path / "a.png").write_bytes(content)
        with pytest.raises(UserError, match=r"a.png: cannot read it \(not an image file\)"):
            images.open_rgb(tmp_path / "a.png")
        with pytest.raises(UserError, match=r"the bytes given: cannot read it"):
            images.image_rgb(content)


def test_every_image_is_opened_by_a_list_of_formats():
    """Nothing in the package lets Pillow choose among all that it knows."""
    package = pathlib.Path(images.__file__).parent
    calls = [
        (path, call)
        for path in package.rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "Image.open"
    ]
    assert len(calls) >= 2
    for path, call in calls:
        assert "formats" in {keyword.arg for keyword in call.keywords}, (path, call.lineno)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="has no FIFOs")
def test_what_may_block_is_not_opened(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"a.png: is a FIFO; name an image file"):
        images.open_rgb(tmp_path / "a.png")
    with pytest.raises(UserError, match="is a device"):
        images.open_rgb("/dev/zero")
    monkeypatch.chdir(tmp_path)  # the path of a socket may have few characters
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("s.png")
        with pytest.raises(UserError, match="is a socket"):
            images.open_rgb("s.png")


@pytest.mark.skipif(not os.path.isdir("/dev/fd"), reason="has no /dev/fd")
def test_a_pipe_that_the_shell_hands_over_is_read():
    readable, writable = os.pipe()
    with open(readable, "rb"), open(writable, "wb") as program:
        Image.fromarray(GRADIENT).save(program, format="PNG")
        program.close()
        assert (images.open_rgb(f"/dev/fd/{readable}") == GRADIENT[..., None]).all()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a" * 5000, "cannot read it .File name too long"),
        ("a\0b.png", "no file can have such a name"),
        ("\ud800.png", "no file can have such a name"),
        ("", ": no such file"),
        ("a.png/b.png", "a.png/b.png: no such file"),
        ("loop.png", "cannot read it .Too many levels of symbolic links"),
    ],
)
def test_names_that_no_file_can_have(tmp_path, monkeypatch, name, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.png").write_bytes(b"")
    os.symlink("loop.png", "loop.png")
    with pytest.raises(UserError, match=message):
        images.open_rgb(name)


def test_the_user_s_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    Image.fromarray(GRADIENT).save(tmp_path / "a.png")
    assert images.open_rgb("~/a.png").shape == (4, 6, 3)


def test_images_have_a_bound(tmp_path):
    """Small files of very many pixels are one line, before anything is decoded."""
    for size, message in (
        ((9459, 9459), r"a.png: is 9459 x 9459, more than 67,108,864 pixels; reduce or crop it"),
        ((200_000, 1), r"a.png: is 200000 x 1, longer than 65,535 pixels"),
        ((1, 2_000_000), r"a.png: is 1 x 2000000, longer than"),
        ((20_000, 20_000), r"a.png: has too many pixels"),
    ):
        Image.new("1", size).save(tmp_path / "a.png")
        with pytest.raises(UserError, match=message):
            images.open_rgb(tmp_path / "a.png")
    with pytest.raises(ValueError, match="is 70000 x 1, longer than"):
        images.image_rgb(np.zeros((1, 70_000), np.uint8))


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "RGBA", "I;16", "CMYK"])
def test_large_images_are_reduced_piece_by_piece(tmp_path, mode, monkeypatch):
    """What they show stays, whatever their mode; strips leave no seams."""
    monkeypatch.setattr(images, "_STRIP", 1000)
    smooth = Image.fromarray(GRADIENT).resize((300, 200), Image.Resampling.BICUBIC)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(smooth).astype(np.uint16) * 257)
    else:
        image = smooth.convert(mode)
    image.save(tmp_path / "a.tif")
    made = images.open_rgb(tmp_path / "a.tif", 60 * 40)
    assert made.shape == (40, 60, 3)
    wanted = np.asarray(smooth.resize((60, 40), Image.Resampling.BOX)).astype(int)
    difference = np.abs(made[..., 0] - wanted)
    assert difference.mean() < (20 if mode == "1" else 3)
    # Smaller ones stay as they are, to the pixel.
    whole = images.open_rgb(tmp_path / "a.tif")
    np.testing.assert_array_equal(images.open_rgb(tmp_path / "a.tif", 300 * 200), whole)
    assert whole.shape == (200, 300, 3)


@given(width=st.integers(1, 90), height=st.integers(1, 90), most=st.integers(30, 5000))
def test_a_reduced_image_keeps_its_aspect(width, height, most):
    made = images.to_rgb(Image.new("L", (width, height), 77), most)
    assert (made == 77).all()
    if width * height <= most:
        assert made.shape == (height, width, 3)
    else:
        assert made.shape[0] * made.shape[1] <= max(most, max(made.shape))
        # To the nearest pixel of either side.
        scale = math.sqrt(most / (width * height))
        assert abs(made.shape[0] - height * scale) <= 1 or made.shape[0] == 1
        assert abs(made.shape[1] - width * scale) <= 1 or made.shape[1] == 1


@pytest.mark.slow
def test_a_photograph_takes_little_memory(tmp_path):
    """Twelve megapixels are decoded to what is read: a JPEG in few of them, a PNG in strips."""
    smooth = Image.fromarray(GRADIENT).convert("RGB").resize((4000, 3000), Image.Resampling.BICUBIC)
    script = (
        "import resource, sys\n"
        "from textsr_jax import images\n"
        "images.open_rgb(sys.argv[1], images.READ_PIXELS)\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak()\n"
        "shape = images.open_rgb(sys.argv[2], images.READ_PIXELS).shape\n"
        "print(*shape, (peak() - before) // 1024)\n"
    )
    smooth.resize((40, 30)).save(tmp_path / "small.jpg")
    for name, megabytes in (("a.jpg", 60), ("a.png", 120)):
        smooth.save(tmp_path / name, compress_level=1)
        command = [sys.executable, "-c", script, tmp_path / "small.jpg", tmp_path / name]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
        height, width, _, peak = map(int, done.stdout.split())
        assert (height, width) == (886, 1182)
        assert peak < megabytes


COLOUR = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
ALPHA = np.concatenate([COLOUR, np.full((5, 7, 1), 255, np.uint8)], axis=2)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (COLOUR, COLOUR),
        (COLOUR.astype(np.float64) / 255, COLOUR),
        (COLOUR.astype(np.float32) / 255, COLOUR),
        (jnp.asarray(COLOUR), COLOUR),
        (jnp.asarray(COLOUR).astype(jnp.float32) / 255, COLOUR),
        (COLOUR.astype(np.uint16) * 257, COLOUR),
        (COLOUR[..., :1], COLOUR[..., :1]),
        (COLOUR[..., 0], COLOUR[..., :1]),
        (COLOUR[..., 0].astype(np.uint16) * 257, COLOUR[..., :1]),
        (COLOUR[..., 0] > 99, (COLOUR[..., :1] > 99) * 255),
        (ALPHA, COLOUR),
        (ALPHA / 255, COLOUR),
        (ALPHA[..., 2:], COLOUR[..., 2:]),
        (ALPHA * np.uint8([1, 1, 1, 0]), np.full((1, 1, 1), 255)),
        (COLOUR[::-1, ::2], COLOUR[::-1, ::2]),
        # Rounding in what made a float image is no other meaning.
        (np.float32([[0, 1 + 1e-6], [-1e-6, 0.5]]), np.array([[0, 255], [0, 128]])[..., None]),
        (Image.fromarray(COLOUR), COLOUR),
        (Image.fromarray(COLOUR[..., 0]).convert("P"), COLOUR[..., :1]),
        (Image.fromarray(COLOUR[..., 0] / np.float32(255)), COLOUR[..., :1]),
        (Image.fromarray(COLOUR[..., 0].astype(np.uint16) * 257), COLOUR[..., :1]),
    ],
)
def test_what_an_array_or_a_pillow_image_honestly_means(given, wanted):
    found = images.image_rgb(given)
    assert found.dtype == np.uint8 and found.shape[2] == 3
    np.testing.assert_array_equal(found, np.broadcast_to(wanted, found.shape))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (COLOUR.astype(np.float32), r"from \d+ to 2\d\d is out of \[0, 1\]; divide levels"),
        (COLOUR / 127.5 - 1, r"from -1 to 0\.9\d+ is out of \[0, 1\]"),
        (np.full((2, 2), np.nan), "with NaN or infinity"),
        (np.full((2, 2), np.inf), "with NaN or infinity"),
        (np.full((2, 2), 1e300), r"is out of \[0, 1\]"),
        (np.moveaxis(COLOUR, -1, 0), r"\(3, 5, 7\) has its channels first; give np.moveaxis"),
        (COLOUR[0, 0], r"an array of shape \(3,\) is no image; give \(height, width\)"),
        (np.uint8(3), r"an array of shape \(\)"),
        (COLOUR[None, None], "is no image"),
        (np.zeros((4, 4, 7), np.uint8), "is no image"),
        (COLOUR.astype(np.int64), "int64 may mean many levels"),
        (COLOUR.astype(np.int8), "int8 may mean many levels"),
        (COLOUR.astype(np.complex64), "complex64 may mean many levels"),
        (COLOUR.astype(np.uint16), "may have 8 or 16 bits"),
        (np.array([[None]]), "of object is no image"),
        (np.array(["a.png"]), "is no image.* or name a file"),
        (np.zeros((0, 5, 3), np.uint8), "5 x 0 has no pixels"),
        (Image.new("RGB", (0, 5)), "0 x 5 has no pixels"),
        (Image.fromarray(COLOUR[..., 0].astype(np.float32)), "divide levels"),
        (Image.fromarray(COLOUR[..., 0].astype(np.int32)), "int32 may mean many levels"),
        ([[0, 1], [1, 0]], "a list is no image"),
        (None, "a NoneType is no image"),
        (io.StringIO("a"), "a file of text is no image; open it for bytes"),
    ],
)
def test_what_may_mean_several_is_refused_with_the_fix(given, message):
    with pytest.raises(ValueError, match=message):
        images.image_rgb(given)
