"""Draws a word as a photograph of a sign, poster or screen would show it, cropped and stretched.

Letters are drawn flat, seen at an angle, laid over a background, lit, and passed through a camera.
"""

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from textsr_jax.data.synthetic import backgrounds, camera, colours, fonts, lettering, view
from textsr_jax.data.synthetic.fonts import CAP_HEIGHT


def render(word: str, rng: np.random.Generator) -> np.ndarray:
    """A picture of `word`: a high-resolution word crop, uint8 (32, 128, 3), RGB.

    As in TextZoom, the crop is stretched to this size whatever the word's proportions. Many crops
    are soft, noisy or compressed.

    Args:
      word: ASCII letters, digits and punctuation, and pound signs; not empty. Single spaces may
        stand between words.
      rng: where all randomness comes from: the same state gives the same picture.

    Raises:
      UserError: the fonts are not installed.
    """
    drawn = lettering.letter(word, rng)
    points, aspect = view.look(drawn.edges, rng)
    project = view.projection(points, drawn.ink.size)
    halo = None if drawn.halo is None else project(drawn.halo)
    shadow = None if drawn.shadow is None else project(drawn.shadow)
    scene = paint(project(drawn.ink), halo, shadow, rng)
    return camera.photograph(scene, aspect, rng)


def render_plain(word: str, rng: np.random.Generator) -> np.ndarray:
    """A clear print of `word`, from which a recogniser learns first; otherwise as `render`.

    The letters are of a book face and have one colour, on a ground of one other colour. Only the
    angle of view varies.
    """
    font = fonts.load(fonts.choose(word, rng, basic=True))
    left, top, right, bottom = font.getbbox(word, anchor="ls")
    size = (int(right - left) + 2 * CAP_HEIGHT, int(bottom - top) + 2 * CAP_HEIGHT)
    flat = Image.new("L", size)
    start = (CAP_HEIGHT - left, CAP_HEIGHT - top)
    ImageDraw.Draw(flat).text(start, word, 255, font, "ls")
    points, _ = view.look(lettering.ink_edges(np.asarray(flat)), rng)
    ink = view.projection(points, flat.size)(flat)
    ground, letters = colours.pair(rng)
    picture = camera.picture_of(ground + ink * (letters - ground))
    return np.asarray(picture.resize((camera.WIDTH, camera.HEIGHT), Image.Resampling.BOX))


def paint(
    ink: np.ndarray,
    halo: np.ndarray | None,
    shadow: np.ndarray | None,
    rng: np.random.Generator,
) -> np.ndarray:
    """The lit scene, float32 (height, width, 3), 0 to 255, of masks (height, width, 1)."""
    height, width = ink.shape[:2]
    ground, letters = colours.pair(rng)
    scene = backgrounds.draw(ground, letters, (height, width), rng)
    if shadow is not None:
        dark = colours.luma(ground) > 50 or rng.random() < 0.5
        colour = ground * rng.uniform(0, 0.5) if dark else colours.paint(rng)
        scene += shadow * np.float32(rng.uniform(0.4, 1)) * (colour - scene)
    if halo is not None:
        scene += halo * (colours.outline(letters, rng) - scene)
    colour = _ink_colours(letters, height, rng)
    relief = rng.random()
    if relief < 0.02:
        # Stamped or carved letters have the material's own colour or nearly so; light shows them.
        near = ground + np.float32(rng.uniform(0, 0.4)) * (letters - ground)
        scene += ink * (near - scene) + np.float32(rng.uniform(70, 130)) * _relief(ink, rng)
        return _light(scene, rng)
    if relief < 0.09:
        # Letters with a bevel, raised or sunk: their edges are lit or dark.
        colour = colour + np.float32(rng.uniform(40, 140)) * _relief(ink, rng)
    if rng.random() < 0.12:
        # Worn paint, or uneven print.
        wear = np.abs(backgrounds.clouds(8, 32, (height, width), rng))
        ink = ink * np.clip(1 - rng.uniform(0.2, 1.2) * wear, 0, 1)
    scene += ink * (colour - scene)
    return _light(scene, rng)


def _relief(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The light that the slopes at the letters' edges get from one side: [-1, 1], ink's shape."""
    blurred = _blur(ink[..., 0], rng.uniform(1, 3))
    angle = rng.uniform(0, 2 * math.pi)
    slope = np.zeros_like(blurred)
    slope[:, 1:-1] = math.cos(angle) * (blurred[:, 2:] - blurred[:, :-2])
    slope[1:-1] += math.sin(angle) * (blurred[2:] - blurred[:-2])
    return (slope / max(np.abs(slope).max(), 1e-6))[..., None]


def _blur(mask: np.ndarray, radius: float) -> np.ndarray:
    image = Image.fromarray((mask * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(radius))
    return np.asarray(image).astype(np.float32) / 255


def _ink_colours(letters: np.ndarray, height: int, rng: np.random.Generator) -> np.ndarray:
    """The letters' colour everywhere, float32, broadcasting to (height, width, 3)."""
    if rng.random() < 0.8:
        return letters
    # Metal and neon: lighter or darker from top to bottom.
    top, bottom = rng.uniform(0.6, 1.25, 2)
    ramp = np.linspace(top, bottom, height, dtype=np.float32)[:, None, None]
    return np.clip(letters * ramp, 0, 255)


def _light(scene: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Uneven light, a reflection, too much light or too little, and a tint."""
    height, width = scene.shape[:2]
    if rng.random() < 0.4:
        strength = abs(rng.normal(0, 0.2))
        rows, columns = (2, 2) if rng.random() < 0.7 else (3, 5)
        scene = scene * (
            1 + np.float32(strength) * backgrounds.clouds(rows, columns, (height, width), rng)
        )
    if rng.random() < 0.04:
        # A lamp's reflection washes out a part.
        glare = np.clip(backgrounds.clouds(3, 6, (height, width), rng) - np.float32(0.3), 0, 1)
        scene = scene + np.float32(rng.uniform(50, 200)) * glare
    if rng.random() < 0.3:
        scene = scene * np.float32(rng.uniform(0.7, 1.25)) + np.float32(rng.uniform(-15, 20))
    if rng.random() < 0.35:
        # Lamps, dusk and cheap cameras tint ground and letters alike.
        scene = scene * np.exp(rng.normal(0, 0.1, 3)).astype(np.float32)
    return np.clip(scene, 0, 255)
