"""What the demo answers: limits of uploads, images side by side, the word as HTML."""

import numpy as np
import pytest
from PIL import Image

from tests.conftest import word_image
from textsr_jax.demo import answers
from textsr_jax.errors import MissingPackage, UserError
from textsr_jax.images import resize
from textsr_jax.photos import enhancing, page_reading
from textsr_jax.photos.page import Line, Page, Word
from textsr_jax.reading import Description, Reading


class Enlarging:
    """A reader whose SR images are bicubic ones with less red, and which reads "open"."""

    description = Description("here", "edsr", "cdistnet", "4 bits", "8 bits", 10)

    def __init__(self):
        self.asked: list[tuple[int, ...]] = []

    def enhance(self, pieces):
        self.asked += [piece.shape for piece in pieces]
        made = np.stack([resize(resize(piece, (64, 16)), (128, 32)) for piece in pieces])
        made[..., 0] //= 2
        return made

    def read_and_show(self, images):
        return [(Reading("o<en", 0.5, (1.0, 0.0, 0.5, 0.9)), images[0]) for _ in images]


class Offering:
    """Pairs of one reader; it notes what it is asked for."""

    def __init__(self):
        self.asked: list[tuple[object, ...]] = []

    def reader(self, *which):
        self.asked.append(which)
        return Enlarging()


@pytest.mark.parametrize(("width", "pieces"), [(128, 1), (400, 3), (20, 1)])
def test_both_images_show_the_same_place_at_the_image_s_aspect(width, pieces):
    image = np.full((32, width, 3), 200, np.uint8)
    image[:, width // 2 :] = (90, 20, 20)
    reader = Enlarging()
    before, after = answers.sharpened(image, reader)
    assert len(reader.asked) == pieces
    assert before.shape == after.shape
    assert before.shape[1] / before.shape[0] == pytest.approx(width / 32, rel=0.01)
    assert abs(before[..., 1:].astype(int) - after[..., 1:]).mean() < 3
    assert abs(before[..., 0] / 2 - after[..., 0]).mean() < 3


def test_an_answer_has_the_word_and_what_made_it(tmp_path):
    path, pairs = tmp_path / "open.png", Offering()
    word_image("open").resize((60, 15)).save(path)
    found = answers.answer(path, pairs, "mine", "JAX", 4)
    assert pairs.asked == [("mine", "JAX", 4)]
    assert (found.text, found.confidence) == ("o<en", 0.5) and len(found.notes) == 1
    shown = answers.as_html(found)
    assert "edsr (4 bits) and cdistnet (8 bits) on JAX" in shown and "50 %" in shown
    assert '<span title="100 %" style="opacity: 1.00">o</span>' in shown
    assert '<span title="0 %" style="opacity: 0.35">&lt;</span>' in shown
    # A sharp crop of 32 rows is read as it is, which is said.
    word_image("open").resize((256, 64)).save(path)
    assert "The crop is sharp" in answers.as_html(answers.answer(path, pairs, "mine", "JAX", 4))


def test_a_photograph_is_read_as_a_page_where_that_is_possible(tmp_path, monkeypatch):
    path = tmp_path / "street.png"
    photograph = Image.new("RGB", (800, 600), (120, 130, 140))
    photograph.paste(word_image("open"), (300, 200))
    photograph.save(path)
    box = np.array([[300.0, 200], [428, 200], [428, 232], [300, 232]])
    found = Page((Line((Word("op<n", 0.8, box), Word("late", 0.4, box + 150)), box),), 800, 600)
    monkeypatch.setattr(answers, "is_photograph", lambda *_: True)
    monkeypatch.setattr(page_reading, "read_page", lambda image, reader: found)
    doubled = np.full((1200, 1600, 3), 77, np.uint8)
    monkeypatch.setattr(enhancing, "enhance_page", lambda image, page, reader: doubled)
    answer = answers.answer(path, Offering(), "mine", "JAX", None)
    assert (answer.text, answer.page) == ("op<n late", found)
    assert answer.confidence == pytest.approx(0.6)
    assert answer.before.shape == answer.after.shape == answer.drawn.shape == (1200, 1600, 3)
    assert (answer.after == 77).all() and (answer.before[0, 0] == (120, 130, 140)).all()
    # The box of a sure word is green, at its place; nothing else in the photograph is.
    red, green, _ = np.moveaxis(answer.drawn.astype(int), -1, 0)
    rows, columns = np.nonzero(green - red > 50)
    assert 360 < rows.min() < rows.max() < 470 and 595 < columns.min() < columns.max() < 865
    shown = answers.as_html(answer)
    assert '<span title="80 %" style="opacity: 0.87">op&lt;n</span> <span title="40 %"' in shown

    def missing(image, reader):
        raise MissingPackage("install [photos]")

    monkeypatch.setattr(page_reading, "read_page", missing)
    answer = answers.answer(path, Offering(), "mine", "JAX", None)
    assert answer.page is None and "crop a word of it. install [photos]" in answers.as_html(answer)
    monkeypatch.setattr(page_reading, "read_page", lambda image, reader: Page((), 800, 600))
    answer = answers.answer(path, Offering(), "mine", "JAX", None)
    assert answer.page is None and "no text was found in it" in answers.as_html(answer)


def test_what_is_too_large_or_no_image_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n damaged")
    with pytest.raises(UserError, match=r"a\.png: cannot read it"):
        answers.opened(path)
    with pytest.raises(UserError, match=r"gone\.png: cannot read it \(No such file"):
        answers.opened(tmp_path / "gone.png")
    Image.new("1", (4097, 4096)).save(path)
    with pytest.raises(UserError, match=r"a\.png: has 4097x4096 pixels"):
        answers.opened(path)
    monkeypatch.setattr(answers, "MOST_BYTES", 10)
    with pytest.raises(UserError, match=r"a\.png: has 0 MB; drop a file of at most"):
        answers.opened(path)
