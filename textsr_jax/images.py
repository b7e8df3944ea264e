"""Pixels: conversion between uint8 and [0, 1], and from any kind of image to plain RGB.

Networks compute on [0, 1]; files, batches and caches hold uint8.
"""

import contextlib
import io
import math
import os
import stat
import warnings
from collections.abc import Callable, Iterator
from typing import BinaryIO, cast

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image, UnidentifiedImageError

from textsr_jax.errors import UserError

# An array on the host or on a device.
Array = np.ndarray | jax.Array
FilePath = str | os.PathLike[str]
_Content = bytes | bytearray | memoryview
ImageLike = FilePath | _Content | BinaryIO | Image.Image | Array

LR_SIZE = (64, 16)  # width, height
HR_SIZE = (128, 32)

# The formats that Pillow may open, with their suffixes. None of them starts another program, as
# PostScript does, or holds images of other formats. Those without a signature are tried last.
FORMATS = {
    "PNG": (".png", ".apng"),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "AVIF": (".avif", ".avifs"),
    "JPEG2000": (".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
    "QOI": (".qoi",),
    "PSD": (".psd",),
    "SGI": (".sgi", ".rgb", ".rgba", ".bw"),
    "SUN": (".ras",),
    "ICO": (".ico",),
    "PCX": (".pcx",),
    "DIB": (".dib",),
    "TGA": (".tga", ".icb", ".vda", ".vst"),
}
# The files in a folder whose names end in one of these are images.
SUFFIXES = tuple(suffix for suffixes in FORMATS.values() for suffix in suffixes)

# The most pixels of a decoded image. Formats whose decoders need more than 15 bytes per pixel may
# have half as many.
MAX_PIXELS = 2**26
_HEAVY = ("WEBP", "AVIF", "JPEG2000")
MAX_SIDE = 2**16 - 1
# Larger images are reduced to this size for reading: a photograph to 1182x887, a line to 5793x181.
READ_PIXELS = 2**20
_STRIP = 2**20  # the pixels of a large image that are converted at once

# The names of pipes that the shell makes, as in `read.py <(command)`. No other pipes are read.
_HANDED_OVER = ("/dev/fd/", "/dev/stdin", "/proc/self/fd/")
_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}

_SMALLER = "reduce or crop it first"
_ORIENTATION = 0x0112
# By EXIF's orientation: the operation that turns an image upright.
_UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: np.rot90(image, -1),
    7: lambda image: image[::-1, ::-1].swapaxes(0, 1),
    8: lambda image: np.rot90(image),
}

_ARRAYS = (
    "give (height, width), or (height, width, channels) of grey, grey and alpha, RGB or RGBA, as "
    "uint8, bool, uint16 up to 65535, or float in [0, 1]"
)


def to_float(images: Array) -> jax.Array:
    """uint8 images to float32 in [0, 1]."""
    return jnp.asarray(images).astype(jnp.float32) / 255


def to_uint8(images: Array) -> jax.Array:
    """Images in [0, 1] to uint8, clipped and rounded, as in a file."""
    return jnp.round(jnp.clip(images, 0, 1) * 255).astype(jnp.uint8)


def moved(images: np.ndarray, right: int, down: int) -> np.ndarray:
    """Moves the content of images by some pixels, and repeats the edge pixels behind it.

    Args:
      images: (n, height, width, 3).
      right, down: the number of pixels; negative to the left and up.
    """
    _, height, width, _ = images.shape
    across, along = abs(right), abs(down)
    padded = np.pad(images, ((0, 0), (along, along), (across, across), (0, 0)), mode="edge")
    top, left = along - down, across - right
    return padded[:, top : top + height, left : left + width]


def image_rgb(image: ImageLike, most: int | None = READ_PIXELS) -> np.ndarray:
    """Converts an image of any kind to RGB, upright, on white.

    Args:
      image: a file's name, its content, a file open for reading bytes, or a Pillow image, each
        turned by its EXIF. Or an array (numpy, JAX or another that numpy converts) of shape
        (height, width), or (height, width, channels) with 1 (grey), 2 (grey and alpha), 3 (RGB) or
        4 channels (RGBA): uint8, bool, uint16 up to 65535, or float in [0, 1].
      most: larger images are reduced to this number of pixels, with their aspect; None for never.

    Returns:
      uint8 (height, width, 3).

    Raises:
      UserError: a file, or its content, is missing, no image, damaged or too large.
      ValueError: the value is no image or is ambiguous: an array of another shape or dtype, without
        pixels, or with values out of range. The message says what to give.
    """
    if isinstance(image, str | os.PathLike):
        return open_rgb(image, most)
    if isinstance(image, _Content):
        return decode_rgb(bytes(image), "the bytes given", most)
    if isinstance(image, Image.Image):
        return _pillow_rgb(image, most)
    if hasattr(image, "read"):
        file = cast(BinaryIO, image)
        return decode_rgb(_content(file), str(getattr(file, "name", "the file given")), most)
    return to_rgb(_pillow_of(image), most)


