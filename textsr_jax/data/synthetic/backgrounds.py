"""Backgrounds of the letters: flat paint, paper, wood, brick, stone, leaves, lights, posters.

They are drawn from random numbers; no photograph is used.
"""

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from textsr_jax.data.synthetic import colours


def draw(
    ground: np.ndarray,
    letters: np.ndarray,
    shape: tuple[int, int],
    rng: np.random.Generator,
) -> np.ndarray:
    """A background mostly of the colour `ground`, on which letters of another colour stand out.

    Args:
      ground, letters: float32 (3,), 0 to 255.
      shape: height and width in pixels; sizes below are meant for (64, 256).
      rng: where all randomness comes from.

    Returns:
      float32 (height, width, 3), RGB, about 0 to 255; a few values lie beyond. Busy backgrounds
      leave at least a third of the contrast to the letters.
    """
    height, width = shape
    scene = Image.new("RGB", (width, height), tuple(int(value) for value in ground))
    if rng.random() < 0.13:
        _add_border(scene, rng)
    surface = np.asarray(scene).astype(np.float32)
    kind = rng.random()
    if kind < 0.22:
        # Paper, plaster, cloth: rough in a few sizes.
        rough = clouds(3, 12, shape, rng)
        rough = rough + clouds(16, 64, shape, rng) * np.float32(rng.uniform(0, 0.8))
        return surface + abs(rng.normal(0, 12)) * rough
    if kind < 0.29:
        # Planks and brushed metal: rough in one direction only.
        grain = clouds(*((24, 2) if rng.random() < 0.7 else (2, 48)), shape, rng)
        return surface + abs(rng.normal(0, 14)) * grain
    if kind < 0.34:
        # Posters and shop windows: patches of another colour behind the letters.
        other = surface + rng.normal(0, 45, 3).astype(np.float32)
        surface += np.clip(clouds(3, 8, shape, rng), 0, 1) * (other - surface)
        return surface
    if kind < 0.56:
        paint = _BUSY[rng.integers(len(_BUSY))]
        return _subdue(paint(surface, rng), ground, letters, rng.uniform(0.25, 0.66))
    return surface


def clouds(rows: int, columns: int, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Smooth noise with `rows` x `columns` bumps, float32 (*shape, 1), near [-1, 1]."""
    noise = Image.fromarray(rng.uniform(-1, 1, (rows, columns)).astype(np.float32))
    return np.asarray(noise.resize(shape[::-1], Image.Resampling.BICUBIC))[..., None]


def _subdue(
    surface: np.ndarray, ground: np.ndarray, letters: np.ndarray, most: float
) -> np.ndarray:
    """Keeps a busy surface from taking more than the part `most` of the letters' contrast."""
    contrast = colours.luma(letters) - colours.luma(ground)
    side = np.float32(math.copysign(1.0, contrast))
    nearer = side * (colours.luma(surface) - colours.luma(ground))
    excess = np.maximum(nearer - np.float32(most * abs(contrast)), 0)
    return surface - side * excess[..., None]


def _gradient(surface: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A ramp from one colour to another, in any direction: skies, screens, print."""
    height, width = surface.shape[:2]
    angle = rng.uniform(0, 2 * math.pi)
    x = np.linspace(-1, 1, width, dtype=np.float32) * np.float32(math.cos(angle))
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None] * np.float32(math.sin(angle))
    ramp = np.clip((x + y + np.float32(rng.uniform(-0.5, 0.5))) * rng.uniform(0.5, 1.5), 0, 1)
    return surface + ramp[..., None].astype(np.float32) * (colours.paint(rng) - surface)


def _texture(surface: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Noise of five octaves in two colours: stone, rust, concrete, and leaves where it is sharp."""
    shape = surface.shape[:2]
    rows, persistence = int(rng.integers(2, 5)), rng.uniform(0.5, 0.95)
    noise = np.zeros((*shape, 1), np.float32)
    for octave in range(5):
        size = min(rows << octave, shape[0])
        columns = min(size * int(rng.integers(2, 5)), shape[1])
        noise += np.float32(persistence**octave) * clouds(size, columns, shape, rng)
    noise *= np.float32(rng.uniform(0.6, 1.6)) / noise.std()
    if rng.random() < 0.4:
        noise = np.abs(noise) * 2 - 1  # veins and the gaps between leaves
    part = 1 / (1 + np.exp(-rng.uniform(1, 4) * noise))
    return surface + part * np.float32(rng.uniform(0.3, 1)) * (_companion(surface, rng) - surface)


def _bricks(surface: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Courses of bricks or tiles, each of its own shade, and the joints between them."""
    height, width = surface.shape[:2]
    down, across = rng.uniform(8, 40), rng.uniform(16, 100)
    y = np.arange(height) / down + rng.uniform(0, 1)
    row = y.astype(np.int64)
    shift = rng.uniform(0, 1) + (0.5 * (row % 2) if rng.random() < 0.8 else 0 * row)
    x = np.arange(width) / across + shift[:, None]
    column = x.astype(np.int64)
    joint = rng.uniform(0.6, 2.5)
    gaps = ((y % 1) * down < joint)[:, None] | ((x % 1) * across < joint)
    shades = rng.normal(0, rng.uniform(3, 18), (row.max() + 1, column.max() + 1, 1))
    bricks = surface + shades[row[:, None], column].astype(np.float32)
    mortar = surface + np.float32(rng.normal(0, 45))
    bricks += np.float32(abs(rng.normal(0, 8))) * clouds(24, 96, (height, width), rng)
    return np.where(gaps[..., None], mortar, bricks)


def _bokeh(surface: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Lights out of focus: soft discs of many colours."""
    height, width = surface.shape[:2]
    image = Image.fromarray(np.clip(surface, 0, 255).astype(np.uint8))
    canvas = ImageDraw.Draw(image, "RGBA")
    radius = rng.uniform(4, 20)
    for _ in range(rng.integers(4, 20)):
        x, y, r = rng.uniform(0, width), rng.uniform(0, height), radius * rng.uniform(0.7, 1.3)
        colour = (*(int(value) for value in colours.paint(rng)), int(rng.integers(60, 200)))
        canvas.ellipse((x - r, y - r, x + r, y + r), colour)
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 3)))
    return np.asarray(image).astype(np.float32)


