"""Pages of PDF files: what they show, and files that cannot be drawn."""

import numpy as np
import pytest
from PIL import Image

from tests.data.test_sources import read
from textsr_jax.data import sources
from textsr_jax.data.pdf_pages import PdfPages
from textsr_jax.errors import UserError

# No key opens it: what a key is checked by is made up.
ENCRYPTED = b"""%%PDF-1.4
1 0 obj <</Type/Catalog/Pages 2 0 R>> endobj
2 0 obj <</Type/Pages/Kids[3 0 R]/Count 1>> endobj
3 0 obj <</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>> endobj
4 0 obj <</Filter/Standard/V 1/R 2/P -4/O<%s>/U<%s>>> endobj
trailer <</Root 1 0 R/Encrypt 4 0 R/ID[<00><00>]/Size 5>>
%%%%EOF
""" % (b"5a" * 32, b"a5" * 32)


@pytest.fixture
def document(tmp_path):
    """Two pages of 72 x 36 points: the left half of the first is red, the second is blue."""
    first, second = (Image.new("RGB", (72, 36), colour) for colour in ("white", "blue"))
    first.paste("red", (0, 0, 36, 36))
    file = tmp_path / "pages.pdf"
    first.save(file, save_all=True, append_images=[second], resolution=72)
    return file


def test_pages_are_drawn_at_200_dots_an_inch(document):
    pages = PdfPages("pages.pdf", str(document))
    assert len(pages) == 2
    first, second = pages[0], pages[1]
    assert first.shape == (100, 200, 3) and first.dtype == np.uint8
    assert first[50, 40] == pytest.approx((255, 0, 0), abs=3)
    assert first[50, 160] == pytest.approx((255, 255, 255), abs=3)
    assert second[50, 100] == pytest.approx((0, 0, 255), abs=3)


def test_a_pdf_file_is_a_source_of_its_pages_whatever_its_name(document):
    items, count = read(document)
    assert [item.source for item in items] == [f"{document}:1", f"{document}:2"]
    assert count == 2 and all(item.page for item in items)
    named = document.rename(document.with_name("scan"))
    items, _ = read(named)
    assert [item.image.shape for item in items] == [(100, 200, 3)] * 2


def test_folders_give_their_pdf_files_where_pages_are_wanted(document):
    Image.new("RGB", (8, 8)).save(document.with_name("q.png"))
    (crops,) = sources.expand([str(document.parent)])
    assert [item.page for item in crops.items()] == [False]
    (pages,) = sources.expand([str(document.parent)], wanted=sources.Wanted(whole=True))
    assert [item.page for item in pages.items()] == [True, True, False] and pages.count == 3


def test_what_was_read_before_is_passed_over(document):
    wanted = sources.Wanted(whole=True)
    wanted.done.update([f"{document}:1"])
    (source,) = sources.expand([str(document)], wanted=wanted)
    assert [item.source for item in source.items()] == [f"{document}:2"]


def test_encrypted_and_damaged_files_are_one_line(tmp_path):
    (tmp_path / "locked.pdf").write_bytes(ENCRYPTED)
    (tmp_path / "torn.pdf").write_bytes(b"%PDF-1.4\n1 0 obj <</Type")
    with pytest.raises(UserError, match=r"locked\.pdf: is encrypted; save it without its password"):
        PdfPages("locked.pdf", str(tmp_path / "locked.pdf"))
    items, count = read(tmp_path / "torn.pdf")
    assert count == 1 and items[0].image is None
    assert items[0].error.startswith(f"{tmp_path / 'torn.pdf'}: cannot read it (")
    assert "\n" not in items[0].error
