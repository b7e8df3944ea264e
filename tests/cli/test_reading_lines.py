"""Reading line by line: order, bad inputs, names of files, pictures."""

import dataclasses
import itertools
import json
import weakref
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from tests.report.test_figures import colors
from textsr_jax.cli import reading_lines
from textsr_jax.data.sources import Item
from textsr_jax.decoding.word_search import Words
from textsr_jax.errors import UserError
from textsr_jax.reading import Reader, Reading
from textsr_jax.text import ALPHANUMERIC

RIGHT, WRONG, INK = (0, 130, 40), (205, 30, 30), (40, 40, 40)


class Shades:
    """An engine that reads the brightness of an image, as a word of its digits."""

    alphabet = ALPHANUMERIC

    def __init__(self):
        self.batches = []

    def enlarge(self, lr):
        return lr.repeat(2, axis=1).repeat(2, axis=2)

    def recognize(self, images, cut, again):
        if again:
            self.batches.append(len(images))
        shades = images[:, 16, 64, 0]
        chances = np.log(np.maximum(shades, 1) / 256)
        texts = [str(shade) for shade in shades]
        letters = [np.full(len(word), sure) for word, sure in zip(texts, chances, strict=True)]
        return Words(texts, chances, chances, letters)


def shade(value: int, **about) -> Item:
    image = np.full((16, 64, 3), value, np.uint8)
    # What has no contrast is not read.
    image[:2] = image[-2:] = 255
    image[2:4] = image[-4:-2] = 0
    return Item(f"{value}.png", image, **about)


def write(items, total=None, **settings):
    return reading_lines.write_lines(
        items, total, lambda: Reader(Shades()), reading_lines.Output(**settings)
    )


BAD = Item("bad.png", error="bad.png: no such file")


def test_text_is_for_people(capsys):
    assert write([shade(64), shade(128)]) == 0
    assert capsys.readouterr().out == "64.png: 64 (25 %)\n128.png: 128 (50 %)\n"


def test_tsv_is_source_text_and_confidence(capsys):
    write([shade(64)], format="tsv")
    assert capsys.readouterr().out == "64.png\t64\t0.2500\n"


def test_jsonl_has_an_object_for_each_input_in_its_order(capsys):
    items = [shade(value) for value in range(1, 151)]
    items.insert(70, BAD)
    assert write(items, format="jsonl") == 1
    printed = capsys.readouterr()
    objects = [json.loads(line) for line in printed.out.splitlines()]
    assert [one["source"] for one in objects] == [item.source for item in items]
    assert objects[70] == {
        "source": "bad.png",
        "text": None,
        "confidence": None,
        "error": "bad.png: no such file",
    }
    good = objects[:70] + objects[71:]
    assert [one["text"] for one in good] == [str(value) for value in range(1, 151)]
    assert [one["confidence"] for one in good] == pytest.approx(np.arange(1, 151) / 256)
    assert all(one.keys() == {"source", "text", "confidence"} for one in good)


def test_a_bad_image_is_one_line_and_the_others_are_read(capsys):
    assert write([shade(64), BAD, BAD, shade(128)], format="tsv") == 2
    printed = capsys.readouterr()
    assert printed.out == "64.png\t64\t0.2500\n128.png\t128\t0.5000\n"
    assert printed.err == "error: bad.png: no such file\n" * 2


def test_without_an_image_no_model_is_loaded(capsys):
    def load():
        raise AssertionError

    assert reading_lines.write_lines([BAD], 1, load, reading_lines.Output()) == 1
    assert capsys.readouterr().out == ""


def test_lines_come_out_while_reading_goes_on(capsys):
    """What stops reading loses nothing that was read before."""

    def items():
        yield from [shade(64)] * 100
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(items())
    assert len(capsys.readouterr().out.splitlines()) == 64


FORGING = "a\nb.png: open (100 %)\x1b[2K\r\x85\u2028\u2029\u202e\u2066\udcff\t.png"
ESCAPED = r"a\nb.png: open (100 %)\x1b[2K\r\x85\u2028\u2029\u202e\u2066\xff\t.png"


def test_a_name_cannot_forge_a_line(capsys):
    item = dataclasses.replace(shade(64), source=FORGING)
    bad = Item(FORGING, error=f"{FORGING}: no such file")
    write([item, bad])
    printed = capsys.readouterr()
    assert printed.out == f"{ESCAPED}: 64 (25 %)\n"
    assert printed.err == f"error: {ESCAPED}: no such file\n"
    write([item], format="tsv")
    assert capsys.readouterr().out == f"{ESCAPED}\t64\t0.2500\n"
    write([item, bad], format="jsonl")
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["source"] for line in lines] == [FORGING, FORGING]
    assert all(line.isascii() and line.isprintable() for line in lines)


