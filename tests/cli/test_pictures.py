"""Pictures of results are PNG files of their names."""

import pytest
from PIL import Image

from textsr_jax.cli.pictures import write_pictures
from textsr_jax.errors import UserError


def test_each_picture_is_a_file_in_a_folder_that_is_made(tmp_path):
    red, blue = (Image.new("RGB", (3, 2), color) for color in ("red", "blue"))
    write_pictures(tmp_path / "new", {"a": red, "b": blue})
    for name, picture in (("a.png", red), ("b.png", blue)):
        with Image.open(tmp_path / "new" / name) as image:
            assert image.tobytes() == picture.tobytes()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"1_Set5.png: cannot write it"):
        write_pictures(tmp_path / "file" / "made", {"1_Set5": Image.new("RGB", (1, 1))})
