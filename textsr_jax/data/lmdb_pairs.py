"""The fields of a TextZoom record as a pair of images of the right sizes, in PNG.

The processes that prepare a set import this file. It imports neither JAX nor TensorFlow Datasets.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from textsr_jax import text
from textsr_jax.data.synthetic.generation import EncodedPair, WordPair
from textsr_jax.errors import UserError
from textsr_jax.images import HR_SIZE, LR_SIZE, decode_rgb, resize

# The fields of a record, in the order in which `encoded` takes their values.
FIELDS = ("label", "image_hr", "image_lr")

# The values of `FIELDS`; None where the LMDB has no such key.
Values = Sequence[bytes | None]


def encoded(values: Sequence[Values], labels: str) -> Iterator[list[EncodedPair | str]]:
    """Yields once: for each record its pair, or the reason why it is left out.

    Args:
      values: the fields of some records.
      labels: one of `text.LABELS`; see `textzoom.TextZoom`.
    """
    yield [_encoded(fields, labels) for fields in values]


def _encoded(values: Values, labels: str) -> EncodedPair | str:
    label, hr, lr = values
    if label is None:
        return "missing label"
    if hr is None or lr is None:
        return "missing image"
    try:
        word = label.decode()
    except UnicodeDecodeError:
        return "label not UTF-8"
    if not word.strip():
        return "empty label"
    folded = text.fold(word)
    if labels == "fold":
        word = folded
    if not text.normalize(word):
        if text.normalize(folded):
            return "label that only config.data.labels=fold reads"
        return "label without 0-9a-z"
    try:
        return WordPair(_decode(lr, LR_SIZE), _decode(hr, HR_SIZE), word).encoded()
    except UserError:
        return "undecodable image"


def _decode(data: bytes, size: tuple[int, int]) -> np.ndarray:
    """Decodes an image to uint8 RGB of `size`, resized by Pillow's bicubic filter."""
    return resize(decode_rgb(data, "record"), size)
