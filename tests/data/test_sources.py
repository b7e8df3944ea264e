"""What can be named to be read: files, folders, patterns, lists, LMDBs; and what is wrong there."""

import io
import os

import lmdb
import numpy as np
import pytest

from tests.conftest import png, record, word_image, write_lmdb
from textsr_jax.data import sources
from textsr_jax.images import LR_SIZE


def read(*names, listed=b""):
    found = sources.expand(map(str, names), io.BytesIO(listed))
    return [item for source in found for item in source.items()], sources.count(found)


@pytest.fixture
def folder(tmp_path):
    """Images b.png, a.PNG and c.jpg, and a file that is none; another folder below."""
    for name in ("b.png", "a.PNG", "c.jpg"):
        word_image(name[0]).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "below").mkdir()
    return tmp_path


def test_files_stay_in_the_order_in_which_they_are_named(folder):
    names = [str(folder / name) for name in ("c.jpg", "a.PNG", "c.jpg")]
    items, count = read(*names)
    assert [item.source for item in items] == names
    assert count == 3
    assert np.array_equal(items[1].image, np.asarray(word_image("a")))
    assert items[1].label is None and items[1].error == ""


def test_a_folder_has_its_images_by_name(folder):
    items, count = read(folder)
    assert [os.path.basename(item.source) for item in items] == ["a.PNG", "b.png", "c.jpg"]
    assert count == 3
    items, _ = read(folder / "below")
    assert "holds neither images nor an LMDB's data.mdb" in items[0].error


def test_a_pattern(folder):
    items, count = read(folder / "[ab].*")
    assert [os.path.basename(item.source) for item in items] == ["a.PNG", "b.png"]
    assert count == 2
    items, _ = read(folder / "*.gif")
    assert items[0].image is None and "no file's name is like this" in items[0].error
    # A file may have such a name itself.
    word_image("x").save(folder / "[x].png")
    items, _ = read(folder / "[x].png")
    assert [item.error for item in items] == [""]


def test_a_list_names_any_source_a_line(folder):
    listed = f"{folder / 'c.jpg'}\n\n{folder / 'none.png'}\r\n{folder}".encode()
    items, count = read("-", folder / "b.png", listed=listed)
    assert [os.path.basename(item.source) for item in items] == [
        *("c.jpg", "none.png", "a.PNG", "b.png", "c.jpg"),
        "b.png",
    ]
    assert count is None
    assert items[1].error == f"{folder / 'none.png'}: no such file"


def test_a_list_is_read_as_it_comes(folder):
    readable, writable = os.pipe()
    with open(readable, "rb") as listed, open(writable, "wb") as other_program:
        (source,) = sources.expand(["-"], listed)
        other_program.write(f"{folder / 'a.PNG'}\n".encode())
        other_program.flush()
        # More may come: it is not waited for.
        assert next(source.items()).image is not None


def test_textzoom_s_lr_side_with_its_labels(tmp_path):
    write_lmdb(tmp_path / "test", [record("Open"), record("taxi!")])
    items, count = read(tmp_path / "test")
    assert [item.source for item in items] == [f"{tmp_path / 'test'}:{n}" for n in (1, 2)]
    assert [item.label for item in items] == ["Open", "taxi!"]
    lr = word_image("Open").resize(LR_SIZE, 3)
    assert np.array_equal(items[0].image, np.asarray(lr))
    assert count == 2


def test_the_recognition_benchmarks_lmdb(tmp_path):
    image = word_image("exit")
    write_lmdb(
        tmp_path / "words",
        [
            {"image": png(image), "label": b"exit"},
            {"image": b"no image", "label": b"a"},
            {"label": b"b"},
            {"image": png(image)},
        ],
    )
    items, count = read(tmp_path / "words")
    assert count == 4
    assert np.array_equal(items[0].image, np.asarray(image)) and items[0].label == "exit"
    assert items[1].error.startswith(f"{tmp_path / 'words'}:2: cannot read it (not an image file)")
    assert f"{tmp_path / 'words'}:3: has no image; expected keys" in items[2].error
    assert items[3].label is None and items[3].image is not None


def test_what_is_wrong_with_an_lmdb_is_one_item(tmp_path):
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "data.mdb").write_bytes(b"x" * 100)
    (tmp_path / "other").mkdir()
    with lmdb.open(str(tmp_path / "other"), map_size=1 << 20):
        pass
    word_image("a").save(tmp_path / "a.png")
    items, _ = read(tmp_path / "cut", tmp_path / "other", tmp_path / "a.png")
    assert "data.mdb: is not a readable LMDB" in items[0].error
    assert "data.mdb: holds no images; expected keys such as image-000000001" in items[1].error
    assert items[2].error == ""


@pytest.mark.parametrize("count", [0, 2, 10**12, 10**30, "many", -1])
def test_an_lmdb_that_miscounts_is_read_whole_and_told_of(tmp_path, count):
    words = tmp_path / "words"
    write_lmdb(words, [record(word) for word in ("open", "exit", "taxi")], count, first=0)
    (told, *items), total = read(words)
    assert f"data.mdb: its num-samples is '{count}"[:40] in told.error
    assert "3 records are there (numbers 0 to 2) and are all read" in told.error
    assert [item.source for item in items] == [f"{words}:{n}" for n in (0, 1, 2)]
    assert [item.label for item in items] == ["open", "exit", "taxi"]
    assert total == 4


def test_an_lmdb_s_file_and_a_pattern_of_it(tmp_path):
    write_lmdb(tmp_path / "words", [record("café"), record("ＯＰＥＮ")])
    for name in (tmp_path / "words" / "data.mdb", tmp_path / "w*" / "data.mdb"):
        items, count = read(name)
        assert [item.label for item in items] == ["cafe", "OPEN"] and count == 2
        assert items[1].source == f"{tmp_path / 'words' / 'data.mdb'}:2"


def test_a_damaged_image_leaves_the_others(folder):
    (folder / "b.png").write_bytes((folder / "b.png").read_bytes()[:60])
    items, _ = read(folder)
    assert [bool(item.error) for item in items] == [False, True, False]
    assert str(folder / "b.png") in items[1].error
    assert "give a PNG, JPEG or the like" in items[1].error
