"""Reads whole photographs on one worker: rows of results with the words of each and their boxes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

from textsr_jax.bulk import words
from textsr_jax.bulk.crops import Crop
from textsr_jax.errors import MissingPackage, needs
from textsr_jax.images import decode_rgb, image_rgb
from textsr_jax.photos.page import Page
from textsr_jax.photos.page_reading import read_page
from textsr_jax.reading import Reader
from textsr_jax.runtime import concurrency

with needs("bulk"):
    import pyarrow

SCHEMA = pyarrow.schema(
    [
        pyarrow.field("id", pyarrow.string(), nullable=False),
        pyarrow.field("source", pyarrow.string(), nullable=False),
        ("text", pyarrow.string()),
        (
            "words",
            pyarrow.list_(
                pyarrow.struct(
                    [
                        ("text", pyarrow.string()),
                        ("confidence", pyarrow.float64()),
                        ("box", pyarrow.list_(pyarrow.list_(pyarrow.float64(), 2), 4)),
                    ]
                )
            ),
        ),
        ("error", pyarrow.string()),
    ]
)


@dataclasses.dataclass(frozen=True)
class PageRow:
    """A row of results.

    Attributes:
      id, source: of the photograph.
      text: its lines, a line each; None where it could not be read.
      words: what `Page.word_records` returns; None where it could not be read.
      error: why it could not be read; None where it was read.
    """

    id: str
    source: str
    text: str | None = None
    words: list[dict[str, Any]] | None = None
    error: str | None = None


def read(reader: Reader, photographs: Iterable[Crop]) -> Iterator[list[PageRow]]:
    """Reads photographs one by one and yields the row of each; a bad one is a row with its error.

    Args:
      reader: reads the words, one batch at a time: a worker has one core.
      photographs: any number; memory holds one.

    Raises:
      MissingPackage: the extra [photos] is not installed.
    """
    for photograph in photographs:
        row = PageRow(photograph.id, photograph.source, error=photograph.error)
        if photograph.image is not None:
            try:
                page = _page(reader, photograph)
                row = dataclasses.replace(row, text=page.text, words=page.word_records())
            except MissingPackage:
                raise
            except Exception as error:  # one photograph shall not cost the others
                row = dataclasses.replace(row, error=words.placed(photograph, error))
        yield [row]


def _page(reader: Reader, photograph: Crop) -> Page:
    assert photograph.image is not None
    if isinstance(photograph.image, bytes):
        image = decode_rgb(photograph.image, photograph.source, None)
    else:
        image = image_rgb(photograph.image, None)
    with concurrency.at_most(1):
        return read_page(image, reader)
