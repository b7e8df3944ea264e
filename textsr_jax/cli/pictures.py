"""Writes pictures of results as PNG files."""

import pathlib
from collections.abc import Mapping

from PIL import Image

from textsr_jax.runtime import atomic


def write_pictures(folder: str | pathlib.Path, pictures: Mapping[str, Image.Image]) -> None:
    """Writes `NAME.png` into `folder` for each picture; the folder is made where it is missing.

    Raises:
      UserError: the folder or a file cannot be written.
    """
    for name, picture in pictures.items():
        path = pathlib.Path(folder) / f"{name}.png"
        with atomic.replacing(path, parents=True, fix="name another --out") as stream:
            picture.save(stream, format="PNG")
