"""The losses of SR networks that a text prior guides, beside the error of the images.

"Text prior guided scene text image super-resolution" (Ma et al., 2023), as its published code
computes them.
"""

import jax
import jax.numpy as jnp

# The published weight of `gradient_prior_loss` beside the MSE.
GRADIENT_WEIGHT = 1e-4


def gradient_prior_loss(sr: jax.Array, hr: jax.Array) -> jax.Array:
    """Mean absolute difference of the images' gradient magnitudes; a float32 scalar.

    "Scene text image super-resolution in the wild" (Wang et al., 2020). Gradients are central
    differences; outside the image is black.

    Args:
      sr, hr: float (batch, H, W, 3), RGB in [0, 1].
    """
    return jnp.abs(_gradient(sr) - _gradient(hr)).mean()


def _gradient(images: jax.Array) -> jax.Array:
    rows = jnp.pad(images, ((0, 0), (1, 1), (0, 0), (0, 0)))
    columns = jnp.pad(images, ((0, 0), (0, 0), (1, 1), (0, 0)))
    down = 0.5 * (rows[:, 2:] - rows[:, :-2])
    across = 0.5 * (columns[:, :, 2:] - columns[:, :, :-2])
    return jnp.sqrt(across**2 + down**2 + 1e-6)


def text_prior_loss(prior: jax.Array, truth: jax.Array) -> jax.Array:
    """How far a text prior is from that of the HR images; a float32 scalar.

    Mean absolute difference plus KL divergence. Both are means over frames and classes, as the
    published code takes PyTorch's default, so the divergence is 1 / classes of the usual one.

    Args:
      prior: float (batch, frames, classes), probabilities.
      truth: the same of the HR images, from the frozen teacher. No gradient goes there.
    """
    truth = jax.lax.stop_gradient(truth)
    likely = truth + 1e-20
    divergence = likely * (jnp.log(likely) - jnp.log(prior + 1e-20))
    return jnp.abs(truth - prior).mean() + divergence.mean()
