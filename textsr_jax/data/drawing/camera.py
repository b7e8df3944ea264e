"""The camera: makes a picture of a scene smaller, softer, noisier and compressed.

Two rounds of losses, as in Real-ESRGAN (Wang et al., 2021): a photograph, and how it was kept.
"""

import math

import flax.struct
import jax
import jax.numpy as jnp

from textsr_jax.data.drawing import jpeg, kernels, resampling, sensor
from textsr_jax.data.drawing.resampling import BOX, CUBIC, LANCZOS, LINEAR, Scalar, settled

HEIGHT, WIDTH = 32, 128  # of a word crop, in pixels
# The largest word in a photograph. Those that are larger lose nothing that a crop could show.
GRID = 48, 192

# The filters that make pictures smaller, and those that fit them to the crop's size. Each is drawn
# as often as it stands here.
DOWN = (BOX, BOX, BOX, LINEAR, CUBIC, LANCZOS)
UP = (*6 * (CUBIC,), LINEAR, LINEAR, LANCZOS, BOX)


class Chances(flax.struct.PyTreeNode):
    """How often a camera loses what: parts of all pictures, 0 to 1.

    Attributes:
      anisotropic: Gaussian blur along a line at any angle, less across it.
      defocus, motion: blur by a disc and along a line. A picture has one blur of the three.
      rolling, interlaced: rows that a rolling shutter moved, and the comb of interlaced video.
        A picture has one of the two.
      dark, overexposed: too little light, made up for by the camera, or too much; one of the two.
      noise: noise of every pixel, before the blur, after it, or after the sharpening.
      mosaic: noise of a sensor with a Bayer pattern; a picture has one noise of the two.
      halo: sharpening, which leaves halos.
      tiny: text of 6 to 12 pixels of height.
      jpeg: compression of what the camera saw.
      shrunk: the picture was kept smaller, and is enlarged again.
      again: compression of the picture as it was kept.
    """

    anisotropic: float = 0.0
    defocus: float = 0.0
    motion: float = 0.0
    rolling: float = 0.0
    interlaced: float = 0.0
    dark: float = 0.0
    overexposed: float = 0.0
    noise: float = 0.0
    mosaic: float = 0.0
    halo: float = 0.0
    tiny: float = 0.0
    jpeg: float = 0.0
    shrunk: float = 0.0
    again: float = 0.0


class CameraSettings(flax.struct.PyTreeNode):
    """How often and how much pictures lose; an argument of jitted functions.

    Attributes:
      photograph: what happens to the high-resolution picture of a word.
      degrade: what happens to its low-resolution picture, beyond the losses of its difficulty.
      height: the median height of a word in its photograph, in pixels.
      spread: the standard deviation of the height's logarithm.
      soft: the part of the photographs with an even Gaussian blur, beside the other blurs.
      grey: the part of the photographs without colour.
    """

    photograph: Chances = Chances(
        anisotropic=0.04,
        defocus=0.04,
        motion=0.04,
        rolling=0.02,
        interlaced=0.01,
        dark=0.02,
        overexposed=0.1,
        noise=0.4,
        mosaic=0.12,
        halo=0.15,
        tiny=0.02,
        jpeg=0.65,
        shrunk=0.04,
        again=0.15,
    )
    degrade: Chances = Chances(
        anisotropic=0.15,
        defocus=0.15,
        motion=0.15,
        rolling=0.02,
        interlaced=0.02,
        dark=0.03,
        overexposed=0.03,
        noise=0.75,
        mosaic=0.25,
        halo=0.2,
        tiny=0.08,
        jpeg=0.9,
        shrunk=0.15,
        again=0.2,
    )
    height: float = 34.0
    spread: float = 0.45
    soft: float = 0.12
    grey: float = 0.05


def photograph(
    key: jax.Array, scene: jax.Array, aspect: Scalar, settings: CameraSettings
) -> jax.Array:
    """The scene as a camera and a file format leave it, fitted to the size of a word crop.

    Args:
      key: where all randomness comes from.
      scene: float32 (64, 256, 3), RGB, 0 to 255.
      aspect: (), the word's width over its height, which the scene does not keep.
      settings: see there.

    Returns:
      float32 (32, 128, 3), RGB, whole numbers from 0 to 255.
    """
    chances = settings.photograph
    of_dice, of_size, of_blur, of_much, of_camera, of_storage = jax.random.split(key, 6)
    dice = settled(jax.random.uniform(of_dice, (5,)))
    size = native_size(of_size, aspect, settings)
    picture = scene.transpose(0, 2, 1)
    picture = resampling.resize(
        picture, (scene.shape[0], scene.shape[1]), size, drawn(DOWN, dice[0]), GRID
    )
    kernel = _blur(of_blur, size[0], settings)
    strength, quality = jnp.abs(jax.random.normal(of_much, (2,))) * jnp.array([3.5, 26.0])
    shared = jnp.where(dice[1] < 0.5, 1.0, 0.0)
    picture = shoot(of_camera, picture, chances, kernel, scene.mean(), size[0], strength, shared)
    luma = 0.299 * picture[:, 0] + 0.587 * picture[:, 1] + 0.114 * picture[:, 2]
    picture = jnp.where(dice[2] < settings.grey, luma[:, None], picture)
    quality = jnp.floor(jnp.clip(95 - quality, 30, 95))
    picture = jnp.where(dice[3] < chances.jpeg, jpeg.compress(picture, quality), picture)
    picture = keep(of_storage, picture, size, (HEIGHT, WIDTH), chances)
    return picture.transpose(0, 2, 1)


