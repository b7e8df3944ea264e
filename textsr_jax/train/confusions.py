"""The confusion matrix that `config.stage1.confusion` names, read from a file.

The published one, `confuse.pkl`, comes with the text-focus reference's data, not with its code.
"""

import pathlib

import numpy as np

from textsr_jax import losses
from textsr_jax.errors import UserError


def load_weights(path: str) -> np.ndarray:
    """The weights that `losses.weight_table` makes of the matrix in a file.

    Args:
      path: a NumPy file (`.npy`) of counts (62, 62); rows are true, columns predicted characters,
        in the order of 10 digits, 26 upper case and 26 lower case letters.

    Returns:
      float32 (37, 37).

    Raises:
      UserError: the file cannot be read, or holds no such matrix.
    """
    place = f"config.stage1.confusion={path}"
    try:
        counts = np.load(pathlib.Path(path).expanduser(), allow_pickle=False)
        counts = np.asarray(counts, np.float64)
    except (OSError, EOFError, TypeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not a NumPy file of numbers"
        raise UserError(
            f"{place}: cannot read it ({reason}); give a .npy file of 62 x 62 counts"
        ) from error
    try:
        return losses.weight_table(counts)
    except UserError as error:
        raise UserError(f"{place}: {error}") from error
