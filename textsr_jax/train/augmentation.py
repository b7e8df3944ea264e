"""Random changes to a batch's images, made inside the step: one kind for recognisers, one for SR.

They are pure functions of (batch, key): the same key gives the same bits wherever the images lie.
"""

import jax
import jax.numpy as jnp

from textsr_jax.data.batching import Batch
from textsr_jax.images import Array, to_float, to_uint8
from textsr_jax.models.layers.sampling import bilinear_sample

_GREY = (0.299, 0.587, 0.114)


def change_words(batch: Batch, key: jax.Array) -> Batch:
    """Changes HR images as real word images differ from one another; LR images stay.

    The changes come in this order, each with its own probability: a small rotation, shear and
    change of scale and perspective, or else a move by up to two pixels; brightness, contrast and
    colour, sometimes inverted or grey; blur; a loss of resolution of up to two times; noise.

    Args:
      batch: `hr` is uint8 (batch, 32, 128, 3), RGB, also in the result.
      key: decides every change.
    """
    keys = jax.random.split(key, 6)
    images = _warped(to_float(batch.hr), keys[0])
    images = _toned(images, keys[1])
    grey = jnp.einsum("bhwc,c->bhw", images, jnp.array(_GREY))[..., None]
    images = jnp.where(_chance(keys[2], images, 0.1), grey, images)
    images = _coarsened(_blurred(images, keys[3]), keys[4])
    chance, strength, noise = jax.random.split(keys[5], 3)
    level = _uniform(strength, images, 1 / 255, 20 / 255)
    noise = level * jax.random.normal(noise, images.shape)
    images = jnp.where(_chance(chance, images, 0.2), images + noise, images)
    return batch.replace(hr=to_uint8(images))


def change_pairs(batch: Batch, key: jax.Array) -> Batch:
    """Changes the colours of LR and HR images in the same way, so that they stay a pair.

    Every pair's channels are permuted. Half of the pairs change in brightness and contrast; one in
    ten is inverted.

    Args:
      batch: `lr` and `hr` are uint8 (batch, height, width, 3), RGB, also in the result.
      key: decides every change.
    """
    keys = jax.random.split(key, 5)
    order = jnp.argsort(_uniform(keys[0], batch.hr, 0, 1, 3))
    changes = _chance(keys[1], batch.hr, 0.5)
    scale = jnp.where(changes, _uniform(keys[2], batch.hr, 0.8, 1.2), 1)
    shift = jnp.where(changes, _uniform(keys[3], batch.hr, -25, 25), 0)
    inverted = _chance(keys[4], batch.hr, 0.1)

    def change(images: Array) -> jax.Array:
        values = jnp.take_along_axis(images, order[:, None, None, :], axis=3) * scale + shift
        values = jnp.where(inverted, 255 - values, values)
        return jnp.clip(jnp.round(values), 0, 255).astype(jnp.uint8)

    return batch.replace(lr=change(batch.lr), hr=change(batch.hr))


def _chance(key: jax.Array, images: Array, probability: float) -> jax.Array:
    """Which images are changed: bool (batch, 1, 1, 1)."""
    return jax.random.bernoulli(key, probability, (len(images), 1, 1, 1))


def _uniform(key: jax.Array, images: Array, low: float, high: float, *shape: int) -> jax.Array:
    """Random numbers for each image: (batch, *shape), or (batch, 1, 1, 1) without a shape."""
    return jax.random.uniform(key, (len(images), *(shape or (1, 1, 1))), minval=low, maxval=high)


def _warped(images: jax.Array, key: jax.Array) -> jax.Array:
    """Rotates, shears, scales and tilts half of the images; moves the others by whole pixels.

    What comes into view takes the mean colour of the image's border.
    """
    batch, height, width, _ = images.shape
    keys = jax.random.split(key, 6)
    angle = jnp.deg2rad(_uniform(keys[0], images, -5, 5, 1)[:, 0])
    shear = _uniform(keys[1], images, -0.2, 0.2, 1)[:, 0]
    # The source region may grow by a fifth. It hardly shrinks, which would cut off end letters.
    growth = _uniform(keys[2], images, 0.97, 1.2, 2)
    perspective = _uniform(keys[3], images, -0.05, 0.05, 2)
    sine, cosine = jnp.sin(angle), jnp.cos(angle)
    x = jnp.arange(width) - (width - 1) / 2
    y = (jnp.arange(height) - (height - 1) / 2)[:, None]
    x, y = (jnp.broadcast_to(values, (batch, height, width)) for values in (x, y))
    across, along, sine, cosine, shear, tilt_x, tilt_y = (
        values[:, None, None] for values in (*growth.T, sine, cosine, shear, *perspective.T)
    )
    depth = 1 + tilt_x * x / (width / 2) + tilt_y * y / (height / 2)
    turned_x, turned_y = across * (cosine * x + sine * y), along * (cosine * y - sine * x)
    turned_x, turned_y = (turned_x + shear * turned_y) / depth, turned_y / depth
    warps = _chance(keys[4], images, 0.5)[..., 0]
    shift = _uniform(keys[5], images, -2, 2, 2)[..., None, None]
    shift = jnp.where(warps[:, None], shift, jnp.round(shift))
    x = jnp.where(warps, turned_x, x) + (width - 1) / 2 + shift[:, 0]
    y = jnp.where(warps, turned_y, y) + (height - 1) / 2 + shift[:, 1]
    border = jnp.concatenate(
        [images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]], axis=1
    ).mean(axis=1)[:, None, None]
    return bilinear_sample(images - border, x, y, padding="zeros") + border


