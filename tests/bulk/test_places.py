"""Places: files of object stores appear whole or not at all, and names hold no passwords."""

import fsspec
import pytest

from textsr_jax.bulk import crops, places
from textsr_jax.bulk.crops import Piece
from textsr_jax.errors import UserError


@pytest.mark.parametrize("store", ["memory://bucket/results", "disk"])
def test_a_file_is_written_whole_or_not_at_all(store, tmp_path):
    place = places.find(store.replace("disk", str(tmp_path / "results")))
    for content in (b"first", b"second"):
        with place.replacing("a/file") as stream:
            stream.write(content)
        assert place.read("a/file") == content
    for file in ("a/file", "a/new"):
        with pytest.raises(RuntimeError), place.replacing(file) as stream:
            stream.write(b"half")
            raise RuntimeError
    assert place.read("a/file") == b"second"
    assert [*place.walk()] == ["a/file"]
    with pytest.raises(UserError, match=r"results/a/new: no such file or folder"):
        place.open("a/new")


def test_an_object_that_breaks_off_is_deleted(monkeypatch):
    place = places.find("memory://bucket/broken")
    store = fsspec.filesystem("memory")

    class Broken(type(store.open("/bucket/x", "wb"))):
        def write(self, content):
            super().write(content[:3])
            raise OSError("the connection is lost")

    monkeypatch.setattr(type(store), "open", lambda self, path, mode, **_: Broken(self, path))
    with (
        pytest.raises(UserError, match="broken/file: cannot write it"),
        place.replacing("file") as stream,
    ):
        stream.write(b"content")
    assert not store.exists("/bucket/broken/file")


def test_names_show_no_password():
    url = "s3://key:secret@bucket/words/?region=eu-west-1&endpoint_override=http://127.0.0.1:9"
    assert places.shown_name(url) == "s3://bucket/words"
    assert places.find(url).full_name("a.tar") == "s3://bucket/words/a.tar"
    assert places.base(url.replace("words/", "words/a-*.tar")).name == "s3://bucket/words"


def test_files_that_a_table_names(tmp_path):
    (tmp_path / "a.png").write_bytes(b"beside")
    with fsspec.open("memory://bucket/b.png", "wb") as stream:
        stream.write(b"elsewhere")
    beside = places.find(str(tmp_path))
    assert places.read_named("a.png", beside) == b"beside"
    assert places.read_named(str(tmp_path / "a.png"), places.find(".")) == b"beside"
    assert places.read_named("memory://bucket/b.png", beside) == b"elsewhere"


def test_a_store_that_fails_is_one_line(monkeypatch):
    place = places.find("memory://bucket/down")
    with place.replacing("a.png") as stream:
        stream.write(b"there")

    class Refused(Exception):
        """As of a store's own package: no OSError."""

    def down(*_, **__):
        raise Refused("no route\nto the store")

    store = type(fsspec.filesystem("memory"))
    line = r"^memory://bucket/down\S*: cannot {} it \(Refused: no route to the store\); see to"
    monkeypatch.setattr(store, "_open", down)
    with pytest.raises(UserError, match=line.format("open")):
        place.read("a.png")
    (crop,) = crops.read(place, [Piece("a.png", "image", 0, 1)])
    assert "a.png: cannot open it (Refused: no route to the store)" in crop.error
    for method in ("info", "find", "ls"):
        monkeypatch.setattr(store, method, down)
    with pytest.raises(UserError, match=line.format("look up")):
        place.is_there("a.png")
    with pytest.raises(UserError, match=line.format("list")):
        list(place.walk())
