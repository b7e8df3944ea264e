"""Bicubic resizing as PyTorch does it, as a matrix along one axis."""

import functools

import numpy as np


@functools.lru_cache
def bicubic_matrix(inputs: int, outputs: int, *, corners: bool = False) -> np.ndarray:
    """The matrix (outputs, inputs) of PyTorch's bicubic resizing, float32.

    The filter is Keys' cubic with a = -0.75 on the four nearest pixels, without antialiasing when
    it shrinks. The border is repeated outside.

    Args:
      inputs, outputs: numbers of pixels.
      corners: whether the first and the last pixels lie on each other (`align_corners=True`);
        otherwise pixel centres are at half integers.
    """
    a = -0.75
    if corners:
        position = np.arange(outputs) * ((inputs - 1) / max(1, outputs - 1))
    else:
        position = (np.arange(outputs) + 0.5) * inputs / outputs - 0.5
    left = np.floor(position).astype(int)
    matrix = np.zeros((outputs, inputs))
    for tap in range(-1, 3):
        t = abs(position - (left + tap))
        near = ((a + 2) * t - (a + 3)) * t * t + 1
        far = ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
        column = np.clip(left + tap, 0, inputs - 1)
        np.add.at(matrix, (np.arange(outputs), column), np.where(t <= 1, near, far))
    matrix = matrix.astype(np.float32)
    matrix.flags.writeable = False
    return matrix
