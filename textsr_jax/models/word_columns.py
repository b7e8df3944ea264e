"""`WordColumns`: tells which columns of a line of text lie inside a word, and which between words.

Strided convolutions shrink the rows; dilated ones over columns see how wide the line's gaps are
(Yu and Koltun, "Multi-scale context aggregation by dilated convolutions", 2016).
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

# Rows of a line, and columns of it for one of the output.
ROWS, STEP = 32, 2

# Of the 2-D convolutions: channels, and strides of rows and columns.
_STEM = ((12, (2, 2)), (20, (2, 1)), (28, (2, 1)))
_ROWS_LEFT = 4


class WordColumns(nnx.Module):
    """Lines, float32 (batch, 32, columns), to log odds, float32 (batch, columns / 2).

    The log odds say that a column lies between the first and the last ink of one word. The level of
    a line is 0 in the mean and has a deviation of 1; light text on dark ground and dark text on
    light ground are alike. The number of columns is even. 40,969 parameters by default.

    Args:
      width: channels of the dilated layers.
      dilations: of these layers, in columns of the output.
      rngs: draws the parameters.
    """

    def __init__(
        self,
        width: int = 40,
        dilations: Sequence[int] = (1, 2, 4, 8, 16, 32),
        *,
        rngs: nnx.Rngs,
    ):
        init = nnx.initializers.he_normal()
        inputs, stem = 1, []
        for channels, _ in _STEM:
            stem.append(nnx.Linear(9 * inputs, channels, kernel_init=init, rngs=rngs))
            inputs = channels
        self.stem = nnx.List(stem)
        self.entry = nnx.Linear(_ROWS_LEFT * inputs, width, kernel_init=init, rngs=rngs)
        self.context = nnx.List(
            nnx.Linear(3 * width, width, kernel_init=init, rngs=rngs) for _ in dilations
        )
        self.head = nnx.Linear(width, 1, rngs=rngs)
        self.dilations = tuple(dilations)

    def __call__(self, lines: jax.Array) -> jax.Array:
        """Returns the log odds of each column."""
        x = lines[..., None]
        for layer, (_, strides) in zip(self.stem, _STEM, strict=True):
            x = nnx.relu(layer(_neighbours(x, strides)))
        x = x.swapaxes(1, 2)
        x = nnx.relu(self.entry(x.reshape(*x.shape[:2], -1)))
        for layer, dilation in zip(self.context, self.dilations, strict=True):
            padded = jnp.pad(x, ((0, 0), (dilation, dilation), (0, 0)))
            before, after = padded[:, : x.shape[1]], padded[:, 2 * dilation :]
            x = x + nnx.relu(layer(jnp.concatenate([before, x, after], axis=-1)))
        return self.head(x)[..., 0]


def _neighbours(x: jax.Array, strides: tuple[int, int]) -> jax.Array:
    """Returns the 3x3 pixels around each pixel of a grid: (batch, rows, columns, 9 channels).

    A matrix product follows. It trains faster on CPUs than convolutions of so few channels.
    """
    height, width = x.shape[1:3]
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    down, right = strides
    taps = [
        padded[:, row : row + height : down, column : column + width : right]
        for row in range(3)
        for column in range(3)
    ]
    return jnp.concatenate(taps, axis=-1)