def native_size(
    key: jax.Array, aspect: Scalar, settings: CameraSettings
) -> tuple[jax.Array, jax.Array]:
    """The height and the width of a word in its photograph: whole numbers, at most `GRID`."""
    of_height, of_tiny = jax.random.split(key)
    height = settings.height * jnp.exp(settings.spread * jax.random.normal(of_height))
    pick, less = settled(jax.random.uniform(of_tiny, (2,)))
    height = jnp.clip(height, 12, GRID[0])
    height = jnp.where(pick < settings.photograph.tiny, 12 - 6 * less * less, height)
    return settled((jnp.round(height), jnp.round(jnp.clip(height * aspect, 10, GRID[1]))))


def _blur(key: jax.Array, height: Scalar, settings: CameraSettings) -> jax.Array:
    """The blur (7, 7) that lens and hand give some photographs: soft, smeared, out of focus."""
    of_soft, of_dice = jax.random.split(key)
    pick, much, less, turn, level = settled(jax.random.uniform(of_dice, (5,)))
    soft = 0.7 * jnp.abs(jax.random.normal(of_soft))
    chances = settings.photograph
    kind = chosen(pick, chances.anisotropic, chances.defocus, chances.motion, settings.soft)
    along = jnp.clip(height * (0.02 + 0.05 * much), 0.4, 2.2)
    # A hand that moves, moves by an eighth of the picture at most, or strokes would merge.
    return blur_kernel(
        kind,
        along=jnp.where(kind == 3, soft, along),
        across=jnp.where(kind == 3, soft, along * (0.1 + 0.5 * less)),
        radius=jnp.minimum(height * (0.02 + 0.045 * much), 2.2),
        length=jnp.minimum(height * (0.04 + 0.09 * much), 4.4),
        angle=jnp.where((kind == 2) & (level < 0.5), 0.0, math.pi * turn),
    )


def blur_kernel(
    kind: jax.Array, along: Scalar, across: Scalar, radius: Scalar, length: Scalar, angle: Scalar
) -> jax.Array:
    """The kernel (7, 7) of a kind: 0 and 3 Gaussian, 1 disc, 2 line; no blur for others."""
    there = (kind == 0) | (kind == 3)
    gaussian = kernels.gaussian(jnp.where(there, along, 0.0), jnp.where(there, across, 0.0), angle)
    line = kernels.line(length, angle)
    return jnp.where(kind == 1, kernels.disc(radius), jnp.where(kind == 2, line, gaussian))


def shoot(
    key: jax.Array,
    picture: jax.Array,
    chances: Chances,
    kernel: jax.Array | None,
    mean: Scalar,
    height: Scalar,
    strength: Scalar,
    shared: Scalar,
) -> jax.Array:
    """What lens, shutter, sensor and processor make of the light; each by its chance.

    Args:
      key: where all randomness comes from.
      picture: float32 (rows, 3, columns), RGB, 0 to 255.
      chances: how often what happens; of the blurs only `kernel` counts.
      kernel: (7, 7), the blur; None for none.
      mean: (), the picture's mean level without its repeated rim.
      height: (), its height without it.
      strength: (), standard deviation of the noise, levels.
      shared: (), how much the noise of two colours correlates, 0 to 1.

    Returns:
      As `picture`: whole numbers from 0 to 255.
    """
    of_dice, of_noise = jax.random.split(key)
    mean, height, strength, shared = settled(
        tuple(jnp.asarray(x, jnp.float32) for x in (mean, height, strength, shared))
    )
    light, rows, sense, order, sharp, *dice = settled(jax.random.uniform(of_dice, (16,)))
    light = chosen(light, chances.dark, chances.overexposed)
    # Little light fills a part of the sensor's levels; the camera then raises them, and the noise.
    dark = light == 0
    part = jnp.where(dark, 0.25 + 0.35 * dice[0], 1.0)
    over = sensor.overexpose(picture, mean, 170 + 55 * dice[0], 50 * dice[1])
    picture = jnp.where(light == 1, over, part * picture)
    sense = chosen(sense, chances.mosaic, chances.noise)
    strength = jnp.where(sense < 2, strength, 0.0)
    strength = jnp.where(dark, jnp.clip(strength, 1, 1 + 2 * dice[2]), strength)
    fields = sensor.normal(of_noise, picture.shape)
    noise = strength * correlated(fields, shared)
    # Real-ESRGAN draws the order of its losses. Blur and sharpening are linear, so noise that
    # comes later is added later.
    when = jnp.where(order < 0.15, 0, jnp.where(order < 0.75, 1, 2))
    when = jnp.where(sense == 0, 3, when)
    if kernel is None:
        when = jnp.maximum(when, 1)
    else:
        picture = kernels.convolve(picture + jnp.where(when == 0, noise, 0.0), kernel)
    picture = _moved(picture, chosen(rows, chances.rolling, chances.interlaced), height, dice[3:8])
    phase = (jnp.stack(dice[8:10]) < 0.5).astype(jnp.int32)
    raw = sensor.mosaic(picture, strength * fields[:, 0], phase)
    picture = jnp.where(sense == 0, raw, picture + jnp.where(when == 1, noise, 0.0))
    gain = 1 + jnp.where(dark, 0.8, 0.0) * dice[2] * (1 / part - 1)
    picture = jnp.round(jnp.clip(picture, 0, 255)) * gain
    amount = jnp.where(sharp < chances.halo, 0.3 + 0.9 * dice[9], 0.0)
    picture = kernels.sharpen(picture, amount, 0.6 + 0.8 * dice[10])
    return jnp.round(jnp.clip(picture + jnp.where(when == 2, noise, 0.0), 0, 255))


