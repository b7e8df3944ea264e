"""`enhance_page`: a whole photograph at twice its size, in which the SR model sharpened the words.

Each word is cut out, enlarged and put back into its quadrilateral, so that no border is seen.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image
from scipy import ndimage

from textsr_jax.errors import UserError
from textsr_jax.images import HR_SIZE, LR_SIZE, MAX_PIXELS, ImageLike, image_rgb, resize
from textsr_jax.photos import quadrilaterals
from textsr_jax.photos.page import Page
from textsr_jax.photos.words import size
from textsr_jax.reading import Reader, batches, crops

# How far around a word's box the photograph is enlarged with it, in heights of the word. What the
# SR model adds fades there into what surrounds the word.
MARGIN = 0.15

# How many rows of a photograph are enlarged at once, and how many pixels around a part its
# enlargement depends on.
_ROWS, _REACH = 256, 8


@dataclasses.dataclass(frozen=True)
class _Patch:
    """A word that the SR model enlarges.

    Attributes:
      box: its corners with the margin, float64 (4, 2).
      fade: the width of the margin in shares of the box's width and height.
      size: width and height of the box in whole pixels.
      windows: what stands in the box, straightened, as the SR model takes it.
      sharpness: from 0 for a word that is higher than 16 rows and loses nothing there, to 1 for a
        sharp one.
    """

    box: np.ndarray
    fade: tuple[float, float]
    size: tuple[int, int]
    windows: list[crops.Window]
    sharpness: float


def enhance_page(image: ImageLike, page: Page, reader: Reader) -> np.ndarray:
    """Returns the photograph at twice its size, with sharper words.

    Lanczos' filter enlarges the photograph. What is lost when the result is halved again is added
    to it, by the back-projection of Irani and Peleg ("Improving resolution by image registration",
    1991). To words that are lower than an SR image, of 32 rows, the SR model adds more:

    1. The word is straightened, with a margin, and cut into windows of 4 to 1, as the reader cuts
       lines. The SR model enlarges these from 16 rows and 64 columns.
    2. Back-projection gives each SR image the brightness and colour of what it was made from. The
       difference to the Lanczos enlargement of that is what is added.
    3. It is warped back into the word's quadrilateral, and fades to nothing in the margin.
    4. A word that is sharp (`crops.detail`) is back-projected once more with its surroundings, so
       that halving gives the photograph again. One that is not sharp stays sharper than that.

    Args:
      image: the photograph, as `textsr_jax.images.image_rgb` takes it.
      page: its words, as `read_page` gives them. Their texts do not matter.
      reader: has the SR model.

    Returns:
      uint8 (2 page.height, 2 page.width, 3).

    Raises:
      UserError: a file cannot be read, or the result would have too many pixels.
      ValueError: the image is not the photograph of the page.
    """
    pixels = image_rgb(image, most=None)
    height, width = pixels.shape[:2]
    if (height, width) != (page.height, page.width):
        raise ValueError(
            f"the image has {width} x {height} pixels and the page {page.width} x {page.height}; "
            "give the photograph that was read"
        )
    if 4 * height * width > MAX_PIXELS:
        raise UserError(
            f"a photograph of {width} x {height} is too large to be doubled: it would have more "
            f"than {MAX_PIXELS:,} pixels; reduce or crop it first"
        )
    enlarged = _enlarged(pixels)
    for group in batches(_low_words(pixels, page), lambda patch: patch.windows[0].image):
        windows = [window.image for patch in group for window in patch.windows]
        sr, done = reader.enhance(windows), 0
        for patch in group:
            count = len(patch.windows)
            _add(enlarged, pixels, patch, sr[done : done + count])
            done += count
    return enlarged


def _low_words(pixels: np.ndarray, page: Page) -> Iterator[_Patch]:
    """Yields the words that are lower than an SR image."""
    for word in page.words:
        wide, high = size(word.box)
        if min(wide, high) < 1 or high >= HR_SIZE[1]:
            continue
        margin = MARGIN * high
        box = quadrilaterals.grown(word.box, margin)
        strip = quadrilaterals.straightened(pixels, box)
        windows = crops.windows(strip, wide=crops.WINDOW)
        fade = margin / (wide + 2 * margin), margin / (high + 2 * margin)
        height, width = strip.shape[:2]
        yield _Patch(box, fade, (width, height), windows, _sharpness(windows))


def _sharpness(windows: Sequence[crops.Window]) -> float:
    """Returns how much of a word is lost at 16 rows, as a share of what a sharp one loses."""
    if windows[0].image.shape[0] <= LR_SIZE[1]:
        # It was not reduced for the SR model.
        return 1.0
    detail = float(np.mean([crops.detail(window.image) for window in windows]))
    return min(1.0, detail / crops.SHARP)


def _add(enlarged: np.ndarray, pixels: np.ndarray, patch: _Patch, sr: np.ndarray) -> None:
    """Adds to a part of the enlarged photograph what the SR model sees in a word.

    Args:
      enlarged: uint8 (2 height, 2 width, 3); the part is changed in place.
      pixels: the photograph, uint8 (height, width, 3).
      patch: the word.
      sr: its windows, enlarged, uint8 (n, 32, 128, 3).
    """
    height, width = pixels.shape[:2]
    left, top = np.floor(patch.box.min(axis=0)).astype(int).clip(0, (width, height)).tolist()
    right, bottom = np.ceil(patch.box.max(axis=0)).astype(int).clip(0, (width, height)).tolist()
    if left >= right or top >= bottom:
        return
    y, x = np.mgrid[2 * top : 2 * bottom, 2 * left : 2 * right]
    centres = np.stack([x.ravel() + 0.5, y.ravel() + 0.5], axis=-1) / 2
    places = quadrilaterals.shares(patch.box, centres)
    share = np.minimum(places, 1 - places) / patch.fade
    weight = share.min(axis=1).clip(0, 1)
    weight = (weight * weight * (3 - 2 * weight)).reshape(y.shape)[..., None]

    detail = _detail(patch, sr)
    rows, columns = detail.shape[:2]
    at = places[:, 1] * rows - 0.5, places[:, 0] * columns - 0.5
    added = np.stack(
        [
            ndimage.map_coordinates(detail[..., channel], at, order=1, mode="nearest")
            for channel in range(3)
        ],
        axis=-1,
    ).reshape(*y.shape, 3)

    smooth = _doubled_part(pixels, left, top, right, bottom)
    sharper = _fitted(smooth + added, smooth, pixels[top:bottom, left:right], patch.sharpness)
    part = enlarged[2 * top : 2 * bottom, 2 * left : 2 * right]
    # Where margins of two words overlap, each has a part of the sum.
    part[:] = np.rint(part + weight * (sharper - part)).astype(np.uint8)


def _detail(patch: _Patch, sr: np.ndarray) -> np.ndarray:
    """Returns what the SR model adds to a word, float32 (2 height, 2 width, 3) of its size."""
    lr = [resize(window.image, LR_SIZE) for window in patch.windows]
    smooth = np.stack([_doubled(image) for image in lr]).astype(np.float32)
    lost = [
        _resized(small - _resized(large, LR_SIZE), HR_SIZE)
        for small, large in zip(lr, sr, strict=True)
    ]
    width, height = patch.size
    return _resized(_joined(sr + np.stack(lost) - smooth, patch.windows), (2 * width, 2 * height))


def _joined(tiles: np.ndarray, windows: Sequence[crops.Window]) -> np.ndarray:
    """Joins windows, float32 (n, 32, 128, 3); each fades into the next one where they overlap."""
    if len(windows) == 1:
        return tiles[0]
    rows, columns = tiles.shape[1:3]
    scale = columns / (windows[0].right - windows[0].left)
    starts = [round(scale * window.left) for window in windows]
    total = np.zeros((rows, starts[-1] + columns, 3), np.float32)
    weights = np.zeros(total.shape[1], np.float32)
    overlap = min(columns - (after - start) for start, after in itertools.pairwise(starts))
    ramp = (np.arange(columns) + 0.5) / overlap
    weight = np.minimum(ramp, ramp[::-1]).clip(0, 1).astype(np.float32)
    for start, tile in zip(starts, tiles, strict=True):
        total[:, start : start + columns] += weight[:, None] * tile
        weights[start : start + columns] += weight
    return total / weights[:, None]


def _resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes numbers (height, width, 3) to float32 of `size` (width, height), as `resize` does."""
    channels = [
        Image.fromarray(channel).resize(size, Image.Resampling.BICUBIC)
        for channel in np.moveaxis(image, -1, 0).astype(np.float32, order="C")
    ]
    return np.stack([np.asarray(channel) for channel in channels], axis=-1)


