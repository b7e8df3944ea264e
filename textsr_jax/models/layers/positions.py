"""The sine-cosine position table that all transformers here add or append to their tokens.

"Attention is all you need" (Vaswani et al., 2017), section 3.5.
"""

import math

import numpy as np


def sinusoid_table(length: int, width: int) -> np.ndarray:
    """Sines and cosines of positions 0 .. length - 1, float32 (length, width).

    Even columns hold the sines of position / 10000^(column / width). Each odd column holds the
    cosines of the column before it. All steps are in float32, as in the published PyTorch code.

    Raises:
      ValueError: `width` is odd.
    """
    if width % 2:
        raise ValueError(f"width must be even, not {width}")
    exponent = np.arange(0, width, 2, dtype=np.float32) * np.float32(-math.log(10000.0) / width)
    angles = np.arange(length, dtype=np.float32)[:, None] * np.exp(exponent)
    return np.stack([np.sin(angles), np.cos(angles)], axis=2).reshape(length, width)
