"""Pixels: between uint8 and [0, 1], and any image file that Pillow opens as plain RGB.

Networks compute on [0, 1]; files, batches and caches hold uint8.
"""

import contextlib
import io
import pathlib
import warnings
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageOps

from textsr_jax.errors import UserError

LR_SIZE = (64, 16)  # width, height
HR_SIZE = (128, 32)

# Of files in a folder, those whose names end so are images.
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")


def to_float(images: jax.Array) -> jax.Array:
    """uint8 images to float32 in [0, 1]."""
    return jnp.asarray(images).astype(jnp.float32) / 255


def to_uint8(images: jax.Array) -> jax.Array:
    """Images in [0, 1] to uint8, clipped and rounded as a file would hold them."""
    return jnp.round(jnp.clip(images, 0, 1) * 255).astype(jnp.uint8)


def moved(images: np.ndarray, right: int, down: int) -> np.ndarray:
    """Images with what they show moved by some pixels, their edges drawn on behind it.

    Args:
      images: (n, height, width, 3).
      right, down: by how many pixels; negative to the left and up.
    """
    _, height, width, _ = images.shape
    across, along = abs(right), abs(down)
    padded = np.pad(images, ((0, 0), (along, along), (across, across), (0, 0)), mode="edge")
    top, left = along - down, across - right
    return padded[:, top : top + height, left : left + width]


def open_rgb(path: str | pathlib.Path) -> np.ndarray:
    """Opens an image of any mode as it is meant to be seen.

    EXIF orientation is applied, 16-bit levels are scaled to 8, transparency is laid on white.

    Returns:
      uint8 (height, width, 3).

    Raises:
      UserError: there is no such file, it is not an image, it is cut short, or too large.
    """
    with _opened(path) as image:
        image.load()
        return to_rgb(ImageOps.exif_transpose(image))


def decode_rgb(data: bytes, place: str) -> np.ndarray:
    """The content of an image file, as `open_rgb` has it; `UserError`s name `place`."""
    with _decoded(io.BytesIO(data), place) as image:
        image.load()
        return to_rgb(ImageOps.exif_transpose(image))


def image_size(path: str | pathlib.Path) -> tuple[int, int]:
    """Width and height of an image file by its header, orientation not applied.

    Raises:
      UserError: there is no such file, it is not an image, or too large.
    """
    with _opened(path) as image:
        return image.size


@contextlib.contextmanager
def _opened(path: str | pathlib.Path) -> Iterator[Image.Image]:
    path = pathlib.Path(path)
    if not path.exists():
        raise UserError(f"{path}: no such file")
    if path.is_dir():
        raise UserError(f"{path}: is a folder; name image files")
    with _decoded(path, str(path)) as image:
        yield image


@contextlib.contextmanager
def _decoded(file: pathlib.Path | io.BytesIO, place: str) -> Iterator[Image.Image]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as image:
                yield image
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UserError(f"{place}: the image is too large ({error}); crop it first") from error
    except Exception as error:  # Pillow's decoders raise many kinds, by file format
        reason = "not an image file" if "identify" in str(error) else str(error) or repr(error)
        raise UserError(
            f"{place}: cannot read it ({reason}); give a PNG, JPEG or the like"
        ) from error


def to_rgb(image: Image.Image) -> np.ndarray:
    """A Pillow image of any mode as uint8 (height, width, 3)."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        levels = np.asarray(image, np.float64)
        # Pillow opens 16-bit PNGs as I;16 or I. Floating-point images have no fixed white.
        white = 65535 if image.mode != "F" else max(1.0, float(levels.max(initial=0)))
        grey = np.clip(levels / white * 255 + 0.5, 0, 255).astype(np.uint8)
        return np.stack([grey] * 3, axis=-1)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB"))


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes uint8 (height, width, 3) to `size` (width, height), Pillow's bicubic, as TextZoom."""
    if image.shape[1::-1] == size:
        return image
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