@pytest.mark.slow
def test_large_images_make_small_batches(capsys):
    """As many bytes are held, whatever the images' sizes."""
    made, most = [], 0

    def items():
        nonlocal most
        for number in range(40):
            # A class of arrays that can be counted.
            image = np.full((1024, 1024, 3), number, np.uint8).view(
                type("Image", (np.ndarray,), {})
            )
            made.append(weakref.ref(image))
            most = max(most, sum(there() is not None for there in made))
            yield Item(f"{number}.png", image)
            del image

    class Fast(Reader):
        def read_and_show(self, images):
            return [(Reading("a", 1.0), image[:32]) for image in images]

    assert (
        reading_lines.write_lines(items(), 40, lambda: Fast(Shades()), reading_lines.Output()) == 0
    )
    assert len(capsys.readouterr().out.splitlines()) == 40
    # A batch, and the one that is read next.
    assert most <= 17


def test_an_endless_list_is_read_in_batches(capsys):
    engine = Shades()
    items = itertools.chain(itertools.repeat(shade(64), 130), [BAD])
    reading_lines.write_lines(items, None, lambda: Reader(engine), reading_lines.Output())
    assert engine.batches == [64, 64, 2]
    assert len(capsys.readouterr().out.splitlines()) == 130


def test_images_are_saved_only_where_that_is_asked_for(tmp_path, capsys):
    items = [
        Item(source, np.full((16, 64, 3), value, np.uint8))
        for value, source in enumerate(["x/a.png", "y/a.jpg", "words/train:17", "words/train:18"])
    ]
    write(items)
    assert not list(tmp_path.iterdir())
    write(items, save_sr=str(tmp_path / "new" / "sr"))
    names = ["a_sr.png", "a_sr_2.png", "train_17_sr.png", "train_18_sr.png"]
    assert sorted(path.name for path in (tmp_path / "new" / "sr").iterdir()) == names
    for value, name in enumerate(names):
        with Image.open(tmp_path / "new" / "sr" / name) as image:
            assert image.size == (128, 32)
            assert colors(image) == {(value, value, value)}
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot make the folder"):
        write(items, save_sr=str(tmp_path / "file" / "sr"))


def test_a_numbered_name_that_a_file_has_already():
    names = Counter()
    given = [
        reading_lines.free_name(s, names) for s in ("a.png", "b/a.png", "a_sr_2.png", "c/a.png")
    ]
    assert given == ["a_sr.png", "a_sr_2.png", "a_sr_2_sr.png", "a_sr_3.png"]


def test_any_source_gives_a_name_that_a_file_can_have(tmp_path, capsys):
    sources = [f"{FORGING}", "字" * 85, "字" * 85 + ".jpg", f"{'a' * 255}:7", "x/\udcff:8"]
    shade = np.full((16, 64, 3), 64, np.uint8)
    write([Item(source, shade) for source in sources], save_sr=str(tmp_path / "sr"))
    saved = sorted(path.name for path in (tmp_path / "sr").iterdir())
    stem = "字" * 66
    assert saved == sorted(
        [
            f"{ESCAPED.removesuffix('.png')}_sr.png",
            f"{stem}_sr.png",
            f"{stem}_sr_2.png",
            f"{'a' * 200}_7_sr.png",
            r"\xff_8_sr.png",
        ]
    )


def test_the_grid_shows_images_words_and_what_is_wrong(tmp_path, capsys):
    place = tmp_path / "grid.png"

    def shown(*items):
        write(items, grid=str(place))
        with Image.open(place) as image:
            return image.size, colors(image)

    (width, height), without_label = shown(shade(64))
    assert (64, 64, 64) in without_label and INK in without_label
    assert not {RIGHT, WRONG} & without_label
    labelled, right = shown(shade(64, label="64"))
    assert RIGHT in right and WRONG not in right
    assert labelled == (width, height)
    (_, taller), wrong = shown(shade(64, label="65"), BAD, shade(128))
    assert RIGHT in wrong and WRONG in wrong
    # Two words below each other, and nothing for what could not be read.
    assert height < taller < 2 * height


def test_a_grid_that_cannot_be_written_is_said_before_anything_is_read(tmp_path):
    for place, message in (
        (tmp_path / "grid.jpg", "ends in .png"),
        (tmp_path / "none" / "grid.png", "its folder does not exist"),
    ):
        with pytest.raises(UserError, match=message):
            write([shade(64)], grid=str(place))


def test_a_whole_photograph_gets_a_line_that_says_what_to_do(capsys):
    scene = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    photograph = Item("hall.jpg", np.asarray(Image.fromarray(scene).resize((640, 480))))
    assert write([shade(64), photograph]) == 0
    out, err = capsys.readouterr()
    assert [line.split(":")[0] for line in out.splitlines()] == ["64.png", "hall.jpg"]
    assert err.startswith("warning: hall.jpg: seems to be a whole photograph")
    assert "crop its words" in err and len(err.splitlines()) == 1


def test_a_line_without_end_does_not_keep_others_from_being_read(capsys):
    stripes = np.random.default_rng(0).integers(0, 2, (4, 9_000, 3), np.uint8).repeat(4, 0) * 200
    assert write([Item("long.png", stripes), shade(64)]) == 1
    out, err = capsys.readouterr()
    assert out == "64.png: 64 (25 %)\n"
    assert err.startswith("error: long.png: ") and len(err.splitlines()) == 1


def test_one_colour_has_no_text(capsys):
    assert write([Item("grey.png", np.full((32, 128, 3), 127, np.uint8))]) == 0
    assert capsys.readouterr().out == "grey.png: (nothing) (100 %)\n"
