"""Makes the low-resolution picture of a word crop, as a camera further away would take it.

The losses of the three difficulties are those of the prepared data sets; a camera's come on top.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from textsr_jax.data.drawing import camera, jpeg, kernels, resampling
from textsr_jax.data.drawing.camera import CameraSettings
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
    """The picture at half the size and of the given difficulty.

    Args:
      key: where all randomness comes from.
      hr: float32 (32, 128, 3), RGB, 0 to 255.
      difficulty: int32 (), the number of one of `synthetic.degradation.DIFFICULTIES`.
      settings: `degrade` counts.

    Returns:
      float32 (16, 64, 3), RGB, whole numbers from 0 to 255. It still shows the whole picture,
      except for what the shift pushes over the edge.
    """
    chances = settings.degrade
    much = jnp.asarray(_MUCH)[difficulty]
    blur, motion, shift, contrast = much[0:2], much[2], much[3], much[4:6]
    brightness, shade, noise, quality = much[6], much[7], much[8:10], much[10:12]
    of_dice, of_camera, of_storage = jax.random.split(key, 3)
    dice = settled(jax.random.uniform(of_dice, (24,)))
    sides = 2 * dice[:5] - 1

    spread = _between(blur, dice[5])
    kernel = _blur(chances, spread, motion, dice[6:10])
    size = _size(chances, dice[10:13])
    picture = kernels.convolve(hr.transpose(0, 2, 1), kernel)
    # Blur adds up by variances. What kernel and larger cells blur, the lens need not.
    wide = jnp.stack([hr.shape[0] / size[0], hr.shape[1] / size[1]])
    others = jnp.where(dice[6] < chances.anisotropic + chances.defocus, 1.0, 0.0)
    others = others * kernels.variances(kernel) + (wide**2 - 2**2) / 12
    lens = jnp.sqrt(jnp.maximum((spread * (0.85 + 0.3 * dice[13:15])) ** 2 - others, _LEAST**2))
    down = resampling.cells(hr.shape[0], size[0], shift * sides[0], lens[0], HEIGHT)
    across = resampling.cells(hr.shape[1], size[1], shift * sides[1], lens[1], WIDTH)
    picture = resampling.resample(picture, down, across)

    mean = hr.mean()
    picture = mean + (picture - mean) * _between(contrast, dice[15]) + brightness * sides[2]
    picture *= 1 + shade * sides[3] * np.linspace(-1, 1, HEIGHT, dtype=np.float32)[:, None, None]
    picture *= 1 + shade * sides[4] * np.linspace(-1, 1, WIDTH, dtype=np.float32)
    picture = camera.shoot(
        of_camera, picture, chances, None, mean, size[0], _between(noise, dice[16]), _SHARED
    )
    worst, best = quality
    level = jnp.floor(worst + (best - worst + 1) * dice[17])
    picture = jnp.where(dice[18] < chances.jpeg, jpeg.compress(picture, level), picture)
    picture = camera.keep(of_storage, picture, size, (HEIGHT, WIDTH), chances)
    return picture.transpose(0, 2, 1)


def _between(bounds: jax.Array, part: jax.Array) -> jax.Array:
    return bounds[0] + (bounds[1] - bounds[0]) * part


def _blur(
    chances: camera.Chances, spread: jax.Array, motion: jax.Array, dice: jax.Array
) -> jax.Array:
    """The blur (7, 7) that is no upright Gaussian, as wide as one of `spread` pixels."""
    pick, much, less, turn = dice
    # The upright blur is that of the cells: none here.
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


def _size(chances: camera.Chances, dice: jax.Array) -> tuple[jax.Array, jax.Array]:
    """How many cells see the word: as many as pixels, or less where the text is tiny."""
    pick, less, stretch = dice
    tiny = pick < chances.tiny
    height = jnp.where(tiny, jnp.round(12 - 6 * less * less), HEIGHT)
    width = jnp.where(tiny, jnp.round(height * 4 * (0.75 + 0.25 * stretch)), WIDTH)
    return height, width
