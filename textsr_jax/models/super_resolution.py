"""A super-resolution model as it is trained and used: an STN, then any x2 network.

The tree's top keys are `stn` and the network's name, so that rules can tell them apart.
"""

import jax
from flax import nnx

from textsr_jax.errors import UserError

APPLY_STN = ("train", "always", "never")


def check_mode(apply_stn: str) -> None:
    """Raises `UserError` if this is not one of `APPLY_STN`."""
    if apply_stn not in APPLY_STN:
        raise UserError(
            f"config.sr.apply_stn={apply_stn!r}: not a mode; take one of {', '.join(APPLY_STN)}"
        )


class SuperResolver(nnx.Module):
    """LR images (batch, 16, 64, 3) in [0, 1] to SR images (batch, 32, 128, 3), not clipped.

    Args:
      name: the network's name, its key in the tree.
      network: maps LR to SR images.
      stn: rectifies LR images first; None where `apply_stn` is "never".
      apply_stn: when the STN runs: "train", "always" or "never". The published code skips it in
        evaluation, which is "train". The paper does not say which.
    """

    def __init__(self, name: str, network: nnx.Module, stn: nnx.Module | None, apply_stn: str):
        check_mode(apply_stn)
        self.name = name
        self.apply_stn = apply_stn
        if stn is not None:
            self.stn = stn
        setattr(self, name, network)

    def __call__(
        self, lr: jax.Array, *, train: bool = False, rngs: nnx.Rngs | None = None
    ) -> jax.Array:
        if self.apply_stn == "always" or (train and self.apply_stn == "train"):
            lr = self.stn(lr, train=train)
        return getattr(self, self.name)(lr, train=train, rngs=rngs)
