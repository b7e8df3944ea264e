"""The loss of learned downscaling: the image error, and penalties on the resampler's offsets.

"Learned image downscaling for upscaling using content adaptive resampler" (Sun and Chen, 2020).
"""

import math

import jax
import jax.numpy as jnp
import numpy as np


def offset_distance(offsets_h: jax.Array, offsets_v: jax.Array) -> jax.Array:
    """How far the resampler moves its taps; a penalty keeps them in place without a reason to move.

    A kernel has m x m taps. Its distance is the sum over taps (i, j) of w(i, j) sqrt(dx^2 + dy^2).
    The weight w is the distance from (i, j), counted from 0, to (m / 2, m / 2), divided by
    m / sqrt(2). That middle is half a tap behind the central one, as the paper prints it. The
    paper's constant, 1 for each tap, has no gradient and is left out.

    Args:
      offsets_h, offsets_v: float (batch, h, w, m m), to the right and down, in units of the scale.

    Returns:
      The mean over all kernels, in the same units; a float32 scalar. Its gradient is 0 at offsets
      of 0.
    """
    size = math.isqrt(offsets_h.shape[-1])
    place = np.arange(size) - size / 2
    weights = np.hypot(place[:, None], place) / (size / math.sqrt(2))
    squared = offsets_h**2 + offsets_v**2
    moved = squared > 0
    # The square root has no gradient at 0, and 0 times infinity would be NaN.
    distance = jnp.where(moved, jnp.sqrt(jnp.where(moved, squared, 1)), 0)
    return (distance * weights.reshape(-1).astype(np.float32)).sum(axis=-1).mean()


def offset_variation(kernels: jax.Array, offsets_h: jax.Array, offsets_v: jax.Array) -> jax.Array:
    """The partial total variation of the resampler's offsets; a penalty moves neighbours alike.

    It adds the change of `offsets_h` from each row to the next, and of `offsets_v` from each column
    to the next: those make edges jagged. Each tap is weighted by the kernel of the first of the two
    pixels. The paper sums over the kernels of an image. Here the sum is divided by their number, so
    that its weight does not depend on the size of the crops.

    Args:
      kernels: float (batch, h, w, taps), with sum 1.
      offsets_h, offsets_v: as `offset_distance` takes them.

    Returns:
      The mean over the batch, in the units of the offsets; a float32 scalar.
    """
    batch, height, width, _ = kernels.shape
    down = jnp.abs(offsets_h[:, 1:] - offsets_h[:, :-1]) * kernels[:, :-1]
    right = jnp.abs(offsets_v[:, :, 1:] - offsets_v[:, :, :-1]) * kernels[:, :, :-1]
    return (down.sum() + right.sum()) / (batch * height * width)


def rescaling_loss(
    sr: jax.Array,
    hr: jax.Array,
    kernels: jax.Array,
    offsets_h: jax.Array,
    offsets_v: jax.Array,
    *,
    distance_weight: float,
    variation_weight: float,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The loss of a resampler and the network that enlarges its images: L1 and two penalties.

    Args:
      sr, hr: float (batch, H, W, 3), RGB in [0, 1].
      kernels, offsets_h, offsets_v: as `offset_variation` takes them.
      distance_weight, variation_weight: of `offset_distance` and `offset_variation` in the total.

    Returns:
      The total, and its parts before weighting, {"l1", "offset_distance", "offset_variation"}; all
      float32 scalars.
    """
    parts = {
        "l1": jnp.abs(sr - hr).mean(),
        "offset_distance": offset_distance(offsets_h, offsets_v),
        "offset_variation": offset_variation(kernels, offsets_h, offsets_v),
    }
    total = (
        parts["l1"]
        + distance_weight * parts["offset_distance"]
        + variation_weight * parts["offset_variation"]
    )
    return total, parts
