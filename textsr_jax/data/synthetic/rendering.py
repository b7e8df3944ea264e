"""Draws a word as a photograph of a sign, poster or screen would show it, cropped and stretched.

Letters are drawn flat, seen at an angle, laid over a background, lit, and passed through a camera.
"""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from textsr_jax.data.synthetic import backgrounds, colours, fonts
from textsr_jax.data.synthetic.fonts import CAP_HEIGHT

HEIGHT, WIDTH = 32, 128

# The scene is composed at twice that size and averaged down in the end.
_HEIGHT, _WIDTH = 2 * HEIGHT, 2 * WIDTH
_SCENE = (_HEIGHT, _WIDTH)

# How pictures are made smaller, and fitted to the crop's size: each as often as it stands here.
_BOX, _LINEAR = Image.Resampling.BOX, Image.Resampling.BILINEAR
_CUBIC, _LANCZOS = Image.Resampling.BICUBIC, Image.Resampling.LANCZOS
_DOWN = (_BOX, _BOX, _BOX, _LINEAR, _CUBIC, _LANCZOS)
_UP = (*6 * (_CUBIC,), _LINEAR, _LINEAR, _LANCZOS, _BOX)

# Points spread evenly over a disc of radius 1: rings of 6, 12, 18, ... of them around its centre.
_TURNS = [(ring / 8, i / (3 * ring)) for ring in range(1, 9) for i in range(6 * ring)]
_DISC = np.array(
    [(0.0, 0.0)] + [(r * math.cos(math.pi * t), r * math.sin(math.pi * t)) for r, t in _TURNS]
)

# What other words near the word are made of; their text is not meant to be read.
_NEIGHBOURS = list("AEHIKMNORSTUaeimnorstu0123456789")


def render(word: str, rng: np.random.Generator) -> np.ndarray:
    """A picture of `word`: a high-resolution word crop, uint8 (32, 128, 3), RGB.

    As in TextZoom, the crop is stretched to this size whatever the word's proportions, and it is
    no perfect picture: many crops are soft, noisy or compressed.

    Args:
      word: ASCII letters, digits and punctuation, and pound signs; not empty, no spaces.
      rng: where all randomness comes from: the same state gives the same picture.

    Raises:
      UserError: the fonts are not installed.
    """
    lettering = _draw_letters(word, rng)
    points, aspect = _view(lettering.edges, rng)
    masks = _project(lettering.layers, points)
    return _photograph(_paint(masks, rng), aspect, rng)


def render_plain(word: str, rng: np.random.Generator) -> np.ndarray:
    """A clear print of `word`, for a reader's first lessons; as `render` otherwise.

    Letters of a book face in one colour on another, seen at an angle at most.
    """
    font = fonts.load(fonts.choose(word, rng, basic=True))
    left, top, right, bottom = font.getbbox(word, anchor="ls")
    flat = Image.new("L", (right - left + 2 * CAP_HEIGHT, bottom - top + 2 * CAP_HEIGHT))
    start = (CAP_HEIGHT - left, CAP_HEIGHT - top)
    ImageDraw.Draw(flat).text(start, word, 255, font, "ls")
    points, _ = _view(_edges(np.asarray(flat)), rng)
    (ink,) = _project((flat,), points)
    ground, letters = colours.pair(rng)
    picture = _picture(ground + ink * (letters - ground))
    return np.asarray(picture.resize((WIDTH, HEIGHT), Image.Resampling.BOX))


# Letters


@dataclass(frozen=True)
class _Lettering:
    """A word drawn flat.

    Attributes:
      layers: the masks of shadow, halo (an outline or a glow) and ink, back to front; shadow and
        halo are None where the word has none.
      edges: float64 (points, 2), x and y along the ink's upper and lower edge, in pixels.
    """

    layers: tuple[Image.Image | None, Image.Image | None, Image.Image]
    edges: np.ndarray