def _toned(images: jax.Array, key: jax.Array) -> jax.Array:
    """Changes brightness, contrast and colour of half of the images; inverts a fifth of these."""
    keys = jax.random.split(key, 7)
    gamma = _uniform(keys[0], images, 0.7, 1.4)
    contrast = _uniform(keys[1], images, 0.5, 1.3) * _uniform(keys[2], images, 0.85, 1.15, 1, 1, 3)

    def change(values: jax.Array) -> jax.Array:
        return (jnp.clip(values, 0, 1) ** gamma - 0.5) * contrast + 0.5

    # Brightness must not push a pale word on white, or a dark one on black, out of the range.
    grey = jnp.einsum("bhwc,c->bhw", images, jnp.array(_GREY))
    darkest, lightest = (
        change(reduce(grey, axis=(1, 2))[:, None, None, None]).mean(axis=3, keepdims=True)
        for reduce in (jnp.min, jnp.max)
    )
    brightness = _uniform(keys[3], images, -0.25, 0.25)
    brightness = jnp.minimum(jnp.maximum(brightness, -0.05 - darkest), 1.05 - lightest)
    changed = change(images) + brightness + _uniform(keys[4], images, -0.08, 0.08, 1, 1, 3)
    changed = jnp.where(_chance(keys[5], images, 0.2), 1 - changed, changed)
    return jnp.where(_chance(keys[6], images, 0.5), jnp.clip(changed, 0, 1), images)


def _blurred(images: jax.Array, key: jax.Array) -> jax.Array:
    """Blurs a fifth of the images by Gaussians of 0.2 to 1.5 pixels, one for each direction."""
    keys = jax.random.split(key, 2)
    sigma = _uniform(keys[0], images, 0.2, 1.5, 2)

    def weights(size: int, sigma: jax.Array) -> jax.Array:
        distance = jnp.arange(size)[:, None] - jnp.arange(size)
        return _to_one(jnp.exp(-0.5 * (distance / sigma[:, None, None]) ** 2))

    _, height, width, _ = images.shape
    blurred = _resampled(images, weights(height, sigma[:, 0]), weights(width, sigma[:, 1]))
    return jnp.where(_chance(keys[1], images, 0.2), blurred, images)


def _coarsened(images: jax.Array, key: jax.Array) -> jax.Array:
    """Shrinks a fifth of the images, to half of their size at least, and enlarges them again."""
    keys = jax.random.split(key, 2)
    share = _uniform(keys[0], images, 0.5, 1, 1, 1)

    def weights(size: int) -> jax.Array:
        # Triangles as in Pillow's bilinear filter: wide ones to shrink, narrow ones to enlarge.
        coarse = (jnp.arange(size)[:, None] + 0.5) / share - 0.5
        down = _to_one(jnp.maximum(0, 1 - jnp.abs(coarse - jnp.arange(size)) * share))
        fine = (jnp.arange(size)[:, None] + 0.5) * share - 0.5
        exists = jnp.arange(size) < jnp.round(size * share)
        up = _to_one(exists * jnp.maximum(0, 1 - jnp.abs(fine - jnp.arange(size))))
        return up @ down

    coarse = _resampled(images, *(weights(size) for size in images.shape[1:3]))
    return jnp.where(_chance(keys[1], images, 0.2), coarse, images)


def _to_one(weights: jax.Array) -> jax.Array:
    """Scales rows to a sum of one; rows of zeros, of coarse pixels that do not exist, stay."""
    return weights / jnp.maximum(weights.sum(axis=-1, keepdims=True), 1e-6)


def _resampled(images: jax.Array, vertical: jax.Array, horizontal: jax.Array) -> jax.Array:
    """Makes each row and column a weighted sum of all: weights (batch, out, in) for both."""
    return jnp.einsum("bik,bjl,bklc->bijc", vertical, horizontal, images)
