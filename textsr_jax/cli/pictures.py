"""Writes pictures of results as PNG files, and checks the names that people give them."""

import pathlib
from collections.abc import Mapping

from PIL import Image

from textsr_jax.errors import UserError
from textsr_jax.runtime import atomic, paths


def write_pictures(folder: str | pathlib.Path, pictures: Mapping[str, Image.Image]) -> None:
    """Writes `NAME.png` into `folder` for each picture; the folder is made where it is missing.

    Raises:
      UserError: the folder or a file cannot be written.
    """
    for name, picture in pictures.items():
        path = paths.named(folder) / f"{name}.png"
        with atomic.replacing(path, parents=True, fix="name another --out") as stream:
            picture.save(stream, format="PNG")


def check_png(flag: str, name: str) -> None:
    """Raises a `UserError` if a flag's value is no name of a PNG, or its folder does not exist."""
    if not name.lower().endswith(".png"):
        raise UserError(f"--{flag}={name}: name a file that ends in .png")
    if not pathlib.Path(name).absolute().parent.is_dir():
        raise UserError(f"--{flag}={name}: its folder does not exist; make it or name another")