def _enlarged(pixels: np.ndarray) -> np.ndarray:
    """Returns uint8 (height, width, 3) at twice its size, back-projected."""
    height, width = pixels.shape[:2]
    made = np.empty((2 * height, 2 * width, 3), np.uint8)
    for top in range(0, height, _ROWS):
        bottom = min(height, top + _ROWS)
        above = max(0, top - _REACH)
        strip = pixels[above : bottom + _REACH]
        smooth = _doubled(strip)
        fitted = _fitted(smooth.astype(np.float32), smooth, strip, 1.0)
        made[2 * top : 2 * bottom] = np.rint(fitted[2 * (top - above) : 2 * (bottom - above)])
    return made


def _fitted(
    enlarged: np.ndarray, smooth: np.ndarray, pixels: np.ndarray, share: float
) -> np.ndarray:
    """Adds to an enlargement what is lost when it is halved, and cuts off halos.

    A pixel keeps to the levels that Lanczos' filter gives in the 3x3 pixels around it.

    Args:
      enlarged: float (2 height, 2 width, 3).
      smooth: the enlargement by Lanczos' filter, uint8 of the same shape.
      pixels: what was enlarged, uint8 (height, width, 3).
      share: how much of what is lost is added, from 0 to 1.

    Returns:
      float32 (2 height, 2 width, 3), in [0, 255].
    """
    height, width = pixels.shape[:2]
    lost = pixels - _resized(enlarged, (width, height))
    fitted = enlarged + share * _resized(lost, (2 * width, 2 * height))
    return fitted.clip(_around(smooth, np.minimum), _around(smooth, np.maximum))


def _around(image: np.ndarray, chosen: np.ufunc) -> np.ndarray:
    """Returns the least or the greatest level of the 3x3 pixels around each, (height, width, 3)."""
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)), mode="edge")
    rows = chosen(chosen(padded[:-2], padded[1:-1]), padded[2:])
    return chosen(chosen(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:])


def _doubled_part(pixels: np.ndarray, left: int, top: int, right: int, bottom: int) -> np.ndarray:
    """Returns that part of `_doubled(pixels)`."""
    above, before = max(0, top - _REACH), max(0, left - _REACH)
    around = _doubled(pixels[above : bottom + _REACH, before : right + _REACH])
    return around[
        2 * (top - above) : 2 * (bottom - above), 2 * (left - before) : 2 * (right - before)
    ]


def _doubled(pixels: np.ndarray) -> np.ndarray:
    """Enlarges uint8 (height, width, 3) to twice its size by Lanczos' filter."""
    size = 2 * pixels.shape[1], 2 * pixels.shape[0]
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))