def _draw_letters(word: str, rng: np.random.Generator) -> _Lettering:
    face = fonts.choose(word, rng)
    font = fonts.load(face)
    left, top, right, bottom = font.getbbox(word, anchor="ls")
    spacing = CAP_HEIGHT * _spacing(rng)
    jitter = CAP_HEIGHT * rng.uniform(0, 0.12) if rng.random() < 0.06 else 0.0
    first, wider = font, 0.0
    if word.isupper() and len(word) > 2 and rng.random() < 0.06:
        # Small capitals behind a capital.
        first = fonts.load(face, round(1.3 * CAP_HEIGHT))
        wider = first.getlength(word[0]) - font.getlength(word[0])
    pad = CAP_HEIGHT
    width = right - left + spacing * (len(word) - 1) + wider
    size = (int(width) + 2 * pad, bottom - top + 2 * pad)
    start, baseline = pad - left, pad - top
    if spacing == jitter == wider == 0:
        glyphs = [(start, baseline, word, font)]
    else:
        # With kerning a letter starts where the text up to its end ends, less its own advance.
        glyphs = [
            (
                start + font.getlength(word[: i + 1]) - font.getlength(word[i]) + i * spacing,
                baseline + jitter * rng.uniform(-1, 1),
                word[i],
                font,
            )
            for i in range(len(word))
        ]
        rest = [(x + wider, *glyph) for x, *glyph in glyphs[1:]]
        glyphs = [(*glyphs[0][:3], first), *rest]

    def draw(stroke: float) -> Image.Image:
        image = Image.new("L", size)
        canvas = ImageDraw.Draw(image)
        for x, y, text, letters in glyphs:
            canvas.text((x, y), text, 255, letters, "ls", stroke_width=stroke)
        return image

    # Strokes take long to draw, so only some words are bolder than their face, or outlined.
    ink = draw(rng.uniform(0.4, 1.2) if rng.random() < 0.08 else 0)
    edges = _edges(np.asarray(ink))
    if rng.random() < 0.18:
        _add_neighbour(ink, edges, baseline, font, rng)
    halo = shadow = None
    effect = rng.random()
    if effect < 0.12:
        halo = draw(rng.uniform(1.5, 5))
        if effect < 0.02:
            # Hollow letters: the outline is all the ink there is.
            ink, halo = Image.fromarray(np.asarray(halo) - np.asarray(ink)), None
    elif effect < 0.17:
        halo = ink.filter(ImageFilter.GaussianBlur(rng.uniform(3, 7)))
        halo = halo.point([min(2 * value, 255) for value in range(256)])
    if rng.random() < 0.17:
        shadow = _cast(halo or ink, rng)
    if rng.random() < 0.02:
        ink = _dotted(ink, rng)
    return _Lettering((shadow, halo, ink), edges)


def _spacing(rng: np.random.Generator) -> float:
    """Extra space between letters, in capitals' heights."""
    kind = rng.random()
    if kind < 0.60:
        return 0.0
    if kind < 0.84:
        return rng.uniform(0, 0.15)
    return rng.uniform(0.1, 0.6) if kind < 0.94 else rng.uniform(-0.04, 0)


def _edges(ink: np.ndarray) -> np.ndarray:
    """Where the ink begins and ends in every third column and in the last one."""
    inked = ink > 64
    columns = np.flatnonzero(inked.any(axis=0))
    columns = np.append(columns[::3], columns[-1])
    top = inked[:, columns].argmax(axis=0)
    bottom = len(ink) - inked[::-1, columns].argmax(axis=0)
    x = np.concatenate([columns, columns + 1]).astype(np.float64)
    return np.stack([np.tile(x, 2), np.repeat([top, bottom], 2, axis=0).ravel()], axis=1)


def _add_neighbour(
    ink: Image.Image,
    edges: np.ndarray,
    baseline: float,
    font: ImageFont.FreeTypeFont,
    rng: np.random.Generator,
) -> None:
    """Draws other text near the word, parts of which a loose crop will show."""
    left, top = edges.min(axis=0)
    right, bottom = edges.max(axis=0)
    gap = CAP_HEIGHT * rng.uniform(0.05, 0.25)
    text = "".join(rng.choice(_NEIGHBOURS, 12))
    offset = rng.uniform(0, 2 * CAP_HEIGHT)
    place = rng.random()
    if place < 0.4:
        at, anchor = (left - offset, top - gap), "ls"
    elif place < 0.8:
        text = text.upper()
        at, anchor = (left - offset, bottom + gap + CAP_HEIGHT), "ls"
    elif place < 0.9:
        at, anchor = (left - 2 * gap, baseline), "rs"
    else:
        at, anchor = (right + 2 * gap, baseline), "ls"
    ImageDraw.Draw(ink).text(at, text, 255, font, anchor)


