"""Reads crops in batches, on one worker: rows of results, and errors by their kind."""

from __future__ import annotations

import dataclasses
import io
import os
import pickle
import re
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from PIL import Image

from textsr_jax import reading
from textsr_jax.bulk.crops import Crop
from textsr_jax.errors import UserError, needs
from textsr_jax.images import READ_PIXELS, decode_rgb, image_rgb
from textsr_jax.reading import Reader, Reading, layouts
from textsr_jax.runtime import concurrency

with needs("bulk"):
    import pyarrow

# What a share of a GPU leaves to the others, and to what JAX does not count.
_MEMORY = 0.9


@dataclasses.dataclass(frozen=True)
class Word:
    """A row of results.

    Attributes:
      id, source: of the crop.
      text: what was read; None where the crop could not be read.
      confidence: in the text, in [0, 1]; None where the crop could not be read.
      error: why it could not be read; None where it was read.
      sr: the image as it was read, 32 pixels high, as PNG; None where it was not asked for.
    """

    id: str
    source: str
    text: str | None = None
    confidence: float | None = None
    error: str | None = None
    sr: bytes | None = None


def schema(sr: bool) -> pyarrow.Schema:
    """Returns the columns of the results; `sr` says whether the SR images are among them."""
    fields = [
        pyarrow.field("id", pyarrow.string(), nullable=False),
        pyarrow.field("source", pyarrow.string(), nullable=False),
        ("text", pyarrow.string()),
        ("confidence", pyarrow.float64()),
        ("error", pyarrow.string()),
    ]
    return pyarrow.schema([*fields, ("sr", pyarrow.binary())] if sr else fields)


def load_reader(pickled: bytes, gpus: float) -> Reader:
    """Returns a reader on a worker, before JAX has started there.

    Args:
      pickled: the reader.
      gpus: how much of a GPU this worker has; 0 to compute on the CPU.
    """
    if gpus:
        # JAX would take three quarters of the memory, whatever other workers need.
        share = f"{_MEMORY * min(gpus, 1):.3f}"
        os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", share)
    else:
        compute_on_cpu()
    return pickle.loads(pickled)


def compute_on_cpu() -> None:
    """Leaves GPUs alone in this process."""
    import jax

    jax.config.update("jax_platforms", "cpu")


def read(reader: Reader, crops: Iterable[Crop], sr: bool) -> Iterator[list[Word]]:
    """Reads crops in batches and yields the rows of each; a bad crop is a row with its error.

    The networks take batches of 16, the last of them filled, so that nothing compiles anew.

    Args:
      reader: reads them, one batch at a time: a worker has one core.
      crops: any number; memory holds one batch.
      sr: whether rows have the images as they were read.
    """
    for batch in reading.batches(map(_decoded, crops), lambda item: item[1]):
        known = [(crop, image) for crop, image in batch if image is not None]
        with concurrency.at_most(1):
            results = iter(_read(reader, [image for _, image in known]))
        rows = []
        for crop, image in batch:
            result = UserError(crop.error or "") if image is None else next(results)
            rows.append(_row(crop, result, sr))
        yield rows


def error_kind(error: str) -> str:
    """Returns what errors of many crops have in common: without places, advice and numbers."""
    reason = error.split("; ")[0]
    # Messages begin with the place, which may have colons of its own, but no spaces behind them.
    reason = reason.split(": ", 1)[-1]
    return re.sub(r"\d[\d,.]*", "N", reason)


_Result = tuple[Reading, np.ndarray]


def _decoded(crop: Crop) -> tuple[Crop, np.ndarray | None]:
    """A crop with its pixels; with an error instead where they cannot be read."""
    if crop.image is None:
        return crop, None
    bare = dataclasses.replace(crop, image=None)
    try:
        if isinstance(crop.image, bytes):
            image = decode_rgb(crop.image, crop.source, READ_PIXELS)
        else:
            image = image_rgb(crop.image, READ_PIXELS)
        layouts.check(image)
    except (UserError, ValueError) as error:
        return dataclasses.replace(bare, error=placed(crop, error)), None
    return bare, image


def _read(reader: Reader, images: Sequence[np.ndarray]) -> list[_Result | Exception]:
    """Reads a batch; where that fails one by one, so that one image does not cost the others."""
    if not images:
        return []
    try:
        return [*reader.read_and_show(images)]
    except Exception as error:
        if len(images) == 1:
            return [error]
    return [result for image in images for result in _read(reader, [image])]


def _row(crop: Crop, result: _Result | Exception, sr: bool) -> Word:
    if isinstance(result, Exception):
        return Word(crop.id, crop.source, error=placed(crop, result))
    found, picture = result
    png = None
    if sr:
        stream = io.BytesIO()
        Image.fromarray(picture).save(stream, format="PNG")
        png = stream.getvalue()
    return Word(crop.id, crop.source, found.text, found.confidence, sr=png)


def placed(crop: Crop, error: Exception) -> str:
    """Returns the error in one line that begins with the crop's source."""
    text = " ".join(str(error).split()) or type(error).__name__
    if not isinstance(error, UserError | ValueError):
        text = f"{type(error).__name__}: {text}"
    return text if text.startswith(f"{crop.source}: ") or crop.error else f"{crop.source}: {text}"