def open_rgb(path: FilePath, most: int | None = None) -> np.ndarray:
    """Opens an image file of any mode and converts it to RGB, upright, on white.

    A damaged EXIF does not turn it. 16-bit levels are scaled to 8. Only the first frame is read.

    Args:
      path: a regular file, `~` allowed; or a pipe by a name such as /dev/stdin.
      most: larger images are reduced to this number of pixels, with their aspect; None for never.

    Returns:
      uint8 (height, width, 3).

    Raises:
      UserError: there is no such file, it is not an image, it is cut short, or too large.
    """
    with _opened(path) as image:
        return _loaded(image, most)


def decode_rgb(data: bytes, place: str, most: int | None = None) -> np.ndarray:
    """Converts the content of an image file as `open_rgb` does; a `UserError` names `place`."""
    with _decoded(io.BytesIO(data), place) as image:
        return _loaded(image, most)


def image_size(path: FilePath) -> tuple[int, int]:
    """Width and height of an image file by its header, without applying the orientation.

    Raises:
      UserError: there is no such file, it is not an image, or it is too large.
    """
    with _opened(path) as image:
        return image.size


def to_rgb(image: Image.Image, most: int | None = None) -> np.ndarray:
    """Converts a Pillow image of any mode to uint8 (height, width, 3), of at most `most` pixels."""
    width, height = size = image.size
    white = _white(image)
    factor = 1 if most is None else max(1, math.isqrt(width * height // most))
    if factor == 1:
        pixels = _converted(image, white)
    else:
        # In strips, so that a large image is in memory once.
        rows = factor * max(1, _STRIP // (width * factor))
        strips = (
            _converted(image.crop((0, top, width, min(height, top + rows))), white)
            for top in range(0, height, rows)
        )
        pixels = np.concatenate([np.asarray(Image.fromarray(s).reduce(factor)) for s in strips])
    return pixels if most is None else resize(pixels, _bounded(size, most, pixels))


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes uint8 (height, width, 3) to `size` (width, height) by Pillow's bicubic filter."""
    if image.shape[1::-1] == size:
        return image
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


@contextlib.contextmanager
def _opened(path: FilePath) -> Iterator[Image.Image]:
    name = os.fsdecode(path)
    with _file(name) as file, _decoded(file, name) as image:
        yield image


def _file(name: str) -> BinaryIO:
    """Opens a regular file or a pipe of the shell. Others are refused, since they may block."""
    try:
        path = name if os.path.lexists(name) else os.path.expanduser(name)
        kind = stat.S_IFMT(os.stat(path).st_mode)
        if kind == stat.S_IFDIR:
            raise UserError(f"{name}: is a folder; name the images in it")
        if kind == stat.S_IFIFO and path.startswith(_HANDED_OVER):
            with open(path, "rb") as pipe:
                return io.BytesIO(pipe.read())
        if kind != stat.S_IFREG:
            raise UserError(f"{name}: is {_KINDS.get(kind, 'no file')}; name an image file")
        return open(path, "rb")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"{name}: no such file") from error
    except PermissionError as error:
        raise UserError(f"{name}: {error.strerror}; see to its permissions") from error
    except OSError as error:
        raise UserError(f"{name}: cannot read it ({error.strerror}); name another file") from error
    except ValueError as error:  # an embedded NUL, or half of a surrogate pair
        raise UserError(f"{name}: no file can have such a name ({error})") from error


@contextlib.contextmanager
def _decoded(file: BinaryIO, place: str) -> Iterator[Image.Image]:
    try:
        with warnings.catch_warnings():
            # Sizes are checked below, and other warnings concern files that open.
            warnings.simplefilter("ignore")
            with Image.open(file, formats=tuple(FORMATS)) as image:
                if problem := _too_large(image.size, image.format):
                    raise UserError(f"{place}: {problem}")
                yield image
    except UserError:
        raise
    except Image.DecompressionBombError as error:
        raise UserError(f"{place}: has too many pixels ({error}); {_SMALLER}") from error
    except Exception as error:  # Pillow's decoders raise many kinds, by file format
        unknown = isinstance(error, UnidentifiedImageError)
        reason = "not an image file" if unknown else str(error) or repr(error)
        raise UserError(
            f"{place}: cannot read it ({reason}); give a PNG, JPEG or the like"
        ) from error


def _too_large(size: tuple[int, int], format: str | None = None) -> str:
    """Why an image of this size is refused; empty where it is not."""
    width, height = size
    most = MAX_PIXELS // 2 if format in _HEAVY else MAX_PIXELS
    if width * height > most:
        return f"is {width} x {height}, more than {most:,} pixels; {_SMALLER}"
    if max(size) > MAX_SIDE:
        return f"is {width} x {height}, longer than {MAX_SIDE:,} pixels; {_SMALLER}"
    return ""


def _loaded(image: Image.Image, most: int | None) -> np.ndarray:
    """The pixels of an image file, upright. A large JPEG is decoded at a reduced size."""
    if most is not None and image.width * image.height > most:
        image.draft(None, _bounded(image.size, most))
    image.load()
    return _upright(image, to_rgb(image, most))


def _bounded(size: tuple[int, int], most: int, pixels: np.ndarray | None = None) -> tuple[int, int]:
    """A size of about the same aspect and at most `most` pixels, and no larger than `pixels`."""
    width, height = size
    if width * height > most:
        scale = math.sqrt(most / (width * height))
        width, height = max(1, int(width * scale)), max(1, int(height * scale))
    if pixels is not None:
        width, height = min(width, pixels.shape[1]), min(height, pixels.shape[0])
    return width, height


def _upright(image: Image.Image, pixels: np.ndarray) -> np.ndarray:
    """Turns the pixels of an image by its EXIF where that can be read."""
    turn = None
    # Damaged EXIF raises many kinds of errors.
    with contextlib.suppress(Exception), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        turn = _UPRIGHT.get(image.getexif().get(_ORIENTATION, 1))
    return pixels if turn is None else np.ascontiguousarray(turn(pixels))


def _white(image: Image.Image) -> float:
    """The level of white in an image of one wide channel; 255 in all others."""
    if image.mode == "F":
        # Floating-point images have no fixed white.
        lowest, highest = cast(tuple[float, float], image.getextrema())
        if not (math.isfinite(lowest) and math.isfinite(highest)):
            raise ValueError("its levels are not finite")
        return max(1.0, highest)
    # Pillow opens 16-bit files as I;16 or I.
    return 65535.0 if image.mode.startswith("I") else 255.0


def _converted(image: Image.Image, white: float) -> np.ndarray:
    if image.mode == "F" or image.mode.startswith("I"):
        levels = np.asarray(image, np.float64)
        grey = np.clip(levels / white * 255 + 0.5, 0, 255).astype(np.uint8)
        return np.stack([grey] * 3, axis=-1)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB"))


def _pillow_rgb(image: Image.Image, most: int | None) -> np.ndarray:
    _check_given(image.size)
    if image.format is None and image.mode in ("I", "F"):
        # The image was made of an array, not read from a 16-bit file.
        return _upright(image, to_rgb(_pillow_of(np.asarray(image)), most))
    try:
        image.load()
        return _upright(image, to_rgb(image, most))
    except Exception as error:  # Pillow raises many kinds for its file
        raise UserError(f"the Pillow image: cannot read it ({error}); open it again") from error


def _pillow_of(given: object) -> Image.Image:
    """A Pillow image of an array; raises `ValueError` for an ambiguous or unusable one."""
    try:
        array = np.asarray(given) if hasattr(given, "__array__") else None
    except Exception as error:  # another library's array may raise any kind
        raise ValueError(f"a {type(given).__name__} gives no numpy array ({error})") from error
    if array is None or array.dtype.kind in "OSU":
        raise ValueError(
            f"a {type(given).__name__} {'' if array is None else f'of {array.dtype} '}is no image; "
            f"{_ARRAYS}; or name a file"
        )
    shape = array.shape
    if array.ndim == 3 and shape[0] in (1, 3, 4) and shape[2] > 4 and shape[0] < shape[1]:
        raise ValueError(
            f"an array of shape {shape} has its channels first; give np.moveaxis(array, 0, -1)"
        )
    if array.ndim not in (2, 3) or (array.ndim == 3 and shape[2] not in (1, 2, 3, 4)):
        raise ValueError(f"an array of shape {shape} is no image; {_ARRAYS}")
    _check_given(shape[1::-1])
    array = _eight_bits(array)
    if array.ndim == 3 and shape[2] == 1:
        array = array[..., 0]
    return Image.fromarray(np.ascontiguousarray(array))


def _check_given(size: tuple[int, int]) -> None:
    if 0 in size:
        raise ValueError(f"an image of {size[0]} x {size[1]} has no pixels")
    if problem := _too_large(size):
        raise ValueError(f"the image {problem}")


def _eight_bits(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    if array.dtype == bool:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype == np.uint16:
        most = int(array.max())
        if 0 < most <= 255:
            raise ValueError(
                f"uint16 levels up to {most} may have 8 or 16 bits; give array.astype("
                "np.uint8), or levels up to 65535"
            )
        return (array.astype(np.float32) / 65535 * 255 + 0.5).astype(np.uint8)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise ValueError(f"an array of {array.dtype} may mean many levels; {_ARRAYS}")
    with np.errstate(over="ignore"):
        levels = np.round((array if array.itemsize > 2 else array.astype(np.float32)) * 255)
    lowest, highest = float(levels.min()), float(levels.max())
    if not (math.isfinite(lowest) and math.isfinite(highest)):
        raise ValueError("a float array with NaN or infinity is no image; give values in [0, 1]")
    if lowest < 0 or highest > 255:
        raise ValueError(
            f"a float array from {lowest / 255:g} to {highest / 255:g} is out of [0, 1]; divide "
            "levels of 0 to 255 by 255, or give them as uint8"
        )
    return levels.astype(np.uint8)


def _content(file: BinaryIO) -> bytes:
    """All of a file, from its beginning where it can be sought."""
    if getattr(file, "seekable", lambda: False)():
        file.seek(0)
    content = file.read()
    if not isinstance(content, bytes):
        raise ValueError("a file of text is no image; open it for bytes: open(name, 'rb')")
    return content
