"""Turned words, as TATT's published training makes them."""

import jax
import jax.numpy as jnp

from textsr_jax.models.layers.sampling import bilinear_sample


def turn(images: jax.Array, angles: jax.Array, shapes: jax.Array) -> jax.Array:
    """Turns images about their centres; the outside is black.

    "A text attention network for spatial deformation robust scene text image super-resolution" (Ma
    et al., 2022), as published. The published code takes the image's height over its width, h,
    from 0.05 to 0.45 instead of the true 0.25, so that the images are sheared a little too.

    Args:
      images: float (batch, H, W, channels).
      angles: float (batch,), radians.
      shapes: float (batch,), [0, 1], which h = H / W - 0.2 + 0.4 x shape each image gets.

    Returns:
      The turned images, like `images`.
    """
    height, width = images.shape[1:3]
    ratio = (height / width + 0.4 * shapes - 0.2)[:, None, None]
    cosine, sine = (function(angles)[:, None, None] for function in (jnp.cos, jnp.sin))
    x = ((2 * jnp.arange(width) + 1) / width - 1)[None, None]
    y = ((2 * jnp.arange(height) + 1) / height - 1)[None, :, None]
    across, down = cosine * x + sine * ratio * y, cosine * y - sine / ratio * x
    columns, rows = ((across + 1) * width - 1) / 2, ((down + 1) * height - 1) / 2
    return bilinear_sample(images, columns, rows, "zeros")
