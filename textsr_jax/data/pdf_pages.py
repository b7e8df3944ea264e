"""The pages of PDF files as images, drawn by PDFium."""

import math
import threading

import numpy as np

from textsr_jax.errors import UserError, needs
from textsr_jax.images import MAX_PIXELS, MAX_SIDE

with needs("photos"):
    import pypdfium2

# Dots an inch: letters of 8 points are then 22 pixels high. A page of a PDF has 72 points an inch.
_DOTS, _POINTS = 200, 72
# PDFium computes in one thread at a time.
_alone = threading.Lock()


class PdfPages:
    """Random access to the pages of a PDF file, as 200 dots an inch, or fewer for huge pages.

    Args:
      name: what the user named, for messages.
      path: the file.

    Raises:
      UserError: the file is encrypted or damaged.
    """

    def __init__(self, name: str, path: str):
        self._name = name
        try:
            with _alone:
                self._document = pypdfium2.PdfDocument(path)
                # So that what was filled into a form is drawn.
                self._document.init_forms()
        except pypdfium2.PdfiumError as error:
            if getattr(error, "err_code", None) == pypdfium2.raw.FPDF_ERR_PASSWORD:
                raise UserError(
                    f"{name}: is encrypted; save it without its password first"
                ) from error
            raise UserError(
                f"{name}: cannot read it ({error}); the PDF file is damaged, save it anew"
            ) from error

    def __len__(self) -> int:
        with _alone:
            return len(self._document)

    def __getitem__(self, index: int) -> np.ndarray:
        """Returns a page, from 0, as uint8 (height, width, 3), on white.

        Raises:
          UserError: the page is damaged.
        """
        with _alone:
            try:
                page = self._document[index]
                width, height = page.get_size()
                scale = min(
                    _DOTS / _POINTS,
                    math.sqrt(MAX_PIXELS / (width * height)) * 0.99,
                    MAX_SIDE / max(width, height) * 0.99,
                )
                drawn = page.render(scale=scale, rev_byteorder=True)
                pixels = np.array(drawn.to_numpy()[..., :3])
                drawn.close()
                page.close()
            except (pypdfium2.PdfiumError, ZeroDivisionError) as error:
                raise UserError(
                    f"{self._name}:{index + 1}: cannot draw this page ({error}); save the PDF anew"
                ) from error
        return pixels
