"""What can be named to be read: files, folders, patterns, lists, LMDBs; and what is wrong there."""

import codecs
import errno
import io
import os
import sys

import lmdb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    assert items[0].image is None and "matches no file's name" in items[0].error
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


def names(items):
    return [os.path.basename(item.source) for item in items]


def test_a_folder_passes_over_what_is_no_image_in_one_line(folder, caplog):
    """Hidden files, as `._x.png` of macOS, other names and folders; and all suffixes are read."""
    for name in ("._a.png", ".DS_Store", "noext", "g.gif", "h.jfif", "i.ppm", "j.JPE", "k.tga"):
        (folder / name).write_bytes(png(word_image("a")))
    (folder / "folder.png").mkdir()
    items, count = read(folder)
    read_too = ["g.gif", "h.jfif", "i.ppm", "j.JPE", "k.tga"]
    assert names(items) == ["a.PNG", "b.png", "c.jpg", *read_too]
    assert count == 8 and not any(item.error for item in items)
    (record,) = caplog.records
    assert record.getMessage() == (
        f"{folder}: passed over 6 of 14 entries (folders: 2, hidden: 2, no images by their names: "
        "2); name them to read them"
    )
    (folder / "below" / ".a.png").write_bytes(b"")
    items, _ = read(folder / "below")
    assert "holds neither images nor an LMDB's data.mdb (passed over: hidden: 1)" in items[0].error


def test_what_is_no_file_in_a_folder_is_an_item(folder):
    os.mkfifo(folder / "aa.png")
    os.symlink("loop.png", folder / "loop.png")
    items, _ = read(folder)
    assert names(items) == ["a.PNG", "aa.png", "b.png", "c.jpg", "loop.png"]
    assert [bool(item.error) for item in items] == [False, True, False, False, True]
    assert "aa.png: is a FIFO" in items[1].error
    assert "Too many levels of symbolic links" in items[4].error


BAD_NAMES = ["a" * 300 + ".png", "a\0b.png", "b.png/c.png", "~nobody/none.png", "-", "x" * 5000]


def test_every_bad_name_in_a_list_is_an_item_and_the_others_are_read(folder, monkeypatch):
    monkeypatch.chdir(folder)
    os.symlink("loop", "loop")
    listed = "\n".join([*BAD_NAMES, "loop", "[*].gif", "a.PNG"]).encode() + b"\n\xff\xfe.png\nb.png"
    items, _ = read("-", listed=listed)
    assert [item.source for item in items if not item.error] == ["a.PNG", "b.png"]
    assert len(items) == len(BAD_NAMES) + 5
    for item in items:
        assert item.image is not None or item.error.startswith(f"{item.source}: ")
    assert os.fsencode(items[-2].source) == b"\xff\xfe.png"


@pytest.mark.skipif(sys.platform != "linux", reason="names are text there")
def test_a_name_that_is_no_text_is_opened(folder, monkeypatch):
    place = os.fsencode(folder) + b"/\xff\xfe\xe9.png"
    with open(place, "wb") as file:
        file.write(png(word_image("a")))
    items, _ = read("-", listed=place + b"\r\n")
    assert items[0].error == "" and os.fsencode(items[0].source) == place
    # First in a list, its first two bytes are no mark of UTF-16.
    monkeypatch.chdir(folder)
    items, _ = read("-", listed=b"\xff\xfe\xe9.png\nb.png\n")
    assert [item.error for item in items] == ["", ""]
    items, _ = read(folder)
    assert len(items) == 4 and not any(item.error for item in items)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-16-le"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_lists_of_any_unicode_encoding(folder, encoding, newline):
    word_image("x").save(folder / "Straße 字.png")
    text = newline.join([str(folder / "Straße 字.png"), str(folder / "a.PNG"), ""])
    # The last two put no mark themselves.
    mark = {"utf-16-be": codecs.BOM_UTF16_BE, "utf-16-le": codecs.BOM_UTF16_LE}.get(encoding, b"")
    items, _ = read("-", listed=mark + text.encode(encoding))
    assert names(items) == ["Straße 字.png", "a.PNG"]
    assert not any(item.error for item in items)


def test_labels_behind_a_tab(folder):
    word_image("x").save(folder / "tab\tin.png")
    lines = ["a.PNG\tOpen", "b.png\tÉté\t0.93", "none.png\tx", "c.jpg\t", "tab\tin.png"]
    listed = "\n".join(str(folder / line) for line in lines).encode()
    items, _ = read("-", listed=listed)
    assert names(items) == ["a.PNG", "b.png", "none.png", "c.jpg", "tab\tin.png"]
    assert [item.label for item in items] == ["Open", "Ete", "x", "", None]
    assert [bool(item.error) for item in items] == [False, False, True, False, False]


def test_without_standard_input(monkeypatch, folder):
    monkeypatch.setattr(sys, "stdin", None)
    found = sources.expand(["-", str(folder / "b.png")])
    items = [item for source in found for item in source.items()]
    assert "there is no standard input" in items[0].error and items[1].error == ""


def test_the_user_s_folder(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    items, _ = read("~/b.png", "~/[ab].*", "~", "-", listed=b"~/c.jpg\n~/none.png\n")
    found = ["b.png", "a.PNG", "b.png", "a.PNG", "b.png", "c.jpg", "c.jpg", "none.png"]
    assert names(items) == found
    assert [bool(item.error) for item in items] == [False] * 7 + [True]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all")
def test_what_may_not_be_read_is_an_item(folder):
    (folder / "b.png").chmod(0)
    (folder / "below").chmod(0)
    items, _ = read(folder, folder / "below", folder / "below" / "a.png")
    assert [bool(item.error) for item in items] == [False, True, False, True, True]
    assert "b.png: Permission denied; see to its permissions" in items[1].error
    (folder / "below").chmod(0o700)


def test_permissions_are_named_whoever_runs_this(folder, monkeypatch):
    """As above, where the tests run as root."""

    def refuse(path, *arguments, **more):
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", refuse)
    monkeypatch.setattr(os, "stat", refuse)
    items, _ = read(folder / "b.png", "-", listed=os.fsencode(folder / "c.jpg"))
    assert [item.error for item in items] == [
        f"{folder / name}: Permission denied; see to its permissions" for name in ("b.png", "c.jpg")
    ]


@given(st.lists(st.binary(max_size=12), max_size=8))
def test_any_list_gives_an_item_a_line(lines):
    """Whatever bytes come, nothing is raised, and each line has its own item."""
    lines = [line.replace(b"\n", b"").strip(b"\r\t/.~ *?[") for line in lines]
    # A mark of UTF-16 makes the rest that.
    listed = b"x.none\n" + b"\n".join(lines)
    items, _ = read("-", listed=listed)
    assert len(items) >= 1 + sum(bool(line) for line in lines)
    assert all(item.error for item in items)
