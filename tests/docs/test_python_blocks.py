"""Every block of Python in the README and the documentation runs."""

import linecache
import pathlib
import re
import shutil

import pytest

from tests.docs import pages

WITH_PYTHON = [
    # Pages of code cells build networks, which compile for long; `make docs` runs them too. So does
    # what other pages compile.
    pytest.param(
        page,
        marks=pytest.mark.slow if re.search("mystnb|jax.jit", page.read_text()) else (),
    )
    for page in pages.PAGES
    if any(block.language == "python" for block in pages.blocks(page))
]


@pytest.fixture
def folder(tmp_path, monkeypatch) -> pathlib.Path:
    """A folder with the images that pages name, and in it a place for a page of the site."""
    shutil.copytree(pages.DOCS / "images", tmp_path / "images")
    here = tmp_path / "page"
    shutil.copytree(pages.DOCS / "images" / "words", here / "words")
    for name in ("word.png", "photo.png"):
        shutil.copy(pages.DOCS / "images" / "word.png", here / name)
    monkeypatch.chdir(here)
    return here


@pytest.mark.parametrize("page", WITH_PYTHON, ids=pages.name)
def test_blocks_run_in_order(page, folder):
    names = {"__name__": "__main__"}
    for block in pages.blocks(page):
        if block.language != "python":
            continue
        place = f"{pages.name(page)}:{block.line}"
        # So that a traceback shows the line.
        linecache.cache[place] = (len(block.text), None, block.text.splitlines(True), place)
        exec(compile(block.text, place, "exec"), names)


def test_what_pages_promise(folder):
    names: dict = {}
    page = pages.DOCS / "guides" / "quantize.md"
    block = next(block for block in pages.blocks(page) if block.language == "python")
    exec(block.text, names)
    # 16,384 codes of 4 bits and 256 ranges of 48 bits; 512 codes of 8 bits.
    size = names["quant"].size(names["packed"])
    assert f"{size}".startswith("16,960 values, 16,896 of them at 4.85 bits: ")
    page = pages.DOCS / "guides" / "own_words.md"
    (block,) = (block for block in pages.blocks(page) if block.language == "python")
    exec(block.text, names)
    from textsr_jax.data import textzoom

    assert textzoom.folders(folder / "mine") == ["train"]
