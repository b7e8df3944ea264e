"""Bicubic enlargement and reduction, the baselines that learned models are compared with."""

import jax
from flax import nnx


def enlarge(lr: jax.Array, scale: int = 2) -> jax.Array:
    """Enlarges images, float (batch, height, width, channels), by `scale`, without clipping.

    The filter is Keys' cubic with a = -0.5, as Pillow has it.
    """
    batch, height, width, channels = lr.shape
    return jax.image.resize(lr, (batch, scale * height, scale * width, channels), "bicubic")


def reduce(hr: jax.Array, scale: int = 2) -> jax.Array:
    """Reduces images, float (batch, height, width, channels), by `scale`, without clipping.

    The filter is Keys' cubic widened to `scale`, as in Pillow's bicubic filter and in MATLAB's
    imresize. `scale` must divide both sides.
    """
    batch, height, width, channels = hr.shape
    return jax.image.resize(hr, (batch, height // scale, width // scale, channels), "bicubic")


class Bicubic(nnx.Module):
    """`enlarge` as a super-resolution network, which has no parameters.

    Args:
      dtype, rngs: not used; every network takes them.
    """

    def __init__(self, *, dtype: jax.typing.DTypeLike | None = None, rngs: nnx.Rngs):
        del dtype, rngs

    def __call__(
        self, lr: jax.Array, *, train: bool = False, rngs: nnx.Rngs | None = None
    ) -> jax.Array:
        """Enlarges float (batch, H, W, 3) in [0, 1] to (batch, 2 H, 2 W, 3), not clipped."""
        del train, rngs
        return enlarge(lr)
