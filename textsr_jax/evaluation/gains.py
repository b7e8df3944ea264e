"""What SR images gain for a reader over bicubic ones, and how far that may be chance.

The same words are read in both images, so that errors are those of pairs.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np


def gain(judge: str, words: str, bicubic: np.ndarray, sr: np.ndarray) -> dict[str, Any]:
    """What a judge gains by SR on a split, beside bicubic images.

    Args:
      judge, words: its name and the split's.
      bicubic, sr: which words it read of these images, bool (n,).

    Returns:
      `reader` and `words`, the names; the gain in `points`; how many words SR turned right
      (`helped`) and wrong (`hurt`), of `n`.
    """
    helped, hurt = int((sr & ~bicubic).sum()), int((bicubic & ~sr).sum())
    points = 100 * (helped - hurt) / len(sr)
    return {
        "reader": judge,
        "words": words,
        "points": points,
        "helped": helped,
        "hurt": hurt,
        "n": len(sr),
    }


def mean_gains(gains: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """By judge, the plain mean of its gains over splits in points, and its standard error.

    The error is that of pairs: each word is turned right, turned wrong, or neither.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for one in gains:
        found.setdefault(one["reader"], []).append(one)
    result = {}
    for judge, splits in found.items():
        variances = [
            (one["helped"] + one["hurt"] - (one["helped"] - one["hurt"]) ** 2 / one["n"])
            / one["n"] ** 2
            for one in splits
        ]
        result[judge] = {
            "points": float(np.mean([one["points"] for one in splits])),
            "error": 100 * math.sqrt(sum(variances)) / len(splits),
        }
    return result
