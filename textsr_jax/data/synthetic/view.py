"""The view of a flat word: bent, slanted, turned, in perspective, and cropped to the scene.

Maps each pixel of the scene to a place on the flat drawing, and takes the masks from there.
"""

import math
from collections.abc import Callable

import numpy as np
from PIL import Image

# The scene's size in pixels: twice that of a word crop, to which the camera brings it down.
HEIGHT, WIDTH = 64, 256

# What a view does to words, which `drawing.view` shares: the part of the words that it happens to,
# and the standard deviation and the bound of how far it goes.
BENT, BEND, MOST_BENT = 0.18, 0.5, 1.4  # the arc's angle in radians
BEND_BY_WIDTH = 0.8  # the bound of short words: times width over height
SLANTED, SLANT = 0.25, 0.15  # columns a row
TURNS = ((0.6, 1.0), (0.9, 3.5), (1.0, 9.0))  # running sum of the parts, and degrees
TURNED_HEIGHT = 0.9  # a word's ends rise at most by this part of its height
TILTED = 0.4
TILT_X, MOST_TILT_X = 0.14, 0.38
TILT_Y, MOST_TILT_Y = 0.06, 0.15

# The margins of a crop as parts of the word's height: a log-normal size with a bound, times a
# factor for each side; a careless crop has one of three on one side.
MARGIN, MARGIN_SPREAD, MOST_MARGIN = 0.07, 0.7, 0.3
MARGIN_SIDES = 0.3, 1.7
CARELESS, CARELESS_MARGINS = 0.10, (-0.04, 0.2, 0.4)


def look(edges: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Looks at the flat word and crops it: where each pixel of the scene lies on the flat drawing.

    The word may be bent into an arc, slanted, turned and seen in perspective. The crop is the
    upright box around the result, with a margin.

    Args:
      edges: float64 (points, 2), x and y along the upper and lower edge of the ink; see
        `lettering.ink_edges`.
      rng: where all randomness comes from.

    Returns:
      points: float64 (2, 64, 256): y and x in pixels of the flat drawing, (0, 0) its corner.
      aspect: the crop's width over its height before it is stretched.
    """
    low, high = edges.min(axis=0), edges.max(axis=0)
    width, height = high - low
    centre = (low + high) / 2
    # The arc's angle, positive for a hill. The arc's centre must stay clear of the letters.
    turn = rng.normal(0, BEND) if rng.random() < BENT else 0.0
    limit = min(MOST_BENT, BEND_BY_WIDTH * width / height)
    curvature = min(max(turn, -limit), limit) / width
    matrix = _perspective(width, height, rng)

    def bend(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if not curvature:
            return x, y
        radius = 1 / curvature
        angle, distance = x * curvature, radius - y
        return distance * np.sin(angle), radius - distance * np.cos(angle)

    def unbend(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if not curvature:
            return x, y
        radius = 1 / curvature
        side = math.copysign(1.0, curvature)
        angle = np.arctan2(side * x, side * (radius - y))
        return angle * radius, radius - side * np.hypot(x, radius - y)

    x, y = bend(*(edges - centre).T)
    x, y = _transform(matrix, x, y)
    left, right, top, bottom = x.min(), x.max(), y.min(), y.max()
    margin = _margins(rng) * min(bottom - top, right - left)
    left, right = left - margin[0], right + margin[1]
    top, bottom = top - margin[2], bottom + margin[3]
    u = left + (right - left) * (np.arange(WIDTH) + 0.5) / WIDTH
    v = top + (bottom - top) * (np.arange(HEIGHT) + 0.5) / HEIGHT
    x, y = unbend(*_transform(np.linalg.inv(matrix), u[None, :], v[:, None]))
    return np.stack([y + centre[1], x + centre[0]]), (right - left) / (bottom - top)


def _perspective(width: float, height: float, rng: np.random.Generator) -> np.ndarray:
    """A 3x3 homography of the flat: a slant, then a turn, then a tilt away from the camera."""
    slant = rng.normal(0, SLANT) if rng.random() < SLANTED else 0.0
    kind = rng.random()
    degrees = rng.normal(0, next(spread for part, spread in TURNS if kind < part))
    # A long word that is turned far would be a thin diagonal in its box.
    limit = math.atan2(TURNED_HEIGHT * height, width)
    angle = min(max(math.radians(degrees), -limit), limit)
    tilt_x = rng.normal(0, TILT_X) if rng.random() < TILTED else 0.0
    tilt_y = rng.normal(0, TILT_Y) if rng.random() < TILTED else 0.0
    tilt_x = min(max(tilt_x, -MOST_TILT_X), MOST_TILT_X) / (width / 2)
    tilt_y = min(max(tilt_y, -MOST_TILT_Y), MOST_TILT_Y) / (height / 2)
    cosine, sine = math.cos(angle), math.sin(angle)
    return (
        np.array([[1, 0, 0], [0, 1, 0], [tilt_x, tilt_y, 1]])
        @ np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
        @ np.array([[1, slant, 0], [0, 1, 0], [0, 0, 1]])
    )


def _transform(matrix: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    depth = matrix[2, 0] * x + matrix[2, 1] * y + matrix[2, 2]
    return (
        (matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2]) / depth,
        (matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2]) / depth,
    )


def _margins(rng: np.random.Generator) -> np.ndarray:
    """The crop's margins left, right, above and below, as parts of the word's height."""
    size = min(MARGIN * math.exp(rng.normal(0, MARGIN_SPREAD)), MOST_MARGIN)
    margins = size * rng.uniform(*MARGIN_SIDES, 4)
    if rng.random() < CARELESS:
        # A careless crop: it has too much on one side, or cuts off a little of the word.
        margins[rng.integers(4)] = rng.choice(CARELESS_MARGINS)
    return margins


def projection(points: np.ndarray, size: tuple[int, int]) -> Callable[[Image.Image], np.ndarray]:
    """The function that shows a mask of the flat drawing as the scene has it.

    Args:
      points: of `look`, or of a scene of another size.
      size: width and height of the masks, in pixels.

    Returns:
      A function of a mask in 8 bits, which gives float32 (height, width, 1) in [0, 1].
    """
    y, x = points
    # Where the word is wide, its columns are averaged first, or thin strokes would be lost.
    step = max(1, int(np.ptp(x[len(x) // 2]) / x.shape[1]))
    width, height = -(-size[0] // step), size[1]
    # Interpolates between pixel centres. Beyond the flat drawing there is its empty rim.
    x = np.clip(x / step - 0.5, 0, width - 1.001)
    y = np.clip(y - 0.5, 0, height - 1.001)
    column, row = x.astype(np.int64), y.astype(np.int64)
    right, below = (x - column).astype(np.float32), (y - row).astype(np.float32)
    corner = row * width + column

    def project(mask: Image.Image) -> np.ndarray:
        pixels = np.asarray(mask.reduce((step, 1))).ravel().astype(np.float32)
        upper, lower = pixels[corner], pixels[corner + width]
        upper += right * (pixels[corner + 1] - upper)
        lower += right * (pixels[corner + width + 1] - lower)
        upper += below * (lower - upper)
        return upper[..., None] / np.float32(255)

    return project
