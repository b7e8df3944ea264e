"""SR models that are told where a recogniser sees the letters of an image: LEMMA with ABINet.

"Towards robust scene text image super-resolution via explicit location enhancement" (Guo et al.,
2023), as its published code runs both.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from textsr_jax.models.abinet import ABINet, Reading
from textsr_jax.models.layers.pixels import SCALE, with_mask
from textsr_jax.models.layers.resizing import bicubic_matrix
from textsr_jax.models.lemma import LEMMA
from textsr_jax.models.super_resolution import check_mode

# The key of the recogniser in the tree.
READER = "reader"


class LocatedResolver(nnx.Module):
    """LR images (batch, 16, 64, 3) in [0, 1] to SR images (batch, 32, 128, 3), not clipped.

    ABINet reads the LR images as the network gets them, rectified in training, enlarged by bicubic.
    The tree's top keys are `stn`, the network's name, and `reader`.

    Args:
      name: the network's name, its key in the tree.
      network: a `LEMMA`.
      reader: what reads.
      stn: rectifies LR images first; None where `apply_stn` is "never".
      apply_stn: when the STN runs; see `super_resolution.SuperResolver`.
      mask: whether the network's images have a mask, made of the LR images.
    """

    def __init__(
        self,
        name: str,
        network: LEMMA,
        reader: ABINet,
        stn: nnx.Module | None,
        apply_stn: str,
        *,
        mask: bool,
    ):
        check_mode(apply_stn)
        self.name, self.apply_stn, self.mask = name, apply_stn, mask
        if stn is not None:
            self.stn = stn
        setattr(self, name, network)
        self.reader = reader

    def __call__(
        self, lr: jax.Array, *, train: bool = False, rngs: nnx.Rngs | None = None
    ) -> jax.Array:
        return self.enlarge(lr, train=train, rngs=rngs)[0][..., :3]

    def enlarge(
        self, lr: jax.Array, *, train: bool = False, rngs: nnx.Rngs | None = None
    ) -> tuple[jax.Array, Reading]:
        """SR images with their masks, float32 (batch, 32, 128, 4), and what was read in `lr`."""
        images = with_mask(lr) if self.mask else lr
        if self.apply_stn == "always" or (train and self.apply_stn == "train"):
            images = self.stn(images, train=train)
        seen = _enlarged(jax.lax.stop_gradient(images[..., :3]))
        reading = self.reader(seen, train=train, rngs=rngs)
        network, maps = getattr(self, self.name), align_maps(reading.maps)
        made = network(images, maps, reading.read, reading.lengths, train=train, rngs=rngs)
        return made, reading


def align_maps(maps: jax.Array) -> jax.Array:
    """Attention maps (batch, steps, h, w) of `Reading` on LR pixels, (batch, steps, 2 h, 2 w)."""
    return _enlarged(maps.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


def _enlarged(x: jax.Array) -> jax.Array:
    """PyTorch's bicubic with `align_corners=True`, twice the size: (batch, H, W, channels)."""
    rows, columns = (bicubic_matrix(n, SCALE * n, corners=True) for n in x.shape[1:3])
    highest = jax.lax.Precision.HIGHEST
    x = jnp.einsum("bhwc,gh->bgwc", x, rows, precision=highest)
    return jnp.einsum("bgwc,vw->bgvc", x, columns, precision=highest)
