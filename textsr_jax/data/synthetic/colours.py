"""The colours of signs, posters and packages: paints, and pairs of ground and letters.

The shares of blacks, whites and strong colours were measured in photographed word crops.
"""

import colorsys

import numpy as np

# Red, orange, yellow, green and blue; red, yellow and blue are the most frequent.
SIGN_HUES = (0.0, 0.0, 0.08, 0.14, 0.14, 0.38, 0.58, 0.62)

LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def luma(colour: np.ndarray) -> np.ndarray:
    """The lightness (..., ) of RGB colours (..., 3), on their scale."""
    return colour @ LUMA


def paint(rng: np.random.Generator) -> np.ndarray:
    """A colour of paint, plastic or print, float32 (3,), 0 to 255."""
    kind, hue = rng.random(), rng.random()
    if kind < 0.24:
        saturation, value = rng.uniform(0, 0.5), rng.uniform(0.02, 0.25)  # blacks
    elif kind < 0.50:
        saturation, value = abs(rng.normal(0, 0.05)), rng.uniform(0.8, 1)  # whites
    elif kind < 0.58:
        saturation, value = rng.uniform(0, 0.15), rng.uniform(0.25, 0.8)  # greys
    elif kind < 0.88:
        return _sign_paint(rng)
    else:
        saturation, value = rng.uniform(0.15, 0.6), rng.uniform(0.3, 0.95)  # wood, stone, pastel
    return _rgb(hue, saturation, value)


def pair(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A ground and a letter colour that differ in lightness: mostly a lot, now and then a little.

    Two strong colours seldom meet; if they do, they are those of signs: yellow on red, or blue on
    yellow.
    """
    contrast = rng.uniform(25, 60) if rng.random() < 0.12 else rng.uniform(60, 170)
    source = paint
    if rng.random() < 0.08:
        source, contrast = _sign_paint, min(contrast, 90.0)
    while True:
        ground, letters = source(rng), source(rng)
        if abs(luma(ground) - luma(letters)) >= contrast:
            return ground, letters


def outline(letters: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The colour of the letters' outline: mostly black or white, in contrast to the letters."""
    if rng.random() < 0.6:
        return np.full(3, 15 if luma(letters) > 110 else 245, np.float32)
    while True:
        colour = paint(rng)
        if abs(luma(colour) - luma(letters)) >= 50:
            return colour


def _sign_paint(rng: np.random.Generator) -> np.ndarray:
    """A strong colour, mostly one of those that are usual on signs."""
    hue = rng.random()
    if rng.random() < 0.8:
        hue = (SIGN_HUES[rng.integers(len(SIGN_HUES))] + rng.normal(0, 0.025)) % 1
    return _rgb(hue, rng.uniform(0.65, 1), rng.uniform(0.4, 1))


def _rgb(hue: float, saturation: float, value: float) -> np.ndarray:
    return np.array(colorsys.hsv_to_rgb(hue, saturation, value), np.float32) * 255
