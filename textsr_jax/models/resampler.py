"""The content-adaptive resampler: a network that halves images so that EDSR can enlarge them again.

"Learned image downscaling for upscaling using content adaptive resampler" (Sun and Chen, 2020).
"""

import functools
import math
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from textsr_jax.models.layers.convolution import KERNEL_INIT
from textsr_jax.models.layers.pixels import RGB_MEAN, SCALE, pixel_shuffle, pixel_unshuffle

KERNEL_SIZE = 3 * SCALE + 1
# The trunks work on features of one eighth of the image's size.
_STRIDE = 8

_leaky_relu = functools.partial(nnx.leaky_relu, negative_slope=0.2)


class Downscaled(NamedTuple):
    """What the resampler makes of images, and how; all float32.

    Attributes:
      images: (batch, h, w, 3), neither clipped nor rounded.
      kernels: (batch, h, w, 49), positive, with sum 1: the taps of each pixel's 7x7 kernel, row by
        row.
      offsets_h, offsets_v: (batch, h, w, 49) in [-1, 1]: how far each tap is moved to the right and
        down, in units of `SCALE` pixels.
    """

    images: jax.Array
    kernels: jax.Array
    offsets_h: jax.Array
    offsets_v: jax.Array


class Resampler(nnx.Module):
    """Halves images with a kernel of its own for every pixel.

    The defaults are the published network, 10,645,651 parameters.

    Args:
      stem_channels: channels of the first convolution, at the image's own size.
      channels: channels of the features at a half and a quarter of the size.
      trunk_channels: channels of the features at an eighth, and of the trunks and heads.
      blocks: number of residual blocks.
      dtype: compute dtype of the convolutions; normalising and sampling are always float32.
      rngs: draws the parameters.
    """

    def __init__(
        self,
        stem_channels: int = 64,
        channels: int = 128,
        trunk_channels: int = 256,
        blocks: int = 5,
        *,
        dtype: jnp.dtype | None = None,
        rngs: nnx.Rngs,
    ):
        self.stem = ReflectingConv(3, stem_channels, 5, dtype=dtype, rngs=rngs)
        self.to_half = _linear(4 * stem_channels, channels, dtype, rngs)
        self.to_quarter = _linear(4 * channels, channels, dtype, rngs)
        self.blocks = nnx.List(
            [ResidualBlock(channels, dtype=dtype, rngs=rngs) for _ in range(blocks)]
        )
        self.to_eighth = _linear(4 * channels, trunk_channels, dtype, rngs)
        self.kernels_trunk = Trunk(trunk_channels, dtype=dtype, rngs=rngs)
        self.offsets_trunk = Trunk(trunk_channels, dtype=dtype, rngs=rngs)
        self.kernels_head = Head(trunk_channels, dtype=dtype, rngs=rngs)
        self.offsets_h_head = Head(trunk_channels, dtype=dtype, rngs=rngs)
        self.offsets_v_head = Head(trunk_channels, dtype=dtype, rngs=rngs)

    def __call__(self, hr: jax.Array) -> Downscaled:
        """Halves images, float (batch, H, W, 3), RGB in [0, 1], of sizes that `kernels` takes."""
        kernels, offsets_h, offsets_v = self.kernels(hr)
        images = resample(hr, kernels, offsets_h, offsets_v)
        return Downscaled(images, kernels, offsets_h, offsets_v)

    def kernels(self, hr: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """The kernels and the offsets of their taps, as in `Downscaled`.

        Args:
          hr: float (batch, H, W, 3), RGB in [0, 1]; H and W multiples of 8, 16 at least.

        Raises:
          ValueError: the images have another size.
        """
        height, width = hr.shape[1:3]
        if height % _STRIDE or width % _STRIDE or min(height, width) < 2 * _STRIDE:
            raise ValueError(
                f"images of {height}x{width} pixels: both sides must be multiples of {_STRIDE}, "
                f"{2 * _STRIDE} at least; crop or pad them"
            )
        x = _leaky_relu(self.stem(hr - np.asarray(RGB_MEAN, np.float32)))
        x = self.to_half(pixel_unshuffle(x, 2))
        x = self.to_quarter(pixel_unshuffle(x, 2))
        features = x
        for block in self.blocks:
            features = block(features)
        x = self.to_eighth(pixel_unshuffle(x + features, 2))
        kernels = self.kernels_head(self.kernels_trunk(x)).astype(jnp.float32)
        kernels = jnp.clip(kernels, 1e-6, 1)
        kernels = kernels / kernels.sum(axis=-1, keepdims=True)
        offsets = self.offsets_trunk(x)
        offsets_h = jnp.tanh(self.offsets_h_head(offsets).astype(jnp.float32))
        offsets_v = jnp.tanh(self.offsets_v_head(offsets).astype(jnp.float32))
        return kernels, offsets_h, offsets_v


class ReflectingConv(nnx.Conv):
    """A convolution that keeps the image's size, padded by reflection."""

    def __init__(
        self, inputs: int, outputs: int, size: int, *, dtype: jnp.dtype | None, rngs: nnx.Rngs
    ):
        super().__init__(
            inputs,
            outputs,
            (size, size),
            # XLA's convolution takes four times as long on a CPU where it pads nothing. So it
            # pads a column too many, which is cut off.
            padding=((0, 0), (0, 1)),
            kernel_init=KERNEL_INIT,
            bias_init=_bias_init(inputs * size * size),
            dtype=dtype,
            rngs=rngs,
        )

    # Flax's layer takes a sharding of the output, which nothing here needs.
    def __call__(self, x: jax.Array) -> jax.Array:  # type: ignore[override]
        pad = self.kernel_size[0] // 2
        x = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="reflect")
        return super().__call__(x)[:, :, :-1]


