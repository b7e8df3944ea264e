"""Random changes to word images: strong ones for recognisers, colour alone for image pairs.

Each function takes a record and a generator, so that the same seed gives the same bits.
"""

import dataclasses

import numpy as np
from PIL import Image, ImageFilter

from textsr_jax.data.records import HR_SHAPE, Record

_HEIGHT, _WIDTH, _ = HR_SHAPE
_CORNERS = np.array([(0, 0), (_WIDTH, 0), (_WIDTH, _HEIGHT), (0, _HEIGHT)], np.float64)
_SHRINKING = (Image.Resampling.BOX, Image.Resampling.BILINEAR, Image.Resampling.BICUBIC)
_GROWING = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)


def recognizer_augmentation(record: Record, rng: np.random.Generator) -> Record:
    """Changes the HR image as real word images differ from one another; the LR image stays.

    In this order, each with a probability of its own: a small rotation, shear and change of
    perspective; brightness, contrast and colour, now and then inverted or grey; blur; a loss of
    resolution of up to four times; noise.
    """
    image = Image.fromarray(record.hr)
    if rng.random() < 0.6:
        image = _warped(image, rng)
    if rng.random() < 0.8:
        image = image.point(_tone_table(image, rng).T.ravel().tolist())
    if rng.random() < 0.1:
        image = image.convert("L").convert("RGB")
    if rng.random() < 0.3:
        image = image.filter(ImageFilter.GaussianBlur(tuple(rng.uniform(0.2, 1.5, 2))))
    if rng.random() < 0.4:
        image = _coarsened(image, rng)
    hr = np.asarray(image)
    if rng.random() < 0.3:
        noise = rng.standard_normal(HR_SHAPE, np.float32) * np.float32(rng.uniform(1, 20))
        hr = np.clip(hr + noise, 0, 255).astype(np.uint8)
    return dataclasses.replace(record, hr=hr)


def pair_augmentation(record: Record, rng: np.random.Generator) -> Record:
    """Changes the colours of LR and HR alike, pixel by pixel, so that they still belong together.

    Channels change places, and half of the pairs change in brightness; one in ten is inverted.
    """
    order = rng.permutation(3)
    table = np.tile(np.arange(256, dtype=np.float32)[:, None], (1, 3))
    if rng.random() < 0.5:
        table = table * rng.uniform(0.8, 1.2) + rng.uniform(-25, 25)
    if rng.random() < 0.1:
        table = 255 - table
    table = _to_bytes(table)[:, 0]
    return dataclasses.replace(
        record, lr=table[record.lr[..., order]], hr=table[record.hr[..., order]]
    )


def _tone_table(image: Image.Image, rng: np.random.Generator) -> np.ndarray:
    """What each of the 256 values becomes in each channel of `image`: uint8 (256, 3)."""
    values = np.arange(256, dtype=np.float64)[:, None] / 255
    values = values ** rng.uniform(0.7, 1.4)
    values = (values - 0.5) * rng.uniform(0.5, 1.3) * rng.uniform(0.85, 1.15, 3) + 0.5
    # No brightness that drives a pale word on white, or a dark one on black, out of the range.
    darkest, lightest = image.convert("L").getextrema()
    brightness = rng.uniform(-0.25, 0.25)
    brightness = max(brightness, -0.05 - values[darkest].mean())
    brightness = min(brightness, 1.05 - values[lightest].mean())
    values = values + brightness + rng.uniform(-0.08, 0.08, 3)
    if rng.random() < 0.15:
        values = 1 - values
    return _to_bytes(255 * values)


def _to_bytes(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _warped(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Rotates, shears, scales and tilts `image`; new ground takes the colour of its border."""
    angle = np.deg2rad(rng.uniform(-5, 5))
    shear = rng.uniform(-0.25, 0.25)
    # The source region may grow by a quarter; where it shrinks, letters at the ends get cut.
    growth = rng.uniform(0.97, 1.25, 2)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    matrix = np.array([[1, shear], [0, 1]]) @ turn * growth
    middle = _CORNERS.mean(axis=0)
    corners = (_CORNERS - middle) @ matrix.T + middle
    corners += rng.uniform(-0.05, 0.05, (4, 2)) * (_HEIGHT, _HEIGHT)
    pixels = np.asarray(image)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return image.transform(
        image.size,
        Image.Transform.PERSPECTIVE,
        _homography(_CORNERS, corners),
        resample=Image.Resampling.BICUBIC,
        fillcolor=tuple(int(value) for value in border.mean(axis=0)),
    )


def _homography(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The 8 coefficients a..h of x' = (ax + by + c) / (gx + hy + 1), y' = (dx + ey + f) / (...).

    Args:
      source: four points (4, 2).
      target: where they go (4, 2).
    """
    equations = np.zeros((8, 8))
    equations[0::2, 0:2] = equations[1::2, 3:5] = source
    equations[0::2, 2] = equations[1::2, 5] = 1
    equations[:, 6:8] = -np.repeat(source, 2, axis=0) * target.reshape(8, 1)
    return np.linalg.solve(equations, target.reshape(8))


def _coarsened(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Brings `image` down to between a quarter and all of its resolution, and back to its size."""
    height = int(rng.integers(_HEIGHT // 4, _HEIGHT))
    width = round(_WIDTH * height / _HEIGHT)
    small = image.resize((width, height), _SHRINKING[rng.integers(len(_SHRINKING))])
    return small.resize(image.size, _GROWING[rng.integers(len(_GROWING))])
