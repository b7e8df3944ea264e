"""Paths of disks stay as they are; those of object stores are URLs, and what is wrong is a line."""

import pathlib

import fsspec
import numpy as np
import pytest

from tests import stores
from tests.stores import Store
from textsr_jax.errors import MissingPackage, StoreError, UserError
from textsr_jax.runtime import atomic, paths

bucket = stores.bucket


def test_a_path_of_a_disk_is_that_of_pathlib(tmp_path):
    assert paths.named("runs/demo") == pathlib.Path("runs/demo")
    assert type(paths.named(tmp_path)) is type(tmp_path)
    with paths.on_disk(tmp_path / "a") as file:
        assert file == tmp_path / "a"


@pytest.mark.parametrize(
    "name", ["http://host/run", "gs://", "s3:///run", "gs:/bucket/run", "az://bucket/run", "://"]
)
def test_another_url_is_refused_with_what_to_name(name):
    with pytest.raises(UserError, match=r": no such place; name a folder, gs://BUCKET/FOLDER or"):
        paths.named(name)


def test_a_store_without_its_package_names_the_extra(monkeypatch):
    def missing(scheme):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec, "get_filesystem_class", missing)
    wanted = (
        r"s3://b/run: Install s3fs to access S3; it comes with the extra \[cloud\]: pip install"
    )
    with pytest.raises(MissingPackage, match=wanted):
        paths.named("s3://b/run")


def test_a_store_that_says_no_is_one_line(bucket, monkeypatch):
    def denied(self, path, **_):
        raise RuntimeError("no credentials\nfound")

    monkeypatch.setattr(Store, "exists", denied)
    wanted = r"gs://mine/run: cannot be opened \(RuntimeError: no credentials found\); see to its "
    with pytest.raises(UserError, match=wanted):
        paths.named("gs://mine/run")


def test_an_object_is_written_whole_or_not_at_all(bucket, monkeypatch):
    path = bucket / "run" / "a.json"
    atomic.write_json(path, {"a": 1})
    assert path.read_text() == '{\n  "a": 1\n}\n' and path.is_file() and (bucket / "run").is_dir()
    with pytest.raises(ZeroDivisionError), atomic.replacing(path) as stream:
        stream.write(b"half")
        raise ZeroDivisionError
    assert path.read_text() == '{\n  "a": 1\n}\n'

    def denied(*_, **__):
        raise PermissionError(13, "Forbidden")

    monkeypatch.setattr(Store, "put_file", denied)
    wanted = r"run/b: cannot write it \(Forbidden\); see to the store and to your credentials, and"
    with pytest.raises(StoreError, match=wanted):
        atomic.write_text(str(bucket / "run" / "b"), "")


def test_a_store_that_fails_is_one_line_and_nothing_is_taken_as_not_there(bucket, monkeypatch):
    atomic.write_text(bucket / "run" / "a", "text")
    path = bucket / "run" / "a"

    def down(self, *_, **__):
        raise ConnectionError("no route\nto the store")

    for method in ("info", "ls", "find", "glob", "get_file", "rm_file", "put_file", "_open"):
        monkeypatch.setattr(Store, method, down)
    works = {
        "look up": (path.exists, path.is_file, path.is_dir),
        "list": (lambda: paths.objects(path), lambda: [*path.iterdir()], lambda: [*path.glob("*")]),
        "read": (path.read_text, path.read_bytes, lambda: next(iter(path.open("rb")))),
        "delete": (path.unlink,),
        "delete from": (lambda: paths.remove(path, ["b"]),),
        "write": (lambda: atomic.write_text(path, "other"),),
    }
    for verb, calls in works.items():
        line = rf"^gs://bucket/run/a: cannot {verb} it \(ConnectionError: no route to the store\); "
        for call in calls:
            with pytest.raises(StoreError, match=line):
                call()
    monkeypatch.undo()
    assert path.read_text() == "text" and not (bucket / "run" / "b").exists()
    with pytest.raises(FileNotFoundError, match="no such object"):
        (bucket / "run" / "b").read_text()


def test_a_copy_of_an_object_is_mapped_and_deleted(bucket):
    expected = np.arange(6, dtype=np.uint8).reshape(2, 3)
    with atomic.replacing(bucket / "run" / "a.npy") as stream:
        np.save(stream, expected)
    with paths.on_disk(bucket / "run" / "a.npy") as file:
        mapped = np.load(file, mmap_mode="r")
    assert isinstance(mapped, np.memmap) and np.array_equal(mapped, expected)
    assert not file.parent.exists()


def test_the_objects_of_a_folder_are_those_below_it(bucket):
    for name in ("run/1/a", "run/1/b/c", "run/2/a", "running/1"):
        atomic.write_text(bucket / name, name)
    assert paths.objects(bucket / "run") == ["1/a", "1/b/c", "2/a"]
    with paths.folder_on_disk(bucket / "run", ("1/b", "2/")) as folder:
        found = {
            str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()
        }
    assert found == {"1/b/c": "run/1/b/c", "2/a": "run/2/a"}
    paths.remove(bucket / "run", ["1/a", "nowhere"])
    assert paths.objects(bucket) == ["run/1/b/c", "run/2/a", "running/1"]
    assert paths.objects(bucket / "nothing") == []
