"""Whole photographs in `read.py`: which images they are, and how their pages are written."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from textsr_jax.cli.pictures import check_png
from textsr_jax.data.sources import Item
from textsr_jax.errors import MissingPackage, escaped
from textsr_jax.reading import Reader, Reading, contents
from textsr_jax.report import readings
from textsr_jax.runtime import atomic

if TYPE_CHECKING:
    from textsr_jax.photos.page import Page


class PageReader:
    """Reads whole photographs where that is wanted, and possible.

    Args:
      wanted: whether all images are whole photographs; None to read those as pages that clearly
        are.
      enhanced: a PNG for the photograph at twice its size, with sharper words; None for none.

    Raises:
      MissingPackage: pages are wanted, and the extra [photos] is not installed.
      UserError: `enhanced` is no name of a PNG, or its folder does not exist.
    """

    def __init__(self, wanted: bool | None, enhanced: str | None = None):
        if enhanced:
            check_png("enhance", enhanced)
        self.wanted, self._enhanced = wanted, enhanced
        self._missing = ""
        if wanted is False:
            return
        try:
            from textsr_jax.photos import detector

            detector.model_file()
        except MissingPackage as error:
            if wanted:
                raise
            self._missing = str(error)

    @property
    def possible(self) -> bool:
        """Whether an image may be read as a page."""
        return self.wanted is not False and not self._missing

    def surely(self, item: Item) -> bool:
        """Whether an item is read as a page, whatever it shows."""
        return self.possible and (bool(self.wanted) or item.page)

    def page(self, item: Item, reading: Reading | None, reader: Reader) -> Page | None:
        """Returns the page of an item; None if it is a crop, or has to be read as one.

        A photograph is clearly no crop if its size and detail say so (`contents.is_photograph`) and
        text is found in it.

        Args:
          item: it has an image.
          reading: what was read in it as a crop; None if it was not.
          reader: reads the words.

        Raises:
          UserError: the photograph at twice its size is wanted, and it is too large for that or the
            file cannot be written.
        """
        surely = self.surely(item)
        if not surely and not (self.possible and _photograph(item, reading)):
            return None
        from textsr_jax.photos.page_reading import read_page

        assert item.image is not None
        page = read_page(item.image, reader)
        if self._enhanced:
            _save_enhanced(item.image, page, reader, self._enhanced)
        return page if surely or page.words else None

    def tells(self, item: Item, reading: Reading | None, page: Page | None) -> bool:
        """Whether `line` says something of an item that the user has not asked for."""
        if page is not None:
            return not self.wanted
        return _photograph(item, reading)

    def line(self, item: Item, page: Page | None) -> str:
        """Returns the line about an image that is clearly no crop, though no page was asked for.

        Args:
          item: the image.
          page: its page; None if it was read as a crop.
        """
        if page is not None:
            return readings.page_line(item)
        return readings.photograph_line(item, self._missing)


def text(page: Page, source: str, format: str) -> str:
    """Returns what is printed of a page: one line or several, without the last end; or "".

    In the format text, a line with the source stands above the page's lines.
    """
    from textsr_jax.photos.page import FORMATS

    content = FORMATS[format](page, source)
    if format != "text":
        return content
    name = escaped(source)
    return f"{name}:\n{content}" if content else f"{name}: (nothing)"


def error_text(item: Item, format: str) -> str:
    """Returns what is printed of a page that could not be read: an object in jsonl, or ""."""
    if format != "jsonl":
        return ""
    return json.dumps({"source": item.source, "words": None, "error": item.error})


def _save_enhanced(image: np.ndarray, page: Page, reader: Reader, path: str) -> None:
    from textsr_jax.photos.enhancing import enhance_page

    enhanced = enhance_page(image, page, reader)
    with atomic.replacing(path, fix="name another file in --enhance") as stream:
        Image.fromarray(enhanced).save(stream, format="PNG")


def _photograph(item: Item, reading: Reading | None) -> bool:
    if item.image is None or reading is None:
        return False
    return contents.is_photograph(item.image, reading.text, reading.confidence)