def _things(surface: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Poles, edges of houses, other signs and pictures, sharp or blurred."""
    height, width = surface.shape[:2]
    image = Image.fromarray(np.clip(surface, 0, 255).astype(np.uint8))
    canvas = ImageDraw.Draw(image)
    for _ in range(rng.integers(1, 7)):
        colour = tuple(int(value) for value in _companion(surface, rng))
        centre = rng.uniform(0, 1, 2) * (width, height)
        if rng.random() < 0.4:
            angle, reach = rng.uniform(0, math.pi), width
            x, y = reach * math.cos(angle), reach * math.sin(angle)
            ends = (centre[0] - x, centre[1] - y, centre[0] + x, centre[1] + y)
            canvas.line(ends, colour, int(rng.integers(1, 14)))
        else:
            corners = centre + rng.normal(0, 1, (int(rng.integers(3, 6)), 2)) * (width / 5, height)
            canvas.polygon([tuple(corner) for corner in corners], colour)
    if rng.random() < 0.6:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 4)))
    return np.asarray(image).astype(np.float32)


def _companion(surface: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mostly another shade of the surface, as of the same material; now and then any colour."""
    if rng.random() < 0.3:
        return colours.paint(rng)
    shade = surface[0, 0] * np.float32(rng.uniform(0.5, 1.4))
    return np.clip(shade + rng.normal(0, 20, 3).astype(np.float32), 0, 255)


_BUSY = (_gradient, _texture, _texture, _bricks, _bokeh, _things)


def _add_border(scene: Image.Image, rng: np.random.Generator) -> None:
    """Draws the sign's edge or frame: a line along it, or something else beyond it."""
    canvas = ImageDraw.Draw(scene)
    colour = tuple(int(value) for value in colours.paint(rng))
    width, height = scene.size
    for side in range(4):
        if rng.random() < 0.5:
            continue
        extent = height if side < 2 else width
        depth = extent * rng.uniform(0.01, 0.10 if side < 2 else 0.04)
        near, far = depth + rng.uniform(-3, 3), depth + rng.uniform(-3, 3)
        if side % 2:
            near, far = extent - near, extent - far
        line: list[tuple[float, float]]
        line = [(0, near), (width, far)] if side < 2 else [(near, 0), (far, height)]
        if rng.random() < 0.4:
            canvas.line(line, colour, int(rng.integers(1, 5)))
        else:
            edge = 0 if side % 2 == 0 else extent
            beyond = [(width, edge), (0, edge)] if side < 2 else [(edge, height), (edge, 0)]
            canvas.polygon([*line, *beyond], colour)
