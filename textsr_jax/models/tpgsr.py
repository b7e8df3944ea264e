"""TPGSR: TSRN whose blocks are given what a recogniser read in the image, letter by letter.

"Text prior guided scene text image super-resolution" (Ma et al., 2023), as its published code
computes it. `models.text_prior` has the recogniser and the stages.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from textsr_jax.errors import UserError
from textsr_jax.models.layers.convolution import KERNEL_INIT
from textsr_jax.models.srresnet import ConvPair, SRResNet
from textsr_jax.models.tsrn import GRUBlock

# Channels between the transposed convolutions of the interpreter, and their strides.
_CHANNELS = (512, 128, 64)
_STRIDES = (2, 2, 2, 1)


class TPGSR(SRResNet):
    """TPGSR for scale 2; any image size.

    The defaults are the published network, 1,690,821 parameters without the recogniser. 568,320 of
    them are never used: two of three rows of the interpreter's kernels.

    Args:
      blocks: number of sequential residual blocks.
      channels: width of every block, even.
      prior_channels: width of the interpreted prior.
      classes: classes of the recogniser, the blank among them.
      image_channels: 4 with a mask, as published, else 3.
      dtype: compute dtype; the parameters stay float32.
      rngs: draws the parameters, as PyTorch does by default.

    Raises:
      UserError: `channels` is odd.
    """

    def __init__(
        self,
        blocks: int = 5,
        channels: int = 64,
        prior_channels: int = 32,
        classes: int = 37,
        *,
        image_channels: int = 4,
        dtype: jnp.dtype | None = None,
        rngs: nnx.Rngs,
    ):
        if channels % 2:
            raise UserError(
                f"config.sr.tpgsr.channels={channels}: must be even; take another width"
            )

        def make_block() -> GuidedBlock:
            return GuidedBlock(channels, prior_channels, dtype=dtype, rngs=rngs)

        super().__init__(
            make_block, blocks, channels, image_channels=image_channels, dtype=dtype, rngs=rngs
        )
        self.interpreter = PriorInterpreter(classes, prior_channels, dtype=dtype, rngs=rngs)

    def context(
        self, head: jax.Array, *beside: jax.Array, train: bool, rngs: nnx.Rngs | None
    ) -> tuple[jax.Array, ...]:
        """The interpreted prior for every block.

        Args:
          head: the first features, (batch, H, W, channels).
          beside: one array, the text prior: float32 (batch, 26, classes), the probabilities of each
            frame, from left to right. All zeros say nothing.
          train: normalises by the batch and updates the statistics.
          rngs: not used; there is no dropout inside.
        """
        del rngs
        (prior,) = beside
        _, height, width, _ = head.shape
        return (self.interpreter(prior, (height, width), train=train),)


class GuidedBlock(nnx.Module):
    """TSRN's block. The GRU along the columns also reads the interpreted prior."""

    def __init__(
        self, channels: int, prior_channels: int, *, dtype: jnp.dtype | None, rngs: nnx.Rngs
    ):
        self.convs = ConvPair(channels, dtype=dtype, rngs=rngs)
        self.gru1 = GRUBlock(channels, channels + prior_channels, dtype=dtype, rngs=rngs)
        self.gru2 = GRUBlock(channels, dtype=dtype, rngs=rngs)

    def __call__(
        self,
        x: jax.Array,
        prior: jax.Array,
        *,
        train: bool,
        rngs: nnx.Rngs | None = None,
    ) -> jax.Array:
        del rngs  # no dropout here
        residual = jnp.concatenate([self.convs(x, train=train), prior], axis=-1)
        return self.gru2(x + self.gru1(residual, axis=1), axis=2)


class PriorInterpreter(nnx.Module):
    """Turns a text prior into features of every pixel, by four transposed convolutions.

    Args:
      classes: width of a frame of the prior.
      channels: width of the features.
      dtype: compute dtype.
      rngs: draws the parameters.
    """

    def __init__(self, classes: int, channels: int, *, dtype: jnp.dtype | None, rngs: nnx.Rngs):
        widths = (*_CHANNELS, channels)
        self.convs = nnx.List(
            TransposedConv(inputs, outputs, stride, dtype=dtype, rngs=rngs)
            for inputs, outputs, stride in zip((classes, *_CHANNELS), widths, _STRIDES, strict=True)
        )
        self.bns = nnx.List(
            nnx.BatchNorm(width, momentum=0.9, epsilon=1e-5, rngs=rngs) for width in widths
        )

    def __call__(self, prior: jax.Array, size: tuple[int, int], *, train: bool) -> jax.Array:
        """Interprets `prior`, (batch, frames, classes); `size` is (H, W) of the image.

        Returns:
          float32 (batch, H, W, channels); all rows of an image are equal.
        """
        x = prior
        for conv, bn in zip(self.convs, self.bns, strict=True):
            x = nnx.relu(bn(conv(x), use_running_average=not train))
        matrix = _linear_matrix(x.shape[1], size[1])
        x = jnp.einsum("bfc,wf->bwc", x, matrix, precision=jax.lax.Precision.HIGHEST)
        return jnp.broadcast_to(x[:, None], (x.shape[0], size[0], *x.shape[1:]))


class TransposedConv(nnx.Module):
    """A 3x3 transposed convolution of rows, without bias: PyTorch's, for inputs of height 1.

    The kernel, (3, 3, outputs, inputs), is that of the published layer. On one row, with one row of
    padding, it uses the middle row alone. Stride 2 has padding 1, and stride 1 has none.
    """

    def __init__(
        self, inputs: int, outputs: int, stride: int, *, dtype: jnp.dtype | None, rngs: nnx.Rngs
    ):
        self.stride, self.dtype = stride, dtype
        # PyTorch takes the fan in of transposed convolutions from the outputs.
        shape = (3, 3, outputs, inputs)
        self.kernel = nnx.Param(KERNEL_INIT(rngs.params(), shape, jnp.float32))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (batch, frames, inputs) to (batch, 2 frames - 1, outputs), by stride 1 to + 2."""
        x = x.astype(self.dtype or jnp.float32)
        if self.stride == 2:
            # Zeros between frames. jax2onnx (0.13) takes no `lhs_dilation`, which would do it.
            pairs = jnp.stack([x, jnp.zeros_like(x)], axis=2)
            x = pairs.reshape(x.shape[0], 2 * x.shape[1], x.shape[2])[:, :-1]
        # The middle row, mirrored.
        kernel = self.kernel[...][1:2, ::-1].swapaxes(2, 3).astype(x.dtype)
        padding = 1 if self.stride == 2 else 2
        made = jax.lax.conv_general_dilated(
            x[:, None],
            kernel,
            (1, 1),
            [(0, 0), (padding, padding)],
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        return made[:, 0]


@functools.lru_cache
def _linear_matrix(inputs: int, outputs: int) -> np.ndarray:
    """The matrix (outputs, inputs) of linear interpolation with both ends kept, float32.

    PyTorch's `interpolate` with `align_corners=True`, along one axis.
    """
    position = np.arange(outputs) * ((inputs - 1) / max(1, outputs - 1))
    left = np.minimum(position.astype(int), max(0, inputs - 2))
    matrix = np.zeros((outputs, inputs), np.float32)
    rows = np.arange(outputs)
    np.add.at(matrix, (rows, left), 1 - (position - left))
    np.add.at(matrix, (rows, np.minimum(left + 1, inputs - 1)), position - left)
    matrix.flags.writeable = False
    return matrix
