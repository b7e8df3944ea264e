"""The camera: makes a picture of a scene smaller, softer, noisier and compressed.

Fits it to the size of a word crop in the end.
"""

import io
import math

import numpy as np
from PIL import Image, ImageFilter

HEIGHT, WIDTH = 32, 128  # of a word crop, in pixels

# The filters that make pictures smaller, and those that fit them to the crop's size. Each is drawn
# as often as it stands here.
_BOX, _LINEAR = Image.Resampling.BOX, Image.Resampling.BILINEAR
_CUBIC, _LANCZOS = Image.Resampling.BICUBIC, Image.Resampling.LANCZOS
_DOWN = (_BOX, _BOX, _BOX, _LINEAR, _CUBIC, _LANCZOS)
_UP = (*6 * (_CUBIC,), _LINEAR, _LINEAR, _LANCZOS, _BOX)

# Points spread evenly over a disc of radius 1: rings of 6, 12, 18, ... points around its centre.
_TURNS = [(ring / 8, i / (3 * ring)) for ring in range(1, 9) for i in range(6 * ring)]
DISC = np.array(
    [(0.0, 0.0)] + [(r * math.cos(math.pi * t), r * math.sin(math.pi * t)) for r, t in _TURNS]
)


def photograph(
    scene: np.ndarray,
    aspect: float,
    rng: np.random.Generator,
    size: tuple[int, int] = (WIDTH, HEIGHT),
) -> np.ndarray:
    """The scene as a camera and a file format leave it.

    Args:
      scene: float (height, width, 3), RGB, 0 to 255.
      aspect: the word's width over its height, which the scene does not keep.
      rng: where all randomness comes from.
      size: width and height of the result.

    Returns:
      uint8 (height, width, 3), RGB.
    """
    picture = picture_of(scene)
    # The size of the word in the photograph that it is cut from.
    height = round(min(max(34 * math.exp(rng.normal(0, 0.45)), 12), picture.height))
    width = round(min(max(height * aspect, 12), picture.width))
    picture = picture.resize((width, height), _DOWN[rng.integers(len(_DOWN))])
    picture = _unsharp(picture, rng)
    if rng.random() < 0.15:
        picture = picture.filter(ImageFilter.UnsharpMask(1, int(rng.integers(40, 160)), 0))
    if rng.random() < 0.05:
        picture = picture.convert("L").convert("RGB")
    if rng.random() < 0.6:
        channels = 1 if rng.random() < 0.5 else 3
        noise = rng.normal(0, abs(rng.normal(0, 4)), (height, width, channels))
        picture = picture_of(np.asarray(picture) + noise)
    if rng.random() < 0.06:
        # The picture was smaller once, on a page or in a message.
        less = rng.uniform(max(0.5, 12 / height), 1)
        small = max(round(width * less), 8), round(height * less)
        picture = picture.resize(small, _DOWN[rng.integers(len(_DOWN))])
    if rng.random() < 0.7:
        picture = compress(picture, int(min(max(95 - abs(rng.normal(0, 26)), 30), 95)))
    return np.asarray(picture.resize(size, _UP[rng.integers(len(_UP))]))


def _unsharp(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """The blur that lens and hand give a third of the pictures: soft, smeared or out of focus."""
    kind = rng.random()
    if kind < 0.22:
        return picture.filter(ImageFilter.GaussianBlur(abs(rng.normal(0, 0.7))))
    if kind < 0.29:
        # A hand that moved, by an eighth of the picture at most, or strokes would merge.
        length = min(picture.height * rng.uniform(0.04, 0.13), 4.4)
        angle = rng.uniform(0, math.pi) if rng.random() < 0.5 else 0.0
        steps = np.linspace(-0.5, 0.5, 33)[:, None] * length
        return spread(picture, steps * (math.cos(angle), math.sin(angle)))
    if kind < 0.36:
        radius = min(picture.height * rng.uniform(0.02, 0.065), 2.2)
        return spread(picture, radius * DISC)
    return picture


def spread(picture: Image.Image, offsets: np.ndarray) -> Image.Image:
    """The picture's mean over many places: blur by motion (a line) or defocus (a disc).

    Args:
      picture: RGB.
      offsets: float64 (points, 2), x and y in pixels, each in [-2.5, 2.5). Beyond its rim the
        picture continues with its outermost pixels.
    """
    kernel, _, _ = np.histogram2d(offsets[:, 1], offsets[:, 0], 5, ((-2.5, 2.5), (-2.5, 2.5)))
    padded = np.pad(np.asarray(picture), ((2, 2), (2, 2), (0, 0)), mode="edge")
    # Pillow leaves two pixels at every rim unfiltered.
    blurred = Image.fromarray(padded).filter(ImageFilter.Kernel((5, 5), kernel.ravel().tolist()))
    return blurred.crop((2, 2, 2 + picture.width, 2 + picture.height))


def picture_of(values: np.ndarray) -> Image.Image:
    """Levels (height, width, 3) as an image, rounded and clipped to 0 to 255."""
    return Image.fromarray(np.clip(values + 0.5, 0, 255).astype(np.uint8))


def compress(picture: Image.Image, quality: int) -> Image.Image:
    """The picture after JPEG compression, with a quality from 1 (worst) to 95."""
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=quality)
    return Image.open(stream, formats=("JPEG",)).convert("RGB")
