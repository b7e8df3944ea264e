"""LEMMA: TSRN whose blocks are told what ABINet reads in the image, and where the letters are.

"Towards robust scene text image super-resolution via explicit location enhancement" (Guo et al.,
2023), as its published code computes it. `models.located` has the recogniser.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from textsr_jax.errors import UserError
from textsr_jax.models.abinet import CLASSES
from textsr_jax.models.layers.attention import AttentionLayer
from textsr_jax.models.layers.convolution import KERNEL_INIT, Conv
from textsr_jax.models.layers.positions import sinusoid_table
from textsr_jax.models.srresnet import ConvPair, SRResNet
from textsr_jax.models.tsrn import BidirectionalGRU

_XAVIER = jax.nn.initializers.xavier_uniform()
# The narrow end of the convolutions that turn locations into weights.
_NARROW = 32


class LEMMA(SRResNet):
    """LEMMA for scale 2, for images of one size.

    The defaults are the published network, 1,704,571 parameters without the recogniser.

    Args:
      blocks: number of residual blocks.
      channels: width of every block; even, and a multiple of `heads`.
      heads: of attention.
      encoder_layers: layers of the encoder of what was read.
      decoder_layers: layers in which letters look at pixels, and pixels at letters.
      selected: pixels that count as letters: those that the recogniser looks at most.
      dropout: rate of dropout in the guidance in training.
      image_size: (height, width) of LR images.
      image_channels: 4 with a mask, as published, else 3.
      dtype: compute dtype; the parameters stay float32.
      rngs: draws the parameters.

    Raises:
      UserError: `channels` is odd or no multiple of `heads`.
    """

    def __init__(
        self,
        blocks: int = 5,
        channels: int = 64,
        heads: int = 4,
        encoder_layers: int = 2,
        decoder_layers: int = 3,
        selected: int = 500,
        dropout: float = 0.1,
        image_size: tuple[int, int] = (16, 64),
        *,
        image_channels: int = 4,
        dtype: jnp.dtype | None = None,
        rngs: nnx.Rngs,
    ):
        if channels % 2 or channels % heads:
            raise UserError(
                f"config.sr.lemma.channels={channels}: must be even and a multiple of "
                f"config.sr.lemma.heads={heads}; change one of them"
            )

        def make_block() -> FusedBlock:
            return FusedBlock(channels, image_size, dtype=dtype, rngs=rngs)

        super().__init__(
            make_block, blocks, channels, image_channels=image_channels, dtype=dtype, rngs=rngs
        )
        self.guidance = Guidance(
            channels, heads, (encoder_layers, decoder_layers), selected, dropout, rngs=rngs
        )
        self.image_size = image_size

    def context(
        self, head: jax.Array, *beside: jax.Array, train: bool, rngs: nnx.Rngs | None
    ) -> tuple[jax.Array, ...]:
        """The guidance for every block.

        Args:
          head: the first features, (batch, H, W, channels).
          beside: the attention maps, float32 (batch, steps, H, W), and of `Reading` the logits
            `read` and `lengths`.
          train: normalises by the batch and updates the statistics; dropout acts.
          rngs: for dropout.

        Raises:
          UserError: the images are of another size than the network.
        """
        if head.shape[1:3] != self.image_size:
            raise UserError(
                f"images of {head.shape[1]}x{head.shape[2]} pixels: LEMMA takes "
                f"{self.image_size[0]}x{self.image_size[1]} alone; resize them"
            )
        maps, read, lengths = beside
        return (self.guidance(head, maps, read, lengths, train=train, rngs=rngs),)


class FusedBlock(nnx.Module):
    """TSRN's block. Guidance is fused into the residual before the GRUs."""

    def __init__(
        self,
        channels: int,
        image_size: tuple[int, int],
        *,
        dtype: jnp.dtype | None,
        rngs: nnx.Rngs,
    ):
        self.convs = ConvPair(channels, dtype=dtype, rngs=rngs)
        self.fusion = AdaptiveFusion(channels, image_size, dtype=dtype, rngs=rngs)
        self.gru1 = BidirectionalGRU(channels, channels // 2, dtype=dtype, rngs=rngs)
        self.sum_bn = _norm(channels, rngs)
        self.gru2 = BidirectionalGRU(channels, channels // 2, dtype=dtype, rngs=rngs)

    def __call__(
        self,
        x: jax.Array,
        guidance: jax.Array,
        *,
        train: bool,
        rngs: nnx.Rngs | None = None,
    ) -> jax.Array:
        del rngs  # no dropout here
        residual = self.fusion(self.convs(x, train=train), guidance, train=train)
        residual = _along(self.gru1, residual, axis=1)
        x = self.sum_bn(x + residual, use_running_average=not train)
        return _along(self.gru2, x, axis=2)


def _along(gru: BidirectionalGRU, x: jax.Array, *, axis: int) -> jax.Array:
    return jnp.moveaxis(gru(jnp.moveaxis(x, axis, 0)), 0, axis)


def _norm(channels: int, rngs: nnx.Rngs) -> nnx.BatchNorm:
    return nnx.BatchNorm(channels, momentum=0.9, epsilon=1e-5, rngs=rngs)


class AdaptiveFusion(nnx.Module):
    """Fuses features with guidance: a sum of both, and a mixture whose channels are weighted.

    The weights of channels come from a depthwise convolution over the whole image.

    Args:
      channels: width of features and guidance.
      image_size: (height, width) of the features.
      dtype: compute dtype.
      rngs: draws the parameters.
    """

    def __init__(
        self,
        channels: int,
        image_size: tuple[int, int],
        *,
        dtype: jnp.dtype | None,
        rngs: nnx.Rngs,
    ):
        def mixer(inputs: int) -> PixelMixer:
            return PixelMixer(inputs, channels, dtype=dtype, rngs=rngs)

        self.guidance_bn = _norm(channels, rngs)
        self.of_weights, self.of_mixture = mixer(2 * channels), mixer(2 * channels)
        self.of_sum, self.aggregation = mixer(2 * channels), mixer(channels)
        # (H, W, 1, channels), a filter for each channel.
        shape = (*image_size, 1, channels)
        self.whole = DepthwiseSum(shape, rngs=rngs)
        self.weigh = nnx.List(
            nnx.Linear(channels, channels, kernel_init=KERNEL_INIT, dtype=dtype, rngs=rngs)
            for _ in range(3)
        )
        self.bn = _norm(channels, rngs)

    def __call__(self, features: jax.Array, guidance: jax.Array, *, train: bool) -> jax.Array:
        """Maps two arrays (batch, H, W, channels) to one; float32."""
        guidance = self.guidance_bn(guidance, use_running_average=not train)
        both = jnp.concatenate([features, guidance], axis=-1)
        first, second, third = self.weigh
        weights = self.whole(self.of_weights(both, train=train))
        weights = nnx.sigmoid(third(nnx.relu(second(nnx.relu(first(weights))))))
        mixed = weights[:, None, None] * self.of_mixture(both, train=train)
        mixed = self.aggregation(mixed, train=train)
        fused = self.of_sum(both, train=train) + mixed
        return self.bn(fused, use_running_average=not train)


class PixelMixer(nnx.Module):
    """Two linear layers of each pixel, with BatchNorm and PReLU between them."""

    def __init__(self, inputs: int, channels: int, *, dtype: jnp.dtype | None, rngs: nnx.Rngs):
        def linear(inputs: int) -> nnx.Linear:
            return nnx.Linear(inputs, channels, kernel_init=KERNEL_INIT, dtype=dtype, rngs=rngs)

        self.linear1, self.linear2 = linear(inputs), linear(channels)
        self.bn = _norm(channels, rngs)
        self.slope = nnx.Param(jnp.full(1, 0.25))

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps (batch, H, W, inputs) to (batch, H, W, channels)."""
        x = self.bn(self.linear1(x), use_running_average=not train)
        return self.linear2(_prelu(x, self.slope))


def _prelu(x: jax.Array, slope: nnx.Param[jax.Array]) -> jax.Array:
    return jnp.where(x > 0, x, x * slope[...])


class DepthwiseSum(nnx.Module):
    """A depthwise convolution as large as the image: one number for each channel.

    Args:
      shape: of the kernel, (H, W, 1, channels).
      rngs: draws the parameters.
    """

    def __init__(self, shape: tuple[int, int, int, int], *, rngs: nnx.Rngs):
        self.kernel = nnx.Param(KERNEL_INIT(rngs.params(), shape, jnp.float32))
        self.bias = nnx.Param(jnp.zeros(shape[-1]))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (batch, H, W, channels) to float32 (batch, channels)."""
        kernel = self.kernel[...][:, :, 0].astype(x.dtype)
        made = jnp.einsum("bhwc,hwc->bc", x, kernel, preferred_element_type=jnp.float32)
        return made + self.bias[...]


class Guidance(nnx.Module):
    """Location enhancement, and the alignment of what was read with the pixels it was read in.

    It computes in float32: a small part of the network's time.

    Args:
      width: width of features and tokens.
      heads: of attention.
      layers: number of encoder layers, and of layers in each of the two decoders.
      selected: how many pixels count as letters.
      dropout: rate of dropout in training.
      rngs: draws the parameters.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        layers: tuple[int, int],
        selected: int,
        dropout: float,
        *,
        rngs: nnx.Rngs,
    ):
        def conv(inputs: int, outputs: int, *, use_bias: bool = False) -> Conv:
            return Conv(inputs, outputs, (3, 3), use_bias=use_bias, kernel_init=_XAVIER, rngs=rngs)

        def stack(count: int) -> nnx.List[AttentionLayer]:
            return nnx.List(
                AttentionLayer(width, heads, dtype=None, rngs=rngs) for _ in range(count)
            )

        self.selected = selected
        self.convs = nnx.List([conv(1, _NARROW), conv(_NARROW, width), conv(width, width)])
        self.bns = nnx.List([_norm(_NARROW, rngs), _norm(width, rngs)])
        self.slopes = nnx.List([nnx.Param(jnp.full(1, 0.25)) for _ in range(2)])
        self.located = conv(width, width, use_bias=True)
        self.text = nnx.Linear(CLASSES, width, use_bias=False, kernel_init=_XAVIER, rngs=rngs)
        self.encoder, self.letters, self.pixels = (
            stack(count) for count in (layers[0], layers[1], layers[1])
        )
        self.dropout = nnx.Dropout(dropout)

    def __call__(
        self,
        features: jax.Array,
        maps: jax.Array,
        read: jax.Array,
        lengths: jax.Array,
        *,
        train: bool = False,
        rngs: nnx.Rngs | None = None,
    ) -> jax.Array:
        """Guidance for `features`, (batch, H, W, width), of the same shape, float32.

        Pixels are ranked by how much the steps of the word look at them. Where several pixels rank
        with the last one that counts, all of them count; the published code takes some of them.

        Args:
          maps: float (batch, steps, H, W), where the recogniser looks at each step.
          read: float (batch, steps, classes), logits of each step.
          lengths: int (batch,), how many steps the word has.
          train: normalises by the batch and updates the statistics; dropout acts.
          rngs: for dropout.
        """

        def drop(values: jax.Array) -> jax.Array:
            return self.dropout(values, deterministic=not train, rngs=rngs)

        batch, height, width, channels = features.shape
        inside = jnp.arange(maps.shape[1]) < lengths[:, None]
        locations = jnp.where(inside[:, :, None, None], maps, 0).max(axis=1)
        features = _instance_norm(features) * self._weights(locations, train=train)
        shape = (batch, height * width, channels)
        positions = drop(jnp.broadcast_to(sinusoid_table(*shape[1:]), shape))
        tokens = self.located(features).reshape(shape) + positions
        locations = jax.lax.stop_gradient(locations.reshape(shape[:2]))
        least = jax.lax.top_k(locations, min(self.selected, shape[1]))[0][:, -1:]
        chosen = locations >= least
        text = self.text(read) + maps.reshape(*maps.shape[:2], -1) @ positions
        for layer in self.encoder:
            text, _ = layer(text, text, text, text, drop)
        keys = text
        for layer in self.letters:
            keys, _ = layer(keys, keys, tokens, tokens, drop, chosen[:, None])
        x = jnp.where(chosen[..., None], tokens, 0)
        for layer in self.pixels:
            x, _ = layer(x, x, keys, text, drop)
        return x.reshape(features.shape)

    def _weights(self, locations: jax.Array, *, train: bool) -> jax.Array:
        """Weights of pixels, which sum to 1 in each channel: (batch, H, W, width)."""
        x = locations[..., None]
        first, second, last = self.convs
        for conv, bn, slope in zip((first, second), self.bns, self.slopes, strict=True):
            x = _prelu(bn(conv(x), use_running_average=not train), slope)
        x = last(x)
        # One axis of all pixels, because jax2onnx (0.13) takes no softmax over two.
        return jax.nn.softmax(x.reshape(x.shape[0], -1, x.shape[-1]), axis=1).reshape(x.shape)


def _instance_norm(features: jax.Array) -> jax.Array:
    features = features.astype(jnp.float32)
    centred = features - features.mean(axis=(1, 2), keepdims=True)
    return centred / jnp.sqrt((centred**2).mean(axis=(1, 2), keepdims=True) + 1e-5)
