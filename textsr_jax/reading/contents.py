"""Tells what an image holds besides a word: no text at all, or a whole photograph.

`docs/results/reading_rules.md` describes the images that the constants were chosen on.
"""

import functools
import math

import numpy as np

from textsr_jax.images import HR_SIZE, resize
from textsr_jax.reading.crops import WIDE, box_means, trimmed

# An image with fewer pixels in one direction, or with less contrast, holds no text. The contrast is
# the standard deviation, in grey levels, after a smooth gradient is subtracted; the faintest of
# 1,431 training words has 7. In means of 3x3 pixels, noise keeps a third of its deviation, letters
# keep at least a half.
LEAST_PIXELS, CONTRAST, NOISE, LOUDEST_NOISE = 3, 3.5, 0.45, 24.0

# A crop of a word is a line of few, large letters. An image is a photograph if it is at least this
# large in both directions, in pixels, at most this wide, in heights, and loses at least this much
# detail at 32 rows.
PHOTOGRAPH_PIXELS, PHOTOGRAPH_WIDTH, PHOTOGRAPH_DETAIL = 200, 2.0, 0.06
# An image of this size, in pixels, and of that shape is a photograph too if no word is surely read
# in it, because a calm scene has little detail. A crop of that shape is filled by a few letters,
# which are read surely.
LARGE, SURE_LETTERS, SURE = 400, 3, 0.9


def is_blank(image: np.ndarray) -> bool:
    """Whether an image holds no text: only one colour, a smooth gradient, or white noise.

    Args:
      image: uint8 (height, width, 3).
    """
    short, long = sorted(image.shape[:2])
    if short < LEAST_PIXELS:
        return True
    # Parts as wide as a word, so that a single word shows in a long line; at most 64 parts.
    parts = math.ceil(long / max(WIDE * short, long / 64))
    if parts > 1:
        along = int(image.shape[1] == long)
        return all(map(is_blank, np.array_split(image, parts, axis=along)))
    width, height = HR_SIZE
    small = resize(image, (min(width, image.shape[1]), min(height, image.shape[0])))
    if _rest(small[::4, ::4]).std(axis=(0, 1)).max() > 1.5 * LOUDEST_NOISE:
        # So it is for most crops. What follows costs more.
        return False
    rest = _rest(small)
    deviations = rest.std(axis=(0, 1))
    channel = int(deviations.argmax())
    deviation = float(deviations[channel])
    if deviation < CONTRAST:
        return True
    means = box_means(rest[..., channel])
    return deviation < LOUDEST_NOISE and float(means.std()) < NOISE * deviation


def is_photograph(image: np.ndarray, text: str, confidence: float) -> bool:
    """Whether an image is clearly a whole photograph, not a crop of a word.

    Blank space around it is ignored, so a word on an empty page is not a photograph.

    Args:
      image: uint8 (height, width, 3).
      text: what was read in it.
      confidence: the confidence in `text`, in [0, 1].
    """
    image = trimmed(image)
    height, width = image.shape[:2]
    if min(height, width) < PHOTOGRAPH_PIXELS or width > PHOTOGRAPH_WIDTH * height:
        return False
    if min(height, width) >= LARGE and (len(text) < SURE_LETTERS or confidence < SURE):
        return True
    rows = HR_SIZE[1]
    columns = max(1, round(rows * width / height))
    fine = resize(image, (4 * columns, 4 * rows))
    coarse = resize(resize(fine, (columns, rows)), (4 * columns, 4 * rows))
    grey, back = (pixels.mean(axis=2, dtype=np.float32) for pixels in (fine, coarse))
    return float(np.square(grey - back).mean() / max(grey.var(), 1.0)) >= PHOTOGRAPH_DETAIL


def _rest(image: np.ndarray) -> np.ndarray:
    """Returns the image minus the nearest polynomial of degree 2, float32 (H, W, 3)."""
    rest = image.reshape(-1, 3).astype(np.float32)
    smooth = _smooth_basis(*image.shape[:2])
    rest -= smooth @ (smooth.T @ rest)
    return rest.reshape(image.shape)


@functools.lru_cache(maxsize=64)
def _smooth_basis(height: int, width: int) -> np.ndarray:
    """Returns an orthonormal basis of polynomials of degree 2, float32 (height * width, 6)."""
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1).reshape(-1, 6)
    return np.linalg.qr(terms)[0].astype(np.float32)
