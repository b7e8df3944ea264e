"""Makes the low-resolution picture of a word crop, as a camera further away would take it.

The losses of the three difficulties are those of the prepared data sets; a camera's come on top.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from textsr_jax.data.drawing import camera, kernels, resampling, strata
from textsr_jax.data.drawing.chances import CameraSettings, Chances, orders
from textsr_jax.data.drawing.resampling import settled
from textsr_jax.data.synthetic.degradation import DIFFICULTIES, Difficulty

HEIGHT, WIDTH = 16, 64  # of a low-resolution picture, in pixels

# The least Gaussian blur, in pixels of the high resolution, whatever else blurs.
_LEAST = 0.35
_SHARED = 0.64  # the correlation of the noise of two colours


def _losses(much: Difficulty) -> list[float]:
    return [float(x) for x in np.hstack([np.ravel(v) for v in dataclasses.astuple(much)])]


# A row for each difficulty, from easy to hard.
_MUCH = np.array([_losses(much) for much in DIFFICULTIES.values()], np.float32)


def degrade(
    key: jax.Array, hr: jax.Array, difficulty: jax.Array, settings: CameraSettings
) -> jax.Array:
    """The picture at half the size and of the given difficulty; see `degrade_batch`.

    Args:
      key: where all randomness comes from.
      hr: float32 (32, 128, 3), RGB, 0 to 255.
      difficulty: int32 (), the number of one of `synthetic.degradation.DIFFICULTIES`.
      settings: `degrade` counts.

    Returns:
      float32 (16, 64, 3), RGB, whole numbers from 0 to 255. It still shows the whole picture,
      except for what the shift pushes over the edge.
    """
    return degrade_batch(key[None], hr[None], jnp.asarray(difficulty)[None], settings)[0]


def degrade_batch(
    keys: jax.Array, hr: jax.Array, difficulties: jax.Array, settings: CameraSettings
) -> jax.Array:
    """`degrade` for many pictures, each array with the words as its first axis.

    Losses come in shares as in `camera.photograph_batch`.
    """
    chances, count = settings.degrade, len(keys)
    much = jnp.asarray(_MUCH)[difficulties]
    blur, motion, shift, contrast = much[:, 0:2], much[:, 2], much[:, 3], much[:, 4:6]
    brightness, shade, noise, quality = much[:, 6], much[:, 7], much[:, 8:10], much[:, 10:12]
    own = jax.vmap(lambda key: jax.random.split(key, 4))(keys)
    order = orders(own[0, 3], count)
    dice = camera.numbers(own[:, 0], 17)
    sides = 2 * dice[:, :5] - 1

    spread = _between(blur, dice[:, 5])
    picks = strata.quantiles(order.blur)
    size = settled(_size(chances, dice[:, 9:12]))

    def blurred(
        values: tuple[jax.Array, jax.Array],
        pick: jax.Array,
        spread: jax.Array,
        motion: jax.Array,
        dice: jax.Array,
    ) -> tuple[jax.Array, jax.Array]:
        kernel = _blur(chances, pick, spread, motion, dice)
        return kernels.convolve(values[0], kernel), kernels.variances(kernel)

    pictures = settled(hr.transpose(0, 1, 3, 2))
    # The upright blur is that of the cells: none here.
    part = chances.anisotropic + chances.defocus + chances.motion
    pictures, others = strata.change(
        blurred,
        strata.members(order.blur, 0.0, part),
        (pictures, jnp.zeros((count, 2))),
        picks,
        spread,
        motion,
        dice[:, 6:9],
    )
    # Blur adds up by variances. What kernel and larger cells blur, the lens need not.
    _, rows, columns, _ = hr.shape
    wide = jnp.stack([rows / size[0], columns / size[1]], axis=1)
    known = (picks < chances.anisotropic + chances.defocus)[:, None]
    others = jnp.where(known, others, 0.0) + (wide**2 - 2**2) / 12
    lens = spread[:, None] * (0.85 + 0.3 * dice[:, 12:14])
    lens = settled(jnp.sqrt(jnp.maximum(lens**2 - others, _LEAST**2)))
    moved = settled(shift[:, None] * sides[:, :2])

    def sampled(
        picture: jax.Array, height: jax.Array, width: jax.Array, moved: jax.Array, lens: jax.Array
    ) -> jax.Array:
        down = resampling.cells(rows, height, moved[0], lens[0], HEIGHT)
        across = resampling.cells(columns, width, moved[1], lens[1], WIDTH)
        return resampling.resample(picture, settled(down), settled(across))

    pictures = settled(jax.vmap(sampled)(pictures, *size, moved, lens))
    mean = settled(hr.mean(axis=(1, 2, 3)))

    def lit(
        picture: jax.Array,
        mean: jax.Array,
        contrast: jax.Array,
        brightness: jax.Array,
        shades: jax.Array,
    ) -> jax.Array:
        picture = mean + (picture - mean) * contrast + brightness
        down = np.linspace(-1, 1, HEIGHT, dtype=np.float32)[:, None, None]
        across = np.linspace(-1, 1, WIDTH, dtype=np.float32)
        return picture * (1 + shades[0] * down) * (1 + shades[1] * across)

    pictures = jax.vmap(lit)(
        pictures,
        mean,
        _between(contrast, dice[:, 14]),
        brightness * sides[:, 2],
        shade[:, None] * sides[:, 3:5],
    )
    strength = _between(noise, dice[:, 15])
    shared = jnp.full(count, _SHARED)
    pictures = camera.shoot(
        own[:, 1], settled(pictures), chances, order, None, mean, size[0], strength, shared
    )
    worst, best = quality.T
    level = jnp.floor(worst + (best - worst + 1) * dice[:, 16])
    pictures = camera.compress(pictures, level, order.jpeg, chances.jpeg)
    pictures = camera.keep(own[:, 2], pictures, size, (HEIGHT, WIDTH), chances, order)
    return pictures.transpose(0, 1, 3, 2)


def _between(bounds: jax.Array, part: jax.Array) -> jax.Array:
    return bounds[:, 0] + (bounds[:, 1] - bounds[:, 0]) * part


def _blur(
    chances: Chances,
    pick: jax.Array,
    spread: jax.Array,
    motion: jax.Array,
    dice: jax.Array,
) -> jax.Array:
    """The blur (7, 7) that is no upright Gaussian, as wide as one of `spread` pixels."""
    much, less, turn = dice
    kind = camera.chosen(pick, chances.anisotropic, chances.defocus, chances.motion, 0.0)
    along = jnp.minimum(spread * (1 + 0.5 * much), 2.0)
    return camera.blur_kernel(
        kind,
        along=along,
        across=along * (0.2 + 0.5 * less),
        # A disc's standard deviation along each axis is half its radius.
        radius=jnp.minimum(2 * spread, 3.0),
        length=jnp.minimum(motion * (0.3 + 0.7 * much), 6.0),
        angle=jnp.where((kind == 2) & (less < 0.7), math.pi / 2 * (less < 0.35), math.pi * turn),
    )


def _size(chances: Chances, dice: jax.Array) -> tuple[jax.Array, jax.Array]:
    """How many cells see the words: as many as pixels, or less where the text is tiny."""
    pick, less, stretch = dice.T
    tiny = pick < chances.tiny
    height = jnp.where(tiny, jnp.round(12 - 6 * less * less), HEIGHT)
    width = jnp.where(tiny, jnp.round(height * 4 * (0.75 + 0.25 * stretch)), WIDTH)
    return height, width
