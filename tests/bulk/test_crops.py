"""Crops of tables, tars, LMDBs and folders: each is in one part, and what is bad has its error."""

import io
import tarfile

import pyarrow
import pytest
from pyarrow import parquet

from tests.conftest import png, word_image, write_lmdb
from textsr_jax.bulk import Crops, crops, places, plans
from textsr_jax.bulk.crops import Piece
from textsr_jax.errors import UserError

IMAGE = png(word_image("open"))


def contents(source, parts=None) -> dict[str, bytes | str]:
    """By id: the image, or the error."""
    place, files = plans.find_source(str(source))
    parts = plans.make(place, files) if parts is None else parts
    found = [crop for pieces in parts for crop in crops.read(place, pieces)]
    assert len({crop.id for crop in found}) == len(found)
    assert all((crop.image is None) != (crop.error is None) for crop in found)
    return {crop.id: crop.error if crop.image is None else crop.image for crop in found}


def write_tar(path, members: list[tuple[str, bytes]]):
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


@pytest.fixture
def folder(tmp_path):
    """A file of each kind: a tar, two tables, an LMDB and an image."""
    folder = tmp_path / "words"
    folder.mkdir()
    write_tar(
        folder / "a.tar", [("x.png", b"1"), ("x.json", b"{}"), ("y/z.jpg", b"2"), ("x.png", b"3")]
    )
    (folder / "b.png").write_bytes(b"4")
    rows = {"id": [7, None, 9], "image": [b"5", b"6", None]}
    parquet.write_table(pyarrow.table(rows), folder / "c.parquet")
    hub = [{"bytes": b"8", "path": "n.png"}, {"bytes": None, "path": "b.png"}]
    parquet.write_table(pyarrow.table({"image": hub}), folder / "d.parquet")
    records = [{"image_lr": b"9", "image_hr": b"-"}, {"image": b"10"}, {"label": b"none"}]
    write_lmdb(folder / "e", records)
    (folder / "notes.md").write_text("")
    return folder


def test_crops_of_every_kind(folder, caplog):
    found = contents(folder)
    assert found.pop("9").endswith(
        "words/c.parquet:2: has no image; give the bytes or the path of an image file"
    )
    assert "has no image; expected keys" in found.pop("e/data.mdb:3")
    assert found == {
        "a.tar:x.png": b"1",
        "a.tar:y/z.jpg": b"2",
        "a.tar:x.png#2": b"3",
        "b.png": b"4",
        "7": b"5",
        "c.parquet:1": b"6",
        "d.parquet:0": b"8",
        "d.parquet:1": b"4",
        "e/data.mdb:1": b"9",
        "e/data.mdb:2": b"10",
    }
    assert "passed over 1 of 7 files, such as notes.md" in caplog.text


def test_a_data_source_of_ray(folder):
    tasks = Crops(str(folder)).get_read_tasks(1)
    rows = [row for task in tasks for table in task() for row in table.to_pylist()]
    found = {row["id"]: row["error"] or row["image"] for row in rows}
    assert len(found) == len(rows) and found == contents(folder)
    assert found["e/data.mdb:2"] == b"10"
    (row,) = (row for row in rows if row["id"] == "7")
    assert row["source"] == f"{folder}/c.parquet:0"


@pytest.mark.parametrize("count, most", [(40, 1), (64 * 256 + 1, 256)])
def test_photographs_have_small_parts(count, most):
    files = [(f"{number}.jpg", "image") for number in range(count)]
    parts = plans.make(places.find("photographs"), files, *plans.PAGES)
    assert max(map(len, parts)) == most and sum(map(len, parts)) == count


@pytest.mark.parametrize("groups", [1, 4, 100])
def test_parts_hold_each_row_once(tmp_path, monkeypatch, groups):
    images = [b"%d" % number for number in range(100)]
    path = tmp_path / "words.parquet"
    parquet.write_table(pyarrow.table({"image": images}), path, row_group_size=-(-100 // groups))
    place, files = plans.find_source(str(path))
    parts = plans.make(place, files)
    assert len(parts) == -(-100 // plans.CROPS[0]) or groups == 4
    found = contents(path, parts)
    assert found == {f"words.parquet:{number}": image for number, image in enumerate(images)}
    # Any row may be the first or the last of a piece.
    for first, stop in [(0, 1), (24, 26), (25, 75), (99, 100)]:
        (pieces,) = ([Piece("", "parquet", first, stop)],)
        assert [crop.image for crop in crops.read(place, pieces)] == images[first:stop]


def test_what_a_stop_may_leave_of_a_file_has_an_error_for_each_crop(folder):
    place = places.find(str(folder))
    rows = list(crops.read(place, [Piece("c.parquet", "parquet", 1, 5)]))
    assert [row.id for row in rows] == ["c.parquet:1", "9", "c.parquet[3]", "c.parquet[4]"]
    assert rows[2].error.endswith(
        "c.parquet: has fewer crops than when the work began; put it there as it was"
    )
    content = (folder / "a.tar").read_bytes()
    (folder / "a.tar").write_bytes(content[:1600])
    *whole, damaged = crops.read(place, [Piece("a.tar", "tar")])
    assert [crop.id for crop in whole] == ["a.tar:x.png"]
    assert damaged.id == "a.tar" and "is damaged or cut short" in damaged.error
    (folder / "d.parquet").write_bytes(b"PAR1")
    (row,) = contents(folder / "d.parquet").values()
    assert "d.parquet: is damaged or cut short" in row
    (gone,) = crops.read(place, [Piece("gone.png", "image", 0, 1)])
    assert gone.id == "gone.png" and gone.error.endswith("gone.png: no such file or folder")


@pytest.mark.parametrize(
    "name, message",
    [
        ("nowhere", "no such file or folder; name the crops to read"),
        ("empty", r"holds no image files, .* \(0 other files\)"),
        ("words/*.jpg", "matches no file's name"),
        ("table.parquet", "has no column image or image_lr or path, only text; rename"),
        ("nosuch://bucket/a", "no file system for it"),
    ],
)
def test_what_is_no_source_is_one_line(folder, tmp_path, monkeypatch, name, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    parquet.write_table(pyarrow.table({"text": ["a"]}), tmp_path / "table.parquet")
    with pytest.raises(UserError, match=message):
        contents(name)


def test_a_pattern(folder):
    assert [*contents(f"{folder}/[ab].*")] == [
        "a.tar:x.png",
        "a.tar:y/z.jpg",
        "a.tar:x.png#2",
        "b.png",
    ]
