"""Makes the low-resolution picture of a word crop, as a camera further away would take it.

Three difficulties, as in TextZoom: blur, shift, contrast, noise and JPEG grow from easy to hard.
"""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import special

from textsr_jax.data.synthetic.camera import compress


@dataclass(frozen=True)
class Difficulty:
    """The losses of one difficulty. Ranges are uniform; pixels are those of the high resolution.

    Attributes:
      blur: standard deviation of the Gaussian blur in pixels, drawn once and varied for each axis.
      motion: the longest smear along one axis, in pixels; one picture in five has a smear.
      shift: the largest shift along each axis, in pixels.
      contrast: gain around the picture's mean.
      brightness: the most grey levels that are added or taken away.
      shade: how much brighter or darker one end is at most, as a part of the level.
      noise: standard deviation of the sensor's noise, grey levels.
      quality: JPEG quality, 1 to 95.
    """

    blur: tuple[float, float]
    motion: float
    shift: float
    contrast: tuple[float, float]
    brightness: float
    shade: float
    noise: tuple[float, float]
    quality: tuple[int, int]


DIFFICULTIES = {
    "easy": Difficulty(
        blur=(0.5, 1.1),
        motion=1.0,
        shift=0.5,
        contrast=(0.85, 1.05),
        brightness=10,
        shade=0.04,
        noise=(0.5, 5),
        quality=(60, 95),
    ),
    "medium": Difficulty(
        blur=(1.0, 1.7),
        motion=2.0,
        shift=1.0,
        contrast=(0.8, 1.05),
        brightness=10,
        shade=0.06,
        noise=(1, 6),
        quality=(50, 90),
    ),
    "hard": Difficulty(
        blur=(1.6, 2.6),
        motion=3.0,
        shift=2.0,
        contrast=(0.75, 1.05),
        brightness=12,
        shade=0.08,
        noise=(2, 7),
        quality=(40, 85),
    ),
}


def degrade(hr: np.ndarray, difficulty: str, rng: np.random.Generator) -> np.ndarray:
    """The picture at half the size and of the given difficulty.

    Args:
      hr: uint8 (height, width, 3) with even height and width; (32, 128, 3) for word crops.
      difficulty: "easy", "medium" or "hard".
      rng: where all randomness comes from.

    Returns:
      uint8 (height / 2, width / 2, 3); it still shows the whole picture, except for what the
      shift pushes over the edge.

    Raises:
      ValueError: `difficulty` is unknown.
    """
    if difficulty not in DIFFICULTIES:
        raise ValueError(f"difficulty {difficulty!r}; expected one of {', '.join(DIFFICULTIES)}")
    much = DIFFICULTIES[difficulty]
    height, width = hr.shape[0] // 2, hr.shape[1] // 2
    blur = rng.uniform(*much.blur) * rng.uniform(0.85, 1.15, 2)
    smear = [0.0, 0.0]
    if rng.random() < 0.2:
        smear[rng.integers(2)] = rng.uniform(0, much.motion)
    shift = rng.uniform(-much.shift, much.shift, 2)
    down = sampling(hr.shape[0], height, shift[0], blur[0], smear[0])
    across = sampling(hr.shape[1], width, shift[1], blur[1], smear[1])
    lr = across @ (down @ hr.reshape(len(hr), -1).astype(float)).reshape(height, -1, 3)

    mean = lr.mean()
    lr = mean + (lr - mean) * rng.uniform(*much.contrast)
    lr += rng.uniform(-much.brightness, much.brightness)
    slope = rng.uniform(-much.shade, much.shade, 2)
    lr *= 1 + slope[0] * np.linspace(-1, 1, height)[:, None, None]
    lr *= 1 + slope[1] * np.linspace(-1, 1, width)[:, None]
    # The sensor's noise is partly grey, partly coloured.
    sigma = rng.uniform(*much.noise)
    lr += rng.normal(0, 0.8 * sigma, (height, width, 1)) + rng.normal(0, 0.6 * sigma, lr.shape)
    picture = Image.fromarray(np.clip(lr + 0.5, 0, 255).astype(np.uint8))
    return np.asarray(compress(picture, int(rng.integers(*much.quality, endpoint=True))))


def sampling(size: int, samples: int, shift: float, blur: float, smear: float = 0.0) -> np.ndarray:
    """The matrix that blurs a line of pixels and averages it down: float64 (samples, size).

    Sample i is the light on a sensor cell that is size / samples pixels wide and moved by `shift`
    pixels. The light passes a Gaussian blur of standard deviation `blur` > 0 and a smear that is
    `smear` pixels long. Outside the line its end pixels go on; every row sums to 1.
    """
    cell = size // samples
    reach = math.ceil(4 * blur + smear / 2 + abs(shift)) + 1
    # Edges of the pixels around a cell, from the cell's middle.
    edges = np.arange(-reach, reach + cell + 1) - (cell / 2 + shift)
    if smear:
        edges = edges + smear * np.linspace(-0.5, 0.5, 7)[:, None]
    # How much of the cell's light, spread by the blur, falls below each edge.
    below = _ramp((edges + cell / 2) / blur) - _ramp((edges - cell / 2) / blur)
    taps = np.diff(below.reshape(-1, below.shape[-1]).mean(axis=0))
    taps /= taps.sum()
    rows = np.arange(samples)[:, None]
    columns = np.clip(rows * cell + np.arange(-reach, reach + cell), 0, size - 1)
    matrix = np.zeros((samples, size))
    np.add.at(matrix, (rows, columns), taps)
    return matrix


def _ramp(x: np.ndarray) -> np.ndarray:
    """The integral of the normal distribution function."""
    return x * special.ndtr(x) + np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
