"""The resampler and EDSR as one network: HR images are halved to 8-bit LR images, and enlarged.

"Learned image downscaling for upscaling using content adaptive resampler" (Sun and Chen, 2020).
"""

import jax
import jax.numpy as jnp
from flax import nnx

from textsr_jax.models.resampler import Downscaled, Resampler


def round_to_8_bits(images: jax.Array) -> jax.Array:
    """Rounds images in [0, 1] as an 8-bit file does: clipped, and multiples of 1/255.

    It is a straight-through estimator: the gradient passes as if nothing had been rounded.
    """
    rounded = jnp.round(jnp.clip(images, 0, 1) * 255) / 255
    # The difference is exactly 0.
    return jax.lax.stop_gradient(rounded) + (images - jax.lax.stop_gradient(images))


class Rescaler(nnx.Module):
    """Halves images, rounds them to 8 bits, and enlarges them again.

    Args:
      resampler: halves images.
      name: the super-resolution network's name, its key in the tree beside `resampler`.
      network: doubles images.
    """

    def __init__(self, resampler: Resampler, name: str, network: nnx.Module):
        self.name = name
        self.resampler = resampler
        setattr(self, name, network)

    def __call__(self, hr: jax.Array, *, train: bool = False) -> tuple[jax.Array, Downscaled]:
        """Halves and enlarges images.

        Args:
          hr: float (batch, H, W, 3), RGB in [0, 1]; H and W multiples of 8, 16 at least.
          train: whether gradients will be taken.

        Returns:
          The SR images (batch, H, W, 3), not clipped, and the resampler's results, with `images`
          rounded to 8 bits.

        Raises:
          ValueError: the images have another size.
        """
        made = self.resampler(hr)
        made = made._replace(images=round_to_8_bits(made.images))
        return self.enlarge(made.images, train=train), made

    def enlarge(self, lr: jax.Array, *, train: bool = False) -> jax.Array:
        """Enlarges any LR images, float (batch, h, w, 3), to (batch, 2 h, 2 w, 3), not clipped."""
        return getattr(self, self.name)(lr, train=train)
