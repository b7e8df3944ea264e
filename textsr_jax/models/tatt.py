"""TATT: TSRN whose pixels ask a transformer what a recogniser read there.

"A text attention network for spatial deformation robust scene text image super-resolution" (Ma,
Liang and Zhang, 2022), as its published code computes it. `models.text_prior` has the recogniser.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx

from textsr_jax.errors import UserError
from textsr_jax.models.layers.attention import AttentionLayer
from textsr_jax.models.layers.positions import sinusoid_table
from textsr_jax.models.srresnet import SRResNet
from textsr_jax.models.tpgsr import GuidedBlock
from textsr_jax.models.tsrn import BidirectionalGRU


class TATT(SRResNet):
    """TATT for scale 2, for images of one size.

    The defaults are the published network, 5,715,590 parameters without the recogniser and without
    the layers that it never uses.

    Args:
      blocks: number of sequential residual blocks.
      channels: width of every block and of the interpreted prior; a multiple of `heads`, even.
      heads: of attention.
      encoder_layers, decoder_layers: of the interpreter.
      queries: what the GRU of the interpreter's queries runs along; see `AttentionInterpreter`.
      dropout: rate of dropout in the interpreter in training; 0.1 in the published training.
      classes: classes of the recogniser, the blank among them.
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
        encoder_layers: int = 1,
        decoder_layers: int = 2,
        queries: Literal["batch", "columns"] = "batch",
        dropout: float = 0.1,
        classes: int = 37,
        image_size: tuple[int, int] = (16, 64),
        *,
        image_channels: int = 4,
        dtype: jnp.dtype | None = None,
        rngs: nnx.Rngs,
    ):
        if channels % 2 or channels % heads:
            raise UserError(
                f"config.sr.tatt.channels={channels}: must be even and a multiple of "
                f"config.sr.tatt.heads={heads}; change one of them"
            )

        def make_block() -> GuidedBlock:
            return GuidedBlock(channels, channels, dtype=dtype, rngs=rngs)

        super().__init__(
            make_block, blocks, channels, image_channels=image_channels, dtype=dtype, rngs=rngs
        )
        self.interpreter = AttentionInterpreter(
            classes,
            channels,
            heads,
            (encoder_layers, decoder_layers),
            image_size,
            queries,
            dropout,
            dtype=dtype,
            rngs=rngs,
        )

    def context(
        self, head: jax.Array, *beside: jax.Array, train: bool, rngs: nnx.Rngs | None
    ) -> tuple[jax.Array, ...]:
        """The interpreted prior for every block.

        Args:
          head: the first features, (batch, H, W, channels).
          beside: one array, the text prior: float32 (batch, 26, classes).
          train: whether dropout acts.
          rngs: for dropout.
        """
        (prior,) = beside
        return (self.interpreter(head, prior, train=train, rngs=rngs)[0],)


class AttentionInterpreter(nnx.Module):
    """Turns a text prior into features of every pixel: pixels look at the frames of the prior.

    Every pixel's query has a learned part, which a GRU of the width of a whole column makes. The
    paper lets it run along the columns (`queries="columns"`). The published code swaps two axes, so
    that it runs along the images of a batch ("batch"): the same learned part goes in for each
    image, and comes out different for each place in the batch. An image alone takes one step.

    Args:
      classes: width of a frame of the prior.
      width: width of tokens and features.
      heads: heads of attention.
      layers: number of encoder and of decoder layers.
      image_size: (height, width) of the features.
      queries: "batch" or "columns".
      dropout: rate of dropout in training.
      dtype: compute dtype.
      rngs: draws the parameters.
    """

    def __init__(
        self,
        classes: int,
        width: int,
        heads: int,
        layers: tuple[int, int],
        image_size: tuple[int, int],
        queries: Literal["batch", "columns"],
        dropout: float,
        *,
        dtype: jnp.dtype | None,
        rngs: nnx.Rngs,
    ):
        self.image_size, self.along = image_size, queries
        height, columns = image_size
        self.frame = nnx.Linear(classes, width, dtype=dtype, rngs=rngs)
        self.slope = nnx.Param(jnp.full(1, 0.25))
        self.encoder = nnx.List(
            AttentionLayer(width, heads, dtype=dtype, rngs=rngs) for _ in range(layers[0])
        )
        self.places = nnx.Param(
            jax.random.normal(rngs.params(), (height * columns, width), jnp.float32)
        )
        self.places_gru = BidirectionalGRU(
            height * width, height * width // 2, dtype=dtype, rngs=rngs
        )
        self.decoder = nnx.List(
            AttentionLayer(width, heads, dtype=dtype, rngs=rngs) for _ in range(layers[1])
        )
        self.norm = nnx.LayerNorm(width, epsilon=1e-5, rngs=rngs)
        self.dropout = nnx.Dropout(dropout)

    def __call__(
        self,
        features: jax.Array,
        prior: jax.Array,
        *,
        train: bool = False,
        rngs: nnx.Rngs | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """Interprets `prior`, (batch, frames, classes), for `features` (batch, H, W, width).

        Returns:
          float32 (batch, H, W, width), and the last layer's attention, the mean of its heads:
          float32 (batch, H, W, frames).

        Raises:
          UserError: the features are of another size than the network.
        """
        if features.shape[1:3] != self.image_size:
            raise UserError(
                f"images of {features.shape[1]}x{features.shape[2]} pixels: TATT takes "
                f"{self.image_size[0]}x{self.image_size[1]} alone; resize them"
            )

        def drop(values: jax.Array) -> jax.Array:
            return self.dropout(values, deterministic=not train, rngs=rngs)

        batch, height, width, channels = features.shape
        frames = self.frame(prior)
        frames = jnp.where(frames > 0, frames, frames * self.slope[...])
        positions = drop(jnp.broadcast_to(sinusoid_table(frames.shape[1], channels), frames.shape))
        memory = frames
        for layer in self.encoder:
            # The published encoder adds its input to what every layer gets, the first one too.
            memory = memory + frames
            keys = memory + positions
            memory, _ = layer(memory, keys, keys, memory, drop)
        queries = self._queries(batch).reshape(batch, height * width, channels)
        x, found = features.reshape(batch, height * width, channels), []
        keys = memory + positions
        for layer in self.decoder:
            x, attention = layer(x, x + queries, keys, memory, drop)
            found.append(self.norm(x))
        features = sum(found) / len(found)
        shape = (batch, height, width, -1)
        return features.reshape(shape), attention.reshape(shape)

    def _queries(self, batch: int) -> jax.Array:
        """The learned part of queries, float32 (batch, H, W, width)."""
        height, width = self.image_size
        places = self.places[...].reshape(height, width, -1)
        columns = places.transpose(1, 0, 2).reshape(width, -1)
        if self.along == "batch":
            made = self.places_gru(jnp.broadcast_to(columns, (batch, *columns.shape)))
        else:
            made = jnp.broadcast_to(self.places_gru(columns), (batch, *columns.shape))
        return made.reshape(batch, width, height, -1).transpose(0, 2, 1, 3)
