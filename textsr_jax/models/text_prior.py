"""SR models that a recogniser guides: it reads the image so far, and the network is told.

"Text prior guided scene text image super-resolution" (Ma et al., 2023), as its published code runs
its stages.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from textsr_jax.models.crnn import CRNN
from textsr_jax.models.layers.pixels import with_mask
from textsr_jax.models.super_resolution import check_mode

# The key of the recognisers in the tree.
PRIOR = "prior"


class GuidedImages(NamedTuple):
    """What a stage made.

    Attributes:
      images: float32 (batch, 32, 128, 4), RGB and the mask around [0, 1], not clipped; 3 channels
        without a mask.
      prior: float32 (batch, 26, classes), the probabilities that the stage's recogniser gave.
      others: what the stage made of other LR images with the same prior; None without them.
    """

    images: jax.Array
    prior: jax.Array
    others: jax.Array | None = None


class GuidedResolver(nnx.Module):
    """LR images (batch, 16, 64, 3) in [0, 1] to SR images (batch, 32, 128, 3), not clipped.

    The first stage's recogniser reads the LR images. Each further stage's reads the SR images of
    the stage before. All stages share the network, which enlarges the LR images in each of them.
    The tree's top keys are `stn`, the network's name, and `prior` with the recognisers by stage.

    Args:
      name: the network's name, its key in the tree.
      network: maps LR images and a prior to SR images.
      recognizers: one for each stage.
      stn: rectifies LR images before the network, not for the recogniser; None where `apply_stn`
        is "never".
      apply_stn: when the STN runs; see `SuperResolver`.
      mask: whether the network's images have a mask, made of the LR images.
      dropout: part of a batch, its first images, whose prior is zero in training, as published.
      detached: whether no gradient of the images reaches the recognisers, or a stage before.
    """

    def __init__(
        self,
        name: str,
        network: nnx.Module,
        recognizers: Sequence[CRNN],
        stn: nnx.Module | None,
        apply_stn: str,
        *,
        mask: bool,
        dropout: float,
        detached: bool,
    ):
        check_mode(apply_stn)
        self.name, self.apply_stn = name, apply_stn
        self.mask, self.dropout, self.detached = mask, dropout, detached
        if stn is not None:
            self.stn = stn
        setattr(self, name, network)
        self.prior = nnx.List(recognizers)

    def __call__(
        self, lr: jax.Array, *, train: bool = False, rngs: nnx.Rngs | None = None
    ) -> jax.Array:
        return self.stages(lr, train=train, rngs=rngs)[-1].images[..., :3]

    def stages(
        self,
        lr: jax.Array,
        others: jax.Array | None = None,
        *,
        train: bool = False,
        rngs: nnx.Rngs | None = None,
    ) -> list[GuidedImages]:
        """What every stage makes of LR images.

        Args:
          lr: float (batch, 16, 64, 3), RGB in [0, 1]. A fourth channel is taken as the mask.
          others: images like `lr` that the network enlarges too, with the priors of `lr`.
          train: normalises by the batch, updates statistics, and drops priors.
          rngs: for dropout in training.
        """

        def enlarge(images: jax.Array, prior: jax.Array) -> jax.Array:
            if self.mask and images.shape[-1] == 3:
                images = with_mask(images)
            images = images if self.mask else images[..., :3]
            # In each stage, as published: the STN's statistics move once a stage.
            if self.apply_stn == "always" or (train and self.apply_stn == "train"):
                images = self.stn(images, train=train)
            made: jax.Array = getattr(self, self.name)(images, prior, train=train, rngs=rngs)
            return made

        cut = jax.lax.stop_gradient if self.detached else lambda values: values
        read = lr[..., :3]
        found: list[GuidedImages] = []
        for recognizer in self.prior:
            prior = jax.nn.softmax(recognizer(read, train=train))
            shown = prior
            if train:
                silent = jnp.arange(len(lr)) < int(self.dropout * len(lr))
                shown = jnp.where(silent[:, None, None], 0, prior)
            images = enlarge(lr, cut(shown))
            again = None if others is None else enlarge(others, cut(shown))
            found.append(GuidedImages(images, prior, again))
            read = cut(images[..., :3])
        return found
