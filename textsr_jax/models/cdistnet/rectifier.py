"""CDistNet's rectifier: control points bend a thin-plate spline, which straightens the image.

After "Robust scene text recognition with automatic rectification" (RARE, Shi et al., 2016).
"""

import functools
import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from textsr_jax.models.cdistnet.attention import linear
from textsr_jax.models.layers.pooling import max_pool
from textsr_jax.models.layers.resnet import ConvNorm
from textsr_jax.models.layers.sampling import bilinear_sample

NUM_CONTROL_POINTS = 20


class Rectifier(nnx.Module):
    """The rectifier of RARE: 20 control points bend a thin-plate spline.

    It starts very nearly as the identity: the last layer has a zero kernel, and its bias is the
    target points. The published code slants the bias, and then draws that kernel at random by
    accident.

    Args:
      channels: channels of the four convolutions.
      features: size of the hidden layer.
      dtype: compute dtype. The control points and the spline are always float32.
      rngs: draws the parameters.
    """

    def __init__(
        self,
        channels: Sequence[int],
        features: int,
        *,
        dtype: jnp.dtype | None = None,
        rngs: nnx.Rngs,
    ):
        sizes = (3, *channels)
        self.convs = nnx.List(
            ConvNorm(inputs, outputs, 3, dtype=dtype, rngs=rngs)
            for inputs, outputs in itertools.pairwise(sizes)
        )
        self.fc1 = linear(channels[-1], features, dtype=dtype, rngs=rngs)
        self.fc2 = nnx.Linear(
            features,
            2 * NUM_CONTROL_POINTS,
            kernel_init=nnx.initializers.zeros,
            bias_init=lambda key, shape, dtype: jnp.asarray(target_points().reshape(shape), dtype),
            dtype=jnp.float32,
            rngs=rngs,
        )

    def control_points(self, values: jax.Array, *, train: bool = False) -> jax.Array:
        """Where the target points lie in the images: float32 (batch, 20, 2), x and y in [-1, 1]."""
        x = values
        for index, conv in enumerate(self.convs):
            if index:
                x = max_pool(x)
            x = jax.nn.relu(conv(x, train=train))
        x = jax.nn.relu(self.fc1(x.mean((1, 2))))
        return self.fc2(x).reshape(-1, NUM_CONTROL_POINTS, 2)

    def __call__(self, values: jax.Array, *, train: bool = False) -> jax.Array:
        """Rectifies values of any scale, (batch, H, W, 3). The border is repeated outside."""
        batch, height, width, _ = values.shape
        grid = jnp.einsum(
            "pk,bkc->cbp",
            _spline(height, width),
            self.control_points(values, train=train),
            precision=jax.lax.Precision.HIGHEST,
        ).reshape(2, batch, height, width)
        x, y = (grid[0] + 1) * ((width - 1) / 2), (grid[1] + 1) * ((height - 1) / 2)
        return bilinear_sample(values, x, y, padding="border")


def target_points() -> np.ndarray:
    """The control points' targets, float64 (20, 2): the top edge from left to right, the bottom."""
    x = np.linspace(-1, 1, NUM_CONTROL_POINTS // 2)
    return np.stack([np.tile(x, 2), np.repeat([-1.0, 1.0], len(x))], axis=1)


@functools.lru_cache
def _spline(height: int, width: int) -> np.ndarray:
    """The matrix (H x W, 20) that maps control points to the source of every target pixel."""
    target = target_points()
    distance = np.linalg.norm(target[:, None] - target, axis=2)
    np.fill_diagonal(distance, 1)
    system = np.zeros((NUM_CONTROL_POINTS + 3, NUM_CONTROL_POINTS + 3))
    system[:-3, 0] = 1
    system[:-3, 1:3] = target
    system[:-3, 3:] = distance**2 * np.log(distance)
    system[-3:-1, 3:] = target.T
    system[-1, 3:] = 1
    x, y = ((2 * np.arange(size) + 1) / size - 1 for size in (width, height))
    pixels = np.stack(np.meshgrid(x, y), axis=2).reshape(-1, 2)
    distance = np.linalg.norm(pixels[:, None] - target, axis=2)
    basis = np.concatenate(
        [np.ones((len(pixels), 1)), pixels, distance**2 * np.log(distance + 1e-6)], axis=1
    )
    # The published code rounds both factors to float32; their product is exact here.
    basis, inverse = (a.astype(np.float32).astype(float) for a in (basis, np.linalg.inv(system)))
    return (basis @ inverse[:, :NUM_CONTROL_POINTS]).astype(np.float32)
