"""What an image holds, before it is read: no text at all, or a whole photograph.

`docs/results/reading_rules.md` tells on what the numbers here were chosen.
"""

import functools
import math

import numpy as np

from textsr_jax.images import HR_SIZE, resize
from textsr_jax.reading.crops import WIDE, box_means, trimmed

# An image of fewer pixels than that one way, or of less contrast, holds no text: the standard
# deviation in levels of what is left when a smooth gradient is taken away. Of 1,431 training words
# the faintest has 7. Noise loses all but a third of its deviation in means of 3x3 pixels, letters
# keep at least a half.
LEAST_PIXELS, CONTRAST, NOISE, LOUDEST_NOISE = 3, 3.5, 0.45, 24.0

# A crop of a word is a line of few, large letters. What is larger than that both ways, in pixels,
# no wider than that, in heights, and has so much detail that 32 rows do not hold is a photograph.
PHOTOGRAPH_PIXELS, PHOTOGRAPH_WIDTH, PHOTOGRAPH_DETAIL = 200, 2.0, 0.06
# What is that large, in pixels, and no wider is one too where no word is surely read: a calm scene
# has little detail. A crop of that shape holds a few letters, which fill it and are read.
LARGE, SURE_LETTERS, SURE = 400, 3, 0.9


def is_blank(image: np.ndarray) -> bool:
    """Whether an image holds no text: one colour, with a smooth gradient or white noise at most.

    Args:
      image: uint8 (height, width, 3).
    """
    short, long = sorted(image.shape[:2])
    if short < LEAST_PIXELS:
        return True
    # As many heights as a word has, so that one of them shows in a long line; at most 64 parts.
    parts = math.ceil(long / max(WIDE * short, long / 64))
    if parts > 1:
        along = int(image.shape[1] == long)
        return all(map(is_blank, np.array_split(image, parts, axis=along)))
    width, height = HR_SIZE
    small = resize(image, (min(width, image.shape[1]), min(height, image.shape[0])))
    if _rest(small[::4, ::4]).std(axis=(0, 1)).max() > 1.5 * LOUDEST_NOISE:
        # As most crops are; the rest costs more.
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
    """Whether an image is clearly no crop of a word, but a whole photograph.

    Blank space around it does not count: a word on an empty page is none.

    Args:
      image: uint8 (height, width, 3).
      text, confidence: what was read in it, and how surely, in [0, 1].
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
    """The image without the polynomial of degree 2 that is nearest to it, float32 (H, W, 3)."""
    rest = image.reshape(-1, 3).astype(np.float32)
    smooth = _smooth_basis(*image.shape[:2])
    rest -= smooth @ (smooth.T @ rest)
    return rest.reshape(image.shape)


@functools.lru_cache(maxsize=64)
def _smooth_basis(height: int, width: int) -> np.ndarray:
    """Orthonormal images of all polynomials of degree 2, float32 (height * width, 6)."""
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1).reshape(-1, 6)
    return np.linalg.qr(terms)[0].astype(np.float32)