def _cast(mask: Image.Image, rng: np.random.Generator) -> Image.Image:
    """The shadow of `mask`: beside it and soft, or stretched to it like a block letter's side."""
    reach = CAP_HEIGHT * rng.uniform(0.04, 0.16)
    angle = rng.uniform(0, 2 * math.pi)
    dx, dy = reach * math.cos(angle), reach * math.sin(angle)
    if rng.random() < 0.3:
        steps = np.linspace(1, 0, max(2, round(reach)), endpoint=False)
        layers = [np.roll(mask, (round(t * dy), round(t * dx)), (0, 1)) for t in steps]
        return Image.fromarray(np.maximum.reduce(layers))
    shadow = Image.fromarray(np.roll(mask, (round(dy), round(dx)), (0, 1)))
    return shadow.filter(ImageFilter.GaussianBlur(rng.uniform(0, 4)))


def _dotted(ink: Image.Image, rng: np.random.Generator) -> Image.Image:
    """The ink as a board of lamps shows it."""
    pitch = CAP_HEIGHT / rng.uniform(7, 12)
    width, height = ink.size
    x = np.cos(2 * np.pi * np.arange(width) / pitch)
    y = np.cos(2 * np.pi * np.arange(height) / pitch)
    lamps = np.clip(0.75 + 0.5 * (x + y[:, None]), 0, 1)
    return Image.fromarray((np.asarray(ink) * lamps).astype(np.uint8))


# The view