class ResidualBlock(nnx.Module):
    """Convolution, leaky ReLU, convolution, added to the input."""

    def __init__(self, channels: int, *, dtype: jnp.dtype | None, rngs: nnx.Rngs):
        self.conv1 = ReflectingConv(channels, channels, 3, dtype=dtype, rngs=rngs)
        self.conv2 = ReflectingConv(channels, channels, 3, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return x + self.conv2(_leaky_relu(self.conv1(x)))


class Trunk(nnx.Module):
    """Three convolutions at an eighth of the image's size, and one at the downscaled image's."""

    def __init__(self, channels: int, *, dtype: jnp.dtype | None, rngs: nnx.Rngs):
        self.convs = nnx.List(
            [ReflectingConv(channels, channels, 3, dtype=dtype, rngs=rngs) for _ in range(3)]
        )
        scale = _STRIDE // SCALE
        self.upsample = _linear(channels, scale * scale * channels, dtype, rngs)
        self.last = ReflectingConv(channels, channels, 3, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (batch, H / 8, W / 8, channels) to (batch, H / 2, W / 2, channels)."""
        for conv in self.convs:
            x = nnx.relu(conv(x))
        return nnx.relu(self.last(pixel_shuffle(self.upsample(x), _STRIDE // SCALE)))


class Head(nnx.Module):
    """Two convolutions, to one value for each tap of the kernel."""

    def __init__(self, channels: int, *, dtype: jnp.dtype | None, rngs: nnx.Rngs):
        self.conv1 = ReflectingConv(channels, channels, 3, dtype=dtype, rngs=rngs)
        self.conv2 = ReflectingConv(channels, KERNEL_SIZE**2, 3, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.conv2(nnx.relu(self.conv1(x)))


def resample(
    hr: jax.Array, kernels: jax.Array, offsets_h: jax.Array, offsets_v: jax.Array
) -> jax.Array:
    """Downscales images, each pixel by its own kernel; differentiable in all arguments.

    A pixel is a sum over its taps: the kernel times a bilinear sample of the image, which is padded
    by reflection. The taps are one pixel of the image apart, around the new pixel's centre. Each is
    moved by its offset. Outside the padding its border is repeated, as published: a sample there
    keeps the weights of its place before it moved to the border.

    Args:
      hr: float (batch, H, W, channels); H and W at least 4.
      kernels: float (batch, h, w, 49), weights of the taps, row by row.
      offsets_h, offsets_v: like `kernels`, the taps' offsets to the right and down, in units of
        `SCALE` pixels, without bounds.

    Returns:
      float32 (batch, h, w, channels), neither clipped nor rounded.
    """
    batch, height, width, channels = hr.shape
    size = math.isqrt(kernels.shape[-1])
    pad = size // 2
    padded = jnp.pad(
        hr.astype(jnp.float32), ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="reflect"
    )
    rows, columns = height + 2 * pad, width + 2 * pad
    pixels = padded.reshape(batch, rows * columns, channels)
    y_centre = _first_tap(kernels.shape[1], height)[:, None]
    x_centre = _first_tap(kernels.shape[2], width)

    def at(row: jax.Array, column: jax.Array) -> jax.Array:
        index = (row * columns + column).reshape(batch, -1, 1)
        values = jnp.take_along_axis(pixels, index, axis=1, mode="promise_in_bounds")
        return values.reshape(*row.shape, channels)

    # One tap after another, computed again in the backward pass: all at once would hold 49 images.
    @jax.checkpoint
    def add_tap(total: jax.Array, tap: tuple[jax.Array, ...]) -> tuple[jax.Array, None]:
        index, kernel, offset_h, offset_v = tap
        top, bottom, below = _between(
            cast(jax.Array, y_centre + index // size + SCALE * offset_v), rows
        )
        left, right, beside = _between(
            cast(jax.Array, x_centre + index % size + SCALE * offset_h), columns
        )
        upper = (1 - beside) * at(top, left) + beside * at(top, right)
        lower = (1 - beside) * at(bottom, left) + beside * at(bottom, right)
        return total + kernel[..., None] * ((1 - below) * upper + below * lower), None

    taps = [jnp.moveaxis(x.astype(jnp.float32), -1, 0) for x in (kernels, offsets_h, offsets_v)]
    start = jnp.zeros((*kernels.shape[:3], channels), jnp.float32)
    return jax.lax.scan(add_tap, start, (jnp.arange(size * size), *taps))[0]


def _first_tap(outputs: int, inputs: int) -> np.ndarray:
    # The place of each new pixel's first tap in the padded image, before it is moved.
    return ((np.arange(outputs) + 0.5) / outputs * inputs - 0.5).astype(np.float32)


def _between(position: jax.Array, size: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The two pixels around a position, and the second one's weight, with an axis for channels."""
    low = jnp.floor(position)
    first = jnp.clip(low.astype(jnp.int32), 0, size - 1)
    return first, jnp.minimum(first + 1, size - 1), (position - low)[..., None]


def _linear(inputs: int, outputs: int, dtype: jnp.dtype | None, rngs: nnx.Rngs) -> nnx.Linear:
    return nnx.Linear(
        inputs,
        outputs,
        kernel_init=KERNEL_INIT,
        bias_init=_bias_init(inputs),
        dtype=dtype,
        rngs=rngs,
    )


def _bias_init(inputs: int) -> nnx.Initializer:
    """PyTorch's default for biases: uniform within 1 / sqrt(fan in).

    With zeros all ReLUs of the offsets' trunk died in some ten steps of training, at small widths
    and at the published ones. The offsets then became the same for every pixel.
    """
    bound = 1 / math.sqrt(inputs)
    return lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -bound, bound)
