"""CDistNet, the whole network: rectifier, backbone and encoder in front of its decoder."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from textsr_jax import text
from textsr_jax.errors import UserError
from textsr_jax.models.cdistnet.attention import SelfAttentionLayer, attention_output
from textsr_jax.models.cdistnet.backbone import Backbone
from textsr_jax.models.cdistnet.decoder import Decoder
from textsr_jax.models.cdistnet.rectifier import Rectifier
from textsr_jax.models.layers.positions import sinusoid_table
from textsr_jax.models.recognizer import Loss, Losses, Search, Words
from textsr_jax.text import ALPHANUMERIC, Alphabet


class CDistNet(Decoder):
    """Reads words from images: float32 (batch, 32, 128, 3) RGB in [0, 1], to token classes.

    Tokens are those of `textsr_jax.text`: 0 pad, 1 unknown, 2 start, 3 end, then 0-9, a-z, and what
    else the alphabet has. The defaults are the published network, 46,523,464 parameters and 40
    tokens.

    Args:
      alphabet: the characters that it writes.
      width: size of every token in the transformers; even, and a multiple of `heads`.
      heads: attention heads.
      encoder_layers: layers of the visual encoder.
      decoder_layers: MDCDP layers.
      encoder_hidden: feed-forward size in the encoder.
      decoder_hidden: feed-forward size in MDCDP.
      positional_hidden: inner size of the positional branch.
      channels: channels of the backbone's stem and of its five stages.
      depths: blocks in each of the five stages.
      rectify: whether a spline rectifier stands before the backbone.
      rectifier_channels: channels of its four convolutions.
      rectifier_features: size of its hidden layer.
      dropout: rate of dropout where the published code has it: after each position table is added
        and on every residual branch, never inside attention or feed-forward.
      dtype: compute dtype, None for float32. The control points, the spline and the output layer
        are always float32.
      rngs: draws the parameters: Xavier uniform kernels and zero biases.

    Raises:
      UserError: `width` does not suit `heads`.
    """

    def __init__(
        self,
        *,
        alphabet: Alphabet = ALPHANUMERIC,
        width: int = 512,
        heads: int = 8,
        encoder_layers: int = 3,
        decoder_layers: int = 3,
        encoder_hidden: int = 2048,
        decoder_hidden: int = 1024,
        positional_hidden: int = 512,
        channels: Sequence[int] = (32, 32, 64, 128, 256, 512),
        depths: Sequence[int] = (3, 4, 6, 6, 3),
        rectify: bool = True,
        rectifier_channels: Sequence[int] = (64, 128, 256, 512),
        rectifier_features: int = 256,
        dropout: float = 0.1,
        dtype: jnp.dtype | None = None,
        rngs: nnx.Rngs,
    ):
        if width % heads or width % 2:
            raise UserError(
                f"config.ocr.cdistnet.width={width}: must be even and a multiple of "
                f"config.ocr.cdistnet.heads={heads}; change one of them"
            )
        self.rectifier = (
            Rectifier(rectifier_channels, rectifier_features, dtype=dtype, rngs=rngs)
            if rectify
            else None
        )
        self.backbone = Backbone(channels, depths, width, dtype=dtype, rngs=rngs)
        self.encoder = nnx.List(
            SelfAttentionLayer(width, heads, encoder_hidden, dtype=dtype, rngs=rngs)
            for _ in range(encoder_layers)
        )
        super().__init__(
            alphabet,
            width,
            heads,
            decoder_layers,
            decoder_hidden,
            positional_hidden,
            dropout,
            dtype=dtype,
            rngs=rngs,
        )

    def __call__(
        self,
        images: jax.Array,
        tokens: jax.Array,
        *,
        train: bool = False,
        rngs: nnx.Rngs | None = None,
    ) -> jax.Array:
        """Logits of each next token by teacher forcing.

        Args:
          images: (batch, 32, 128, 3) in [0, 1].
          tokens: int32 (batch, length), the start token first; pads are never attended to.
          train: normalise by the batch's statistics (and update the running ones) and drop out.
          rngs: needed for dropout in training.

        Returns:
          float32 (batch, length, tokens); `logits[:, t]` speaks of token t + 1.
        """
        memory = self.encode(images, train=train, rngs=rngs)
        return self.decode(memory, tokens, train=train, rngs=rngs)

    def loss(
        self,
        images: jax.Array,
        losses: Losses,
        *,
        train: bool = False,
        rngs: nnx.Rngs | None = None,
    ) -> Loss:
        """Cross-entropy by teacher forcing, with the published label smoothing (`Recognizer`)."""
        tokens = text.cdistnet_tokens(losses.characters)
        logits = self(images, tokens[:, :-1], train=train, rngs=rngs)
        return losses.cross_entropy(
            logits, lambda characters: text.cdistnet_tokens(characters)[:, 1:], smoothing=0.1
        )

    def read(self, images: jax.Array, search: Search) -> Words:
        """Words, token by token (`Recognizer`)."""
        cache = self.init_cache(self.encode(images), search.steps, search.beam)
        return search.by_token(self.decode_step, cache, len(images))

    def rectify(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Images in [0, 1] as the backbone sees them: pixel / 128 - 1, rectified if asked for."""
        values = images * (255 / 128) - 1
        return values if self.rectifier is None else self.rectifier(values, train=train)

    def encode(
        self, images: jax.Array, *, train: bool = False, rngs: nnx.Rngs | None = None
    ) -> jax.Array:
        """The visual memory (batch, 64, width) of images (batch, 32, 128, 3) in [0, 1]."""
        return self.encode_rectified(self.rectify(images, train=train), train=train, rngs=rngs)

    def encode_rectified(
        self, values: jax.Array, *, train: bool = False, rngs: nnx.Rngs | None = None
    ) -> jax.Array:
        """The visual memory of what `rectify` returns."""
        drop = self._drop(train, rngs)
        x = self.backbone(values, train=train)
        x = drop(x + jnp.asarray(sinusoid_table(x.shape[1], self.width), x.dtype))
        for layer in self.encoder:
            query, key_value = layer.project(x)
            x = layer(x, attention_output(query, *key_value, None), drop)
        return x
