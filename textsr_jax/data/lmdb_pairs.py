"""The fields of an LMDB's record: its word, and its images in the right sizes.

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


class LeftOut(Exception):
    """A record cannot be used; the message is the reason, as it is counted."""


def _encoded(values: Values, labels: str) -> EncodedPair | str:
    label, hr, lr = values
    if label is None:
        return "missing label"
    if hr is None or lr is None:
        return "missing image"
    try:
        word = word_of(label, labels)
        return WordPair(image_of(lr, LR_SIZE), image_of(hr, HR_SIZE), word).encoded()
    except LeftOut as reason:
        return str(reason)


def word_of(label: bytes, labels: str) -> str:
    """The word that a label gives; raises `LeftOut` where it cannot be scored.

    Args:
      label: as an LMDB has it.
      labels: one of `text.LABELS`; see `textzoom.TextZoom`.
    """
    try:
        word = label.decode()
    except UnicodeDecodeError:
        raise LeftOut("label not UTF-8") from None
    if not word.strip():
        raise LeftOut("empty label")
    folded = text.fold(word)
    if labels == "fold":
        word = folded
    if not text.normalize(word):
        if text.normalize(folded):
            raise LeftOut("label that only config.data.labels=fold reads")
        raise LeftOut("label without 0-9a-z")
    return word


def image_of(data: bytes, size: tuple[int, int]) -> np.ndarray:
    """Decodes an image to uint8 RGB of `size`, resized by Pillow's bicubic filter.

    Raises:
      LeftOut: it is damaged, or no image.
    """
    try:
        return resize(decode_rgb(data, "record"), size)
    except UserError:
        raise LeftOut("undecodable image") from None
