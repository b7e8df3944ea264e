"""A few LR images of training words, as activation ranges are taken from."""

import numpy as np

from textsr_jax import data
from textsr_jax.config.settings import Data
from textsr_jax.errors import UserError


def training_images(config: Data, root: str | None, count: int) -> np.ndarray:
    """LR images of training words, uint8 (at most `count`, 16, 64, 3), spread evenly over them.

    Args:
      config: the part `data` of an experiment.
      root: the data root; None for that of `config`.
      count: how many; all where there are fewer.

    Raises:
      UserError: the data cannot be read, or has no training words.
    """
    settings = config if root is None else config.replace(root=root)
    words = data.load(settings)
    part = words.train if len(words.train) else words.validation
    if not len(part):
        raise UserError(
            f"--data_root={settings.root}: has no training words, and test words may not be used; "
            "name a folder with train folders"
        )
    chosen = np.linspace(0, len(part) - 1, min(count, len(part))).round().astype(int)
    return np.stack([part[int(index)].lr for index in chosen])
