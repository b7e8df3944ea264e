"""STN: the thin-plate-spline rectifier in front of the super-resolution networks.

As published with TSRN and TBSRN, after "Robust scene text recognition with automatic
rectification" (Shi et al., 2016).
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from textsr_jax.models.layers.convolution import Conv
from textsr_jax.models.layers.pooling import max_pool
from textsr_jax.models.layers.sampling import bilinear_sample

# Max pooling after each convolution; the last has none.
_POOLING = ((2, 2), (2, 2), (2, 2), (2, 2), (1, 2), None)


def canonical_points(count: int, margin: float) -> np.ndarray:
    """Control points (x, y) along the top edge, then the bottom edge; float64 (count, 2) in [0, 1].

    Both rows run from left to right, at a distance of `margin` from the edges.
    """
    x = np.linspace(margin, 1 - margin, count // 2)
    rows = [np.stack([x, np.full_like(x, y)], axis=1) for y in (margin, 1 - margin)]
    return np.concatenate(rows)


def _radial(distance_squared: np.ndarray) -> np.ndarray:
    """The thin plate's 0.5 r^2 log r^2, 0 at r = 0."""
    return 0.5 * distance_squared * np.log(np.where(distance_squared > 0, distance_squared, 1))


@functools.lru_cache
def _spline_matrix(height: int, width: int, count: int) -> np.ndarray:
    """The matrix (height * width, count) from source control points to the source of every pixel.

    The spline maps the canonical points with margin 0.05 to the source's. It is solved here, in
    float64, for these fixed targets. One product is left for the network.
    """
    targets = canonical_points(count, 0.05)

    def representation(points: np.ndarray) -> np.ndarray:
        distances = ((points[:, None] - targets) ** 2).sum(axis=2)
        return np.concatenate([_radial(distances), np.ones((len(points), 1)), points], axis=1)

    system = np.zeros((count + 3, count + 3))
    system[:count] = representation(targets)
    system[count:, :count] = system[:count, count:].T
    # Columns after `count` would meet the zeros of the spline's side conditions.
    solution = np.linalg.inv(system)[:, :count]
    y, x = np.mgrid[0:height, 0:width].reshape(2, -1)
    pixels = np.stack([x / (width - 1), y / (height - 1)], axis=1)
    matrix = (representation(pixels) @ solution).astype(np.float32)
    matrix.flags.writeable = False
    return matrix


def rectify(images: jax.Array, control_points: jax.Array) -> jax.Array:
    """Warps `images` so that the control points move to the top and bottom edges.

    Args:
      images: float (batch, H, W, channels).
      control_points: float32 (batch, N, 2), (x, y) in [0, 1] of the image: N / 2 points of the
        text's upper border from left to right, then those of the lower border.

    Returns:
      The rectified images, like `images`. Places outside the image are clipped to its border.
    """
    batch, height, width, _ = images.shape
    matrix = _spline_matrix(height, width, control_points.shape[1])
    # Positions need all their digits, on accelerators with coarse products too.
    source = jnp.einsum("pn,bnk->kbp", matrix, control_points, precision=jax.lax.Precision.HIGHEST)
    x, y = jnp.clip(source, 0, 1).reshape(2, batch, height, width)
    return bilinear_sample(images, x * (width - 1), y * (height - 1), "zeros")


class ConvBlock(nnx.Module):
    """3x3 convolution, BatchNorm, ReLU."""

    def __init__(self, inputs: int, outputs: int, *, dtype: jnp.dtype | None, rngs: nnx.Rngs):
        # He's initialisation by fan out, as published.
        init = jax.nn.initializers.variance_scaling(2, "fan_out", "normal")
        self.conv = Conv(inputs, outputs, (3, 3), kernel_init=init, dtype=dtype, rngs=rngs)
        self.bn = nnx.BatchNorm(outputs, momentum=0.9, epsilon=1e-5, rngs=rngs)

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        return nnx.relu(self.bn(self.conv(x), use_running_average=not train))


class STN(nnx.Module):
    """Finds the upper and the lower border of the text in an image, and straightens the image.

    The defaults are the published network, 1,854,760 parameters.

    Args:
      channels: channels of the six convolutions.
      features: width of the fully connected layer.
      num_control_points: how many control points; even.
      image_size: (height, width) of the images; at least 16 x 32.
      image_channels: channels of the images; 4 with a mask (`layers.pixels.with_mask`).
      dtype: compute dtype of the network; the warp is always float32.
      rngs: draws the parameters.
    """

    def __init__(
        self,
        channels: tuple[int, int, int, int, int, int] = (32, 64, 128, 256, 256, 256),
        features: int = 512,
        num_control_points: int = 20,
        image_size: tuple[int, int] = (16, 64),
        image_channels: int = 3,
        *,
        dtype: jnp.dtype | None = None,
        rngs: nnx.Rngs,
    ):
        self.convs = nnx.List(
            [
                ConvBlock(inputs, outputs, dtype=dtype, rngs=rngs)
                for inputs, outputs in zip((image_channels, *channels[:-1]), channels, strict=True)
            ]
        )
        height, width = image_size
        self.fc1 = nnx.Linear(
            (height // 16) * (width // 32) * channels[-1],
            features,
            kernel_init=jax.nn.initializers.normal(0.001),
            dtype=dtype,
            rngs=rngs,
        )
        self.fc1_bn = nnx.BatchNorm(features, momentum=0.9, epsilon=1e-5, rngs=rngs)
        start = canonical_points(num_control_points, 0.01).ravel()
        # With a kernel of zeros, training starts at the canonical points for every image.
        self.fc2 = nnx.Linear(
            features,
            2 * num_control_points,
            kernel_init=jax.nn.initializers.zeros,
            bias_init=lambda key, shape, dtype: jnp.asarray(start, dtype),
            rngs=rngs,
        )

    def control_points(self, images: jax.Array, train: bool) -> jax.Array:
        """Finds the text's borders.

        Args:
          images: float (batch, height, width, image channels), in [0, 1], of the constructor's
            `image_size`.
          train: normalises by the batch and updates the statistics.

        Returns:
          float32 (batch, num_control_points, 2): (x, y), [0, 1] across the image: the upper border
          from left to right, then the lower border. Points may be outside the image.
        """
        x = images
        for conv, window in zip(self.convs, _POOLING, strict=True):
            x = conv(x, train=train)
            if window:
                x = max_pool(x, window)
        # Flattened channel by channel, as the published linear layer takes it.
        x = self.fc1(x.transpose(0, 3, 1, 2).reshape(x.shape[0], -1))
        x = nnx.relu(self.fc1_bn(x, use_running_average=not train))
        return self.fc2(0.1 * x).reshape(x.shape[0], -1, 2)

    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Rectifies images, float (batch, height, width, channels); they keep their shape."""
        return rectify(images, self.control_points(images, train))