def _moved(picture: jax.Array, kind: jax.Array, height: Scalar, dice: list[jax.Array]) -> jax.Array:
    """The picture with rows that a rolling shutter (0) or interlacing (1) moved."""
    rows = picture.shape[0]
    sides = jnp.stack(dice[:3]) * 2 - 1
    part = rows / height
    skew = jnp.clip(0.12 * height * sides[0], -3, 3) * part
    wobble = jnp.minimum(0.03 * height, 1.0) * sides[1]
    roll = kernels.rolling(rows, skew, wobble, (1 + 2 * dice[3]) * part, math.pi * sides[2])
    gap = jnp.clip(0.1 * height * sides[0], -3, 3)
    comb = kernels.interlaced(rows, gap)
    return kernels.shift_rows(picture, jnp.where(kind == 0, roll, jnp.where(kind == 1, comb, 0.0)))


def keep(
    key: jax.Array,
    picture: jax.Array,
    size: tuple[Scalar, Scalar],
    crop: tuple[int, int],
    chances: Chances,
) -> jax.Array:
    """The second round: the picture was kept in another size, compressed again, and fitted.

    What was shrunk first and compressed then has the blocks of the smaller size.

    Args:
      key: where all randomness comes from.
      picture: float32 (rows, 3, columns), of which the upper left part of size `size` counts.
      crop: the size to fit to, multiples of 16.
      chances: `shrunk` and `again` count.

    Returns:
      float32 (crop[0], 3, crop[1]): whole numbers from 0 to 255.
    """
    dice = settled(jax.random.uniform(key, (6,)))
    shrunk = dice[0] < chances.shrunk
    # Words stay at least 12 pixels high, if they were.
    height = jnp.minimum(size[0], crop[0])
    low = jnp.clip(12 / height, 0.5, 1)
    less = low + (1 - low) * dice[1]
    height = jnp.where(shrunk, jnp.round(less * height), crop[0])
    width = jnp.where(shrunk, jnp.round(less * jnp.minimum(size[1], crop[1])), crop[1])
    kept = height, jnp.maximum(width, 8)
    up = drawn(UP, dice[2])
    picture = resampling.resize(
        picture, size, kept, jnp.where(shrunk, drawn(DOWN, dice[3]), up), crop
    )
    picture = jnp.round(jnp.clip(picture, 0, 255))
    quality = jnp.floor(50 + 46 * dice[4])
    picture = jnp.where(dice[5] < chances.again, jpeg.compress(picture, quality), picture)
    # Nothing changes where the picture has the crop's size.
    fitted = resampling.resize(picture, kept, crop, up, crop)
    return jnp.round(jnp.clip(fitted, 0, 255))


def chosen(pick: jax.Array, *chances: Scalar) -> jax.Array:
    """Which of several things happens, by a number from [0, 1): int32; their count for none."""
    return jnp.sum(pick >= jnp.cumsum(jnp.stack([jnp.asarray(c) for c in chances])))


def drawn(kinds: tuple[int, ...], pick: jax.Array) -> jax.Array:
    """One of `kinds`, each as likely, by a number from [0, 1)."""
    return jnp.asarray(kinds)[jnp.int32(pick * len(kinds))]


def correlated(fields: jax.Array, shared: Scalar) -> jax.Array:
    """Noise of three colours of which any two have the correlation `shared`, and variance 1.

    a n_c + b (n_1 + n_2 + n_3) / sqrt(3), with a^2 = 1 - shared and b the positive root of
    b^2 + 2 a b / sqrt(3) = shared.

    Args:
      fields: float32 (rows, 3, columns), independent, with variance 1.
      shared: (), 0 to 1.
    """
    own = jnp.sqrt(1.0 - jnp.asarray(shared))
    own, common = settled((own, jnp.sqrt(own * own / 3 + shared) - own / math.sqrt(3)))
    return own * fields + common / math.sqrt(3) * fields.sum(axis=1, keepdims=True)