def _view(edges: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Looks at the flat word and crops: where each of the scene's pixels lies on the flat.

    The word may be bent into an arc, slanted, turned, and seen in perspective; the crop is the
    upright box around what comes of it, and a margin.

    Returns:
      float64 (2, 64, 256): y and x in pixels of the flat, (0, 0) its corner; and the crop's
      width over its height before it is stretched.
    """
    low, high = edges.min(axis=0), edges.max(axis=0)
    width, height = high - low
    centre = (low + high) / 2
    # The arc's angle, positive for a hill. Its centre must stay clear of the letters.
    turn = rng.normal(0, 0.5) if rng.random() < 0.18 else 0.0
    limit = min(1.4, 0.8 * width / height)
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
    u = left + (right - left) * (np.arange(_WIDTH) + 0.5) / _WIDTH
    v = top + (bottom - top) * (np.arange(_HEIGHT) + 0.5) / _HEIGHT
    x, y = unbend(*_transform(np.linalg.inv(matrix), u[None, :], v[:, None]))
    return np.stack([y + centre[1], x + centre[0]]), (right - left) / (bottom - top)


def _perspective(width: float, height: float, rng: np.random.Generator) -> np.ndarray:
    """A 3x3 homography of the flat: a slant, then a turn, then a tilt away from the camera."""
    slant = rng.normal(0, 0.15) if rng.random() < 0.25 else 0.0
    kind = rng.random()
    degrees = rng.normal(0, 1.0 if kind < 0.6 else 3.5 if kind < 0.9 else 9.0)
    # A long word that is turned far would become a thin diagonal in its box.
    limit = math.atan2(0.9 * height, width)
    angle = min(max(math.radians(degrees), -limit), limit)
    tilt_x = rng.normal(0, 0.14) if rng.random() < 0.4 else 0.0
    tilt_y = rng.normal(0, 0.06) if rng.random() < 0.4 else 0.0
    tilt_x = min(max(tilt_x, -0.38), 0.38) / (width / 2)
    tilt_y = min(max(tilt_y, -0.15), 0.15) / (height / 2)
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
    """The crop's margin left, right, above and below, as shares of the word's height."""
    margins = min(0.07 * math.exp(rng.normal(0, 0.7)), 0.3) * rng.uniform(0.3, 1.7, 4)
    if rng.random() < 0.10:
        # A careless crop: too much on one side, or a little of the word cut off.
        margins[rng.integers(4)] = rng.choice([-0.04, 0.2, 0.4])
    return margins


def _project(layers: Sequence[Image.Image | None], points: np.ndarray) -> list[np.ndarray | None]:
    """The flat's masks as the scene shows them, float32 (64, 256, 1) in [0, 1]."""
    y, x = points
    # Where the word is wide, its columns are averaged first, or thin strokes would be lost.
    step = max(1, int(np.ptp(x[_HEIGHT // 2]) / _WIDTH))
    layers = [None if mask is None else np.asarray(mask.reduce((step, 1))) for mask in layers]
    height, width = layers[-1].shape
    # Interpolates between pixel centres. Beyond the flat there is its empty rim.
    x = np.clip(x / step - 0.5, 0, width - 1.001)
    y = np.clip(y - 0.5, 0, height - 1.001)
    column, row = x.astype(np.int64), y.astype(np.int64)
    right, below = (x - column).astype(np.float32), (y - row).astype(np.float32)
    corner = row * width + column

    def interpolate(mask: np.ndarray) -> np.ndarray:
        pixels = mask.ravel().astype(np.float32)
        upper, lower = pixels[corner], pixels[corner + width]
        upper += right * (pixels[corner + 1] - upper)
        lower += right * (pixels[corner + width + 1] - lower)
        upper += below * (lower - upper)
        return upper[..., None] / np.float32(255)

    return [None if mask is None else interpolate(mask) for mask in layers]


# Colours and surfaces


def _paint(masks: list[np.ndarray | None], rng: np.random.Generator) -> np.ndarray:
    """The lit scene, float32 (64, 256, 3), 0 to 255."""
    shadow, halo, ink = masks
    ground, letters = colours.pair(rng)
    scene = backgrounds.draw(ground, letters, _SCENE, rng)
    if shadow is not None:
        dark = colours.luma(ground) > 50 or rng.random() < 0.5
        colour = ground * rng.uniform(0, 0.5) if dark else colours.paint(rng)
        scene += shadow * np.float32(rng.uniform(0.4, 1)) * (colour - scene)
    if halo is not None:
        scene += halo * (colours.outline(letters, rng) - scene)
    paint = _ink_colours(letters, rng)
    relief = rng.random()
    if relief < 0.02:
        # Stamped or carved: the material's own colour, or nearly, and the light tells the rest.
        near = ground + np.float32(rng.uniform(0, 0.4)) * (letters - ground)
        scene += ink * (near - scene) + np.float32(rng.uniform(70, 130)) * _relief(ink, rng)
        return _light(scene, rng)
    if relief < 0.09:
        # Letters with a bevel, raised or sunk: their edges catch the light or lie in the dark.
        paint = paint + np.float32(rng.uniform(40, 140)) * _relief(ink, rng)
    if rng.random() < 0.12:
        # Worn paint, or uneven print.
        wear = np.abs(backgrounds.clouds(8, 32, _SCENE, rng))
        ink = ink * np.clip(1 - rng.uniform(0.2, 1.2) * wear, 0, 1)
    scene += ink * (paint - scene)
    return _light(scene, rng)


def _relief(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """How much light the slopes at the letters' edges get from one side: [-1, 1], ink's shape."""
    blurred = _blur(ink[..., 0], rng.uniform(1, 3))
    angle = rng.uniform(0, 2 * math.pi)
    slope = np.zeros_like(blurred)
    slope[:, 1:-1] = math.cos(angle) * (blurred[:, 2:] - blurred[:, :-2])
    slope[1:-1] += math.sin(angle) * (blurred[2:] - blurred[:-2])
    return (slope / max(np.abs(slope).max(), 1e-6))[..., None]


def _blur(mask: np.ndarray, radius: float) -> np.ndarray:
    image = Image.fromarray((mask * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(radius))
    return np.asarray(image).astype(np.float32) / 255


def _ink_colours(letters: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The letters' colour everywhere, float32, broadcasting to (64, 256, 3)."""
    if rng.random() < 0.8:
        return letters
    # Metal and neon: lighter or darker from top to bottom.
    ends = rng.uniform(0.6, 1.25, 2)
    ramp = np.linspace(*ends, _HEIGHT, dtype=np.float32)[:, None, None]
    return np.clip(letters * ramp, 0, 255)


def _light(scene: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Uneven light, a reflection, too much light or too little, and a tint."""
    if rng.random() < 0.4:
        strength = abs(rng.normal(0, 0.2))
        rows, columns = (2, 2) if rng.random() < 0.7 else (3, 5)
        scene = scene * (1 + np.float32(strength) * backgrounds.clouds(rows, columns, _SCENE, rng))
    if rng.random() < 0.04:
        # A lamp's reflection washes out a part.
        glare = np.clip(backgrounds.clouds(3, 6, _SCENE, rng) - np.float32(0.3), 0, 1)
        scene = scene + np.float32(rng.uniform(50, 200)) * glare
    if rng.random() < 0.3:
        scene = scene * np.float32(rng.uniform(0.7, 1.25)) + np.float32(rng.uniform(-15, 20))
    if rng.random() < 0.35:
        # Lamps, dusk and cheap cameras tint ground and letters alike.
        scene = scene * np.exp(rng.normal(0, 0.1, 3)).astype(np.float32)
    return np.clip(scene, 0, 255)


# The camera


def _photograph(scene: np.ndarray, aspect: float, rng: np.random.Generator) -> np.ndarray:
    """The scene as a camera and a file format leave it, uint8 (32, 128, 3)."""
    picture = _picture(scene)
    # How large the word was in the photograph that it is cut from.
    height = round(min(max(34 * math.exp(rng.normal(0, 0.45)), 12), _HEIGHT))
    width = round(min(max(height * aspect, 12), _WIDTH))
    picture = picture.resize((width, height), _DOWN[rng.integers(len(_DOWN))])
    picture = _unsharp(picture, rng)
    if rng.random() < 0.15:
        picture = picture.filter(ImageFilter.UnsharpMask(1, int(rng.integers(40, 160)), 0))
    if rng.random() < 0.05:
        picture = picture.convert("L").convert("RGB")
    if rng.random() < 0.6:
        channels = 1 if rng.random() < 0.5 else 3
        noise = rng.normal(0, abs(rng.normal(0, 4)), (height, width, channels))
        picture = _picture(np.asarray(picture) + noise)
    if rng.random() < 0.06:
        # It was a smaller picture once, on a page or in a message.
        less = rng.uniform(max(0.5, 12 / height), 1)
        size = max(round(width * less), 8), round(height * less)
        picture = picture.resize(size, _DOWN[rng.integers(len(_DOWN))])
    if rng.random() < 0.7:
        picture = compress(picture, int(min(max(95 - abs(rng.normal(0, 26)), 30), 95)))
    return np.asarray(picture.resize((WIDTH, HEIGHT), _UP[rng.integers(len(_UP))]))


def _unsharp(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """What lens and hand do to a third of the pictures: softness, a smear, or a wrong focus."""
    kind = rng.random()
    if kind < 0.22:
        return picture.filter(ImageFilter.GaussianBlur(abs(rng.normal(0, 0.7))))
    if kind < 0.29:
        # A hand that moved. No further than an eighth of the picture, or strokes would merge.
        length = min(picture.height * rng.uniform(0.04, 0.13), 4.4)
        angle = rng.uniform(0, math.pi) if rng.random() < 0.5 else 0.0
        steps = np.linspace(-0.5, 0.5, 33)[:, None] * length
        return spread(picture, steps * (math.cos(angle), math.sin(angle)))
    if kind < 0.36:
        radius = min(picture.height * rng.uniform(0.02, 0.065), 2.2)
        return spread(picture, radius * _DISC)
    return picture


def spread(picture: Image.Image, offsets: np.ndarray) -> Image.Image:
    """The picture's mean over many places: blur by motion (a line) or defocus (a disc).

    Args:
      picture: RGB.
      offsets: float64 (points, 2), x and y in pixels, each in [-2.5, 2.5). Beyond its rim the
        picture goes on as it ends.
    """
    kernel, _, _ = np.histogram2d(offsets[:, 1], offsets[:, 0], 5, ((-2.5, 2.5), (-2.5, 2.5)))
    padded = np.pad(np.asarray(picture), ((2, 2), (2, 2), (0, 0)), mode="edge")
    # Pillow leaves two pixels at every rim as they are.
    blurred = Image.fromarray(padded).filter(ImageFilter.Kernel((5, 5), kernel.ravel().tolist()))
    return blurred.crop((2, 2, 2 + picture.width, 2 + picture.height))


def _picture(values: np.ndarray) -> Image.Image:
    return Image.fromarray(np.clip(values + 0.5, 0, 255).astype(np.uint8))


def compress(picture: Image.Image, quality: int) -> Image.Image:
    """The picture after JPEG compression with a quality of 1 (worst) to 95."""
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=quality)
    return Image.open(stream, formats=("JPEG",)).convert("RGB")
