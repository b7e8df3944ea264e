"""Quadrilaterals in a photograph: the smallest around points, and what stands in one, straightened.

Coordinates are x, y in pixels; a pixel reaches from its number to the next one. Corners are float64
(4, 2), clockwise from the upper left.
"""

import numpy as np
from PIL import Image


def smallest_rectangle(points: np.ndarray) -> np.ndarray:
    """Returns the corners of the smallest rectangle around points, however it is turned.

    One side of it lies on the convex hull of the points (Freeman and Shapira, "Determining the
    minimum-area encasing rectangle for an arbitrary closed curve", 1975).

    Args:
      points: numbers, (n, 2), n at least 1.

    Returns:
      The corners. The first side points right, by at most 45 degrees up or down.
    """
    hull = _convex_hull(points)
    edges = np.roll(hull, -1, axis=0) - hull
    angles = np.arctan2(edges[:, 1], edges[:, 0]) if len(hull) > 1 else np.zeros(1)
    # The same rectangle lies on two edges that are at right angles: within 45 degrees once.
    quarter = np.pi / 2
    angles = np.unique((angles + quarter / 2) % quarter - quarter / 2)
    right = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    down = np.stack([-right[:, 1], right[:, 0]], axis=-1)
    along, across = hull @ right.T, hull @ down.T
    areas = np.ptp(along, axis=0) * np.ptp(across, axis=0)
    best = int(areas.argmin())
    sides = along[:, best].min(), along[:, best].max(), across[:, best].min(), across[:, best].max()
    left, far, top, bottom = map(float, sides)
    corners = np.array([(left, top), (far, top), (far, bottom), (left, bottom)])
    return corners @ np.stack([right[best], down[best]])


def grown(box: np.ndarray, by: float) -> np.ndarray:
    """Returns a rectangle that reaches further by so many pixels on each side."""
    right, down = _unit(box[1] - box[0]), _unit(box[3] - box[0])
    signs = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
    return box + by * (signs @ np.stack([right, down]))


def sides(box: np.ndarray) -> tuple[float, float]:
    """Returns width and height of a quadrilateral: the longer one of two opposite sides each."""
    lengths = np.linalg.norm(np.roll(box, -1, axis=0) - box, axis=1)
    return float(max(lengths[0], lengths[2])), float(max(lengths[1], lengths[3]))


def overlapping(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Returns which boxes show the same text as which others.

    They do if the upright rectangles around them share more than half of the smaller one.

    Args:
      boxes, others: corners, (n, 4, 2) and (m, 4, 2).

    Returns:
      bool (n, m).
    """
    both, one, other = _areas(boxes, others)
    return both > np.minimum(one, other) / 2


def shared(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Returns how much boxes share of what they cover together with others, from 0 to 1.

    Of the upright rectangles around them: the intersection over the union.

    Args:
      boxes, others: corners, (n, 4, 2) and (m, 4, 2).

    Returns:
      float64 (n, m).
    """
    both, one, other = _areas(boxes, others)
    return both / np.maximum(one + other - both, 1e-9)


def _areas(boxes: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of upright rectangles around boxes: (n, m) of what they share, (n, 1) and (m,) of each."""
    low, high = boxes.min(axis=1)[:, None], boxes.max(axis=1)[:, None]
    least, most = others.min(axis=1), others.max(axis=1)
    both = (np.minimum(most, high) - np.maximum(least, low)).clip(0).prod(axis=2)
    return both, (high - low).prod(axis=2), (most - least).prod(axis=1)


def straightened(image: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Returns what stands in a quadrilateral as an upright image, by bicubic interpolation.

    Beyond the photograph its edge pixels are repeated.

    Args:
      image: uint8 (height, width, 3).
      box: the corners. The first is the upper left one of the result.

    Returns:
      uint8 (h, w, 3) of the sides of the box, each at least 1 pixel.
    """
    width, height = (max(1, round(side)) for side in sides(box))
    # Only what is around the box; bicubic interpolation reads two pixels further.
    least, most = (
        np.floor(box.min(axis=0)).astype(int) - 2,
        np.ceil(box.max(axis=0)).astype(int) + 2,
    )
    rows = np.arange(least[1], most[1]).clip(0, image.shape[0] - 1)
    columns = np.arange(least[0], most[0]).clip(0, image.shape[1] - 1)
    part = Image.fromarray(image[rows[:, None], columns])
    coefficients = _perspective(box - least, width, height)
    made = part.transform(
        (width, height), Image.Transform.PERSPECTIVE, coefficients, Image.Resampling.BICUBIC
    )
    return np.asarray(made)


def places(box: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Returns where points of a straightened quadrilateral lie in the photograph.

    Args:
      box: the corners.
      points: (n, 2), from 0 at the first corner to 1 at the opposite one in both directions.
    """
    a, b, c, d, e, f, g, h = _perspective(box, 1, 1)
    x, y = np.asarray(points, np.float64).T
    return np.stack([a * x + b * y + c, d * x + e * y + f], axis=-1) / (g * x + h * y + 1)[:, None]


def shares(box: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Returns where points of the photograph lie in a quadrilateral; the inverse of `places`.

    Args:
      box: the corners.
      points: x, y in pixels, (n, 2).

    Returns:
      float64 (n, 2), from 0 at the first corner to 1 at the opposite one in both directions.
    """
    inverse = np.linalg.inv(np.array([*_perspective(box, 1, 1), 1.0]).reshape(3, 3))
    x, y, scale = inverse @ np.stack([*np.asarray(points, np.float64).T, np.ones(len(points))])
    return np.stack([x, y], axis=-1) / scale[:, None]


def part(box: np.ndarray, left: float, right: float) -> np.ndarray:
    """Returns the corners of the part of a quadrilateral between two shares of its width."""
    return places(box, np.array([(left, 0), (right, 0), (right, 1), (left, 1)]))


def _perspective(box: np.ndarray, width: float, height: float) -> list[float]:
    """Returns Pillow's eight coefficients, from places in an upright image to those in a box."""
    rows, values = [], []
    upright = ((0, 0), (width, 0), (width, height), (0, height))
    for (x, y), (to_x, to_y) in zip(upright, box.tolist(), strict=True):
        rows += [[x, y, 1, 0, 0, 0, -to_x * x, -to_x * y], [0, 0, 0, x, y, 1, -to_y * x, -to_y * y]]
        values += [to_x, to_y]
    return np.linalg.solve(np.array(rows, np.float64), np.array(values)).tolist()


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), 1e-9)


def _convex_hull(points: np.ndarray) -> np.ndarray:
    """Returns the convex hull by Andrew's monotone chain, without points on its edges."""
    ordered = np.unique(np.asarray(points, np.float64), axis=0).tolist()
    if len(ordered) < 3:
        return np.array(ordered)
    halves = []
    for chain in (ordered, ordered[::-1]):
        half: list[list[float]] = []
        for x, y in chain:
            while len(half) > 1:
                (x0, y0), (x1, y1) = half[-2:]
                if (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0) > 0:
                    break
                half.pop()
            half.append([x, y])
        halves += half[:-1]
    return np.array(halves)
