"""The camera: makes a picture of a scene smaller, softer, noisier and compressed.

Two rounds of losses, as in Real-ESRGAN (Wang et al., 2021): a photograph, and how it was kept.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from textsr_jax.data.drawing import colours, jpeg, kernels, resampling, sensor, strata
from textsr_jax.data.drawing.chances import CameraSettings, Chances, Orders, orders
from textsr_jax.data.drawing.resampling import BOX, CUBIC, LANCZOS, LINEAR, Scalar, settled
from textsr_jax.data.drawing.strata import Strata

HEIGHT, WIDTH = 32, 128  # of a word crop, in pixels
# The largest word in a photograph. Those that are larger lose nothing that a crop could show.
GRID = 48, 192

# The filters that make pictures smaller, and those that fit them to the crop's size. Each is drawn
# as often as it stands here.
DOWN = (BOX, BOX, BOX, LINEAR, CUBIC, LANCZOS)
UP = (*6 * (CUBIC,), LINEAR, LINEAR, LANCZOS, BOX)


def photograph(
    key: jax.Array, scene: jax.Array, aspect: Scalar, settings: CameraSettings
) -> jax.Array:
    """The scene as a camera and a file format leave it, fitted to the size of a word crop.

    For many scenes `photograph_batch` is faster.

    Args:
      key: where all randomness comes from.
      scene: float32 (64, 256, 3), RGB, 0 to 255.
      aspect: (), the word's width over its height, which the scene does not keep.
      settings: see there.

    Returns:
      float32 (32, 128, 3), RGB, whole numbers from 0 to 255.
    """
    aspects = jnp.asarray(aspect, jnp.float32)[None]
    return photograph_batch(key[None], scene[None], aspects, settings)[0]


def photograph_batch(
    keys: jax.Array, scenes: jax.Array, aspects: jax.Array, settings: CameraSettings
) -> jax.Array:
    """`photograph` for many scenes, each array with the words as its first axis.

    Rare losses come in exact shares of the batch, in random order. Where the chances are Python
    numbers and no traced arrays, they are computed for their share only.

    Args:
      keys: (batch,) keys. The first also decides which words have which losses.
      scenes: float32 (batch, 64, 256, 3).
      aspects: float32 (batch,).
      settings: see there.
    """
    chances, count = settings.photograph, len(keys)
    own = jax.vmap(lambda key: jax.random.split(key, 7))(keys)
    order = orders(own[0, 6], count)
    dice = numbers(own[:, 0], 3)
    size = jax.vmap(native_size, (0, 0, None))(own[:, 1], aspects, settings)
    height = size[0]
    much = jax.vmap(lambda key: jnp.abs(jax.random.normal(key, (2,))))(own[:, 3])
    strength, quality = 3.5 * much[:, 0], jnp.floor(jnp.clip(95 - 26 * much[:, 1], 30, 95))

    def small(
        scene: jax.Array, height: jax.Array, width: jax.Array, kind: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        rows, columns, _ = scene.shape
        planes = settled(scene.transpose(0, 2, 1))
        picture = resampling.resize(planes, (rows, columns), (height, width), kind, GRID)
        return picture, planes.mean()

    pictures, means = settled(jax.vmap(small)(scenes, *size, drawn(DOWN, dice[:, 0])))

    def blurred(
        picture: jax.Array, key: jax.Array, pick: jax.Array, height: jax.Array
    ) -> jax.Array:
        return kernels.convolve(picture, _blur(key, pick, height, settings))

    def blur(pictures: jax.Array) -> jax.Array:
        part = chances.anisotropic + chances.defocus + chances.motion + settings.soft
        words = strata.members(order.blur, 0.0, part)
        picks = strata.quantiles(order.blur)
        return strata.change(blurred, words, pictures, own[:, 2], picks, height)

    shared = jnp.where(dice[:, 1] < 0.5, 1.0, 0.0)
    pictures = shoot(own[:, 4], pictures, chances, order, blur, means, height, strength, shared)
    luma = colours.luma(pictures, axis=2)[:, :, None]
    grey = (dice[:, 2] < settings.grey)[:, None, None, None]
    pictures = settled(jnp.where(grey, luma, pictures))
    pictures = compress(pictures, quality, order.jpeg, chances.jpeg)
    pictures = keep(own[:, 5], pictures, size, (HEIGHT, WIDTH), chances, order)
    return pictures.transpose(0, 1, 3, 2)


def numbers(keys: jax.Array, count: int) -> jax.Array:
    """Random numbers from [0, 1): float32 (keys, count)."""
    return settled(jax.vmap(lambda key: jax.random.uniform(key, (count,)))(keys))


def compress(pictures: jax.Array, quality: jax.Array, order: Strata, part: Scalar) -> jax.Array:
    """The pictures, of which a part was compressed, each with its own quality."""
    return strata.change(jpeg.compress, strata.members(order, 0.0, part), pictures, quality)


def native_size(
    key: jax.Array, aspect: Scalar, settings: CameraSettings
) -> tuple[jax.Array, jax.Array]:
    """The height and the width of a word in its photograph: whole numbers, at most `GRID`."""
    of_height, of_tiny = jax.random.split(key)
    height = settings.height * jnp.exp(settings.spread * jax.random.normal(of_height))
    pick, less = jax.random.uniform(of_tiny, (2,))
    height = jnp.clip(height, 12, GRID[0])
    height = jnp.where(pick < settings.photograph.tiny, 12 - 6 * less * less, height)
    return settled((jnp.round(height), jnp.round(jnp.clip(height * aspect, 10, GRID[1]))))


def _blur(key: jax.Array, pick: Scalar, height: Scalar, settings: CameraSettings) -> jax.Array:
    """The blur (7, 7) that lens and hand give some photographs: soft, smeared, out of focus."""
    of_soft, of_dice = jax.random.split(key)
    much, less, turn, level = jax.random.uniform(of_dice, (4,))
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
    keys: jax.Array,
    pictures: jax.Array,
    chances: Chances,
    order: Orders,
    blur: Callable[[jax.Array], jax.Array] | None,
    mean: jax.Array,
    height: jax.Array,
    strength: jax.Array,
    shared: jax.Array,
) -> jax.Array:
    """What lens, shutter, sensor and processor make of the light; each by its chance.

    Args:
      keys: (batch,), where the words' randomness comes from.
      pictures: float32 (batch, rows, 3, columns), RGB, 0 to 255.
      chances: how often what happens; of the blurs only `blur` counts.
      order: which words have which losses.
      blur: blurs some of the pictures; None for no blur.
      mean: (batch,), a picture's mean level without its repeated rim.
      height: (batch,), its height without it.
      strength: (batch,), standard deviation of the noise, levels.
      shared: (batch,), how much the noise of two colours correlates, 0 to 1.

    Returns:
      As `pictures`: whole numbers from 0 to 255.
    """
    own = jax.vmap(jax.random.split)(keys)
    light, when, *dice = numbers(own[:, 0], 13).T
    light = chosen(light, chances.dark, chances.overexposed)
    # Little light fills a part of the sensor's levels; the camera then raises them, and the noise.
    dark = light == 0
    part = jnp.where(dark, 0.25 + 0.35 * dice[0], 1.0)
    sense = chosen(strata.quantiles(order.mosaic), chances.mosaic, chances.noise)
    strength = jnp.where(sense < 2, strength, 0.0)
    strength = jnp.where(dark, jnp.clip(strength, 1, 1 + 2 * dice[2]), strength)
    fields = jax.vmap(sensor.normal, (0, None))(own[:, 1], pictures.shape[1:])
    # Real-ESRGAN draws the order of its losses. Blur and sharpening are linear, so noise that
    # comes later is added later.
    when = jnp.where(when < 0.15, 0, jnp.where(when < 0.75, 1, 2))
    when = jnp.where(sense == 0, 3, when if blur else jnp.maximum(when, 1))
    noises = settled([jnp.where(when == time, strength, 0.0) for time in range(3)])

    def noisy(time: int, pictures: jax.Array) -> jax.Array:
        grain = jax.vmap(correlated)(fields, shared)
        return pictures + noises[time][:, None, None, None] * grain

    over = jax.vmap(sensor.overexpose)(pictures, mean, 170 + 55 * dice[0], 50 * dice[1])
    light, part = (values[:, None, None, None] for values in (light, part))
    pictures = jnp.where(light == 1, over, part * pictures)
    pictures = settled(pictures) if blur is None else blur(settled(noisy(0, pictures)))
    moved = chosen(strata.quantiles(order.rows), chances.rolling, chances.interlaced)
    words = strata.members(order.rows, 0.0, chances.rolling + chances.interlaced)
    sides = jnp.stack(dice[3:7], axis=1)
    pictures = strata.change(_moved, words, pictures, moved, height, sides)
    words = strata.members(order.mosaic, 0.0, chances.mosaic)
    phase = (jnp.stack(dice[7:9], axis=1) < 0.5).astype(jnp.int32)
    pictures = strata.change(_mosaic, words, pictures, fields[:, :, 0], strength, phase)
    gain = 1 + jnp.where(dark, 0.8, 0.0) * dice[2] * (1 / part.ravel() - 1)
    pictures = jnp.round(jnp.clip(noisy(1, pictures), 0, 255)) * gain[:, None, None, None]
    words = strata.members(order.halo, 0.0, chances.halo)
    sharp = 0.3 + 0.9 * dice[9], 0.6 + 0.8 * dice[10]
    pictures = strata.change(kernels.sharpen, words, settled(pictures), *sharp)
    return settled(jnp.round(jnp.clip(noisy(2, pictures), 0, 255)))


def _mosaic(
    picture: jax.Array, field: jax.Array, strength: jax.Array, phase: jax.Array
) -> jax.Array:
    return sensor.mosaic(picture, strength * field, phase)


def _moved(picture: jax.Array, kind: jax.Array, height: Scalar, dice: jax.Array) -> jax.Array:
    """The picture with rows that a rolling shutter (0) or interlacing (1) moved."""
    rows = picture.shape[0]
    sides = dice[:3] * 2 - 1
    part = rows / height
    skew = jnp.clip(0.12 * height * sides[0], -3, 3) * part
    wobble = jnp.minimum(0.03 * height, 1.0) * sides[1]
    roll = kernels.rolling(rows, skew, wobble, (1 + 2 * dice[3]) * part, math.pi * sides[2])
    gap = jnp.clip(0.1 * height * sides[0], -3, 3)
    comb = kernels.interlaced(rows, gap)
    return kernels.shift_rows(picture, jnp.where(kind == 0, roll, jnp.where(kind == 1, comb, 0.0)))


def keep(
    keys: jax.Array,
    pictures: jax.Array,
    size: tuple[jax.Array, jax.Array],
    crop: tuple[int, int],
    chances: Chances,
    order: Orders,
) -> jax.Array:
    """The second round: the picture was kept in another size, compressed again, and fitted.

    What was shrunk first and compressed then has the blocks of the smaller size.

    Args:
      keys: (batch,), where the words' randomness comes from.
      pictures: float32 (batch, rows, 3, columns), of which the upper left part counts.
      size: height and width of that part, (batch,) each.
      crop: the size to fit to, multiples of 16.
      chances: `shrunk` and `again` count.
      order: which words have which losses.

    Returns:
      float32 (batch, crop[0], 3, crop[1]): whole numbers from 0 to 255.
    """
    dice = numbers(keys, 4)
    shrunk = strata.quantiles(order.shrunk) < chances.shrunk
    # Words stay at least 12 pixels high, if they were.
    height = jnp.minimum(size[0], crop[0])
    low = jnp.clip(12 / height, 0.5, 1)
    less = low + (1 - low) * dice[:, 0]
    height = jnp.where(shrunk, jnp.round(less * height), crop[0])
    width = jnp.where(shrunk, jnp.round(less * jnp.minimum(size[1], crop[1])), crop[1])
    kept = settled((height, jnp.maximum(width, 8)))
    up = drawn(UP, dice[:, 1])
    kinds = settled(jnp.where(shrunk, drawn(DOWN, dice[:, 2]), up))

    def fitted(
        picture: jax.Array,
        old: tuple[jax.Array, jax.Array],
        new: tuple[Scalar, Scalar],
        kind: jax.Array,
    ) -> jax.Array:
        resized = settled(resampling.resize(picture, old, new, kind, crop))
        return jnp.round(jnp.clip(resized, 0, 255))

    pictures = settled(jax.vmap(fitted)(pictures, size, kept, kinds))
    quality = jnp.floor(50 + 46 * dice[:, 3])
    pictures = compress(pictures, quality, order.again, chances.again)

    def enlarged(
        picture: jax.Array, height: jax.Array, width: jax.Array, kind: jax.Array
    ) -> jax.Array:
        return fitted(picture, (height, width), crop, kind)

    # The others have the crop's size already.
    words = strata.members(order.shrunk, 0.0, chances.shrunk)
    return strata.change(enlarged, words, pictures, *kept, up)


def chosen(picks: Scalar, *chances: Scalar) -> jax.Array:
    """Which of several things happens, by numbers from [0, 1): int32; their count for none."""
    edges = jnp.cumsum(jnp.stack([jnp.asarray(chance) for chance in chances]))
    return jnp.sum(jnp.asarray(picks)[..., None] >= edges, axis=-1)


def drawn(kinds: tuple[int, ...], pick: jax.Array) -> jax.Array:
    """One of `kinds`, each as likely, by numbers from [0, 1)."""
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
