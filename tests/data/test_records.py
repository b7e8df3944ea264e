"""Prepared data sets: what is stored, and what happens when it cannot be written or read."""

import fcntl
import os
import resource
import shutil
import tempfile

import numpy as np
import pytest
from tensorflow_datasets.core import shuffle

from tests.conftest import write_lmdb
from tests.data.test_textzoom import sample
from textsr_jax.data import records, shards, textzoom
from textsr_jax.data.synthetic.words import SyntheticWords
from textsr_jax.data.textzoom import TextZoom
from textsr_jax.errors import UserError


@pytest.fixture
def root(tmp_path):
    write_lmdb(tmp_path / "root" / "train1", [sample(f"w{n}", n) for n in range(30)])
    return tmp_path / "root"


def test_all_images_of_a_prepared_set(root, tmp_path, monkeypatch):
    builder = TextZoom(root=root, data_dir=tmp_path / "prepared")
    records.prepare(builder)
    source = records.TfdsRecords(builder, "train1")
    plain = [source[index] for index in range(30)]
    expected = {name: np.stack([getattr(r, name) for r in plain]) for name in ("lr", "hr")}
    assert len(np.unique(expected["hr"], axis=0)) > 20
    for name, images in expected.items():
        np.testing.assert_array_equal(records.images(plain, name), images)
        np.testing.assert_array_equal(records.images(source, name), images)
    # By several processes, the last of which has fewer.
    monkeypatch.setattr(records, "_MANY", 30)
    monkeypatch.setattr(records, "_CHUNK", 4)
    np.testing.assert_array_equal(records.images(source, "hr"), expected["hr"])


def test_a_list_of_records_is_a_source():
    record = records.Record("k:1", np.zeros(0), np.zeros(0), "Word")
    assert records.labels([record, record]) == ["Word", "Word"]
    assert records.keys([record]) == ["k:1"]


def test_preparing_is_silent_and_leaves_nothing_behind(root, tmp_path, capfd, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    records.prepare(TextZoom(root=root, data_dir=tmp_path / "prepared"))
    SyntheticWords(data_dir=tmp_path / "prepared", workers=1)
    assert capfd.readouterr() == ("", "")
    assert not list((tmp_path / "temporary").iterdir())


def test_a_set_too_large_for_memory_keeps_its_order(root, tmp_path, monkeypatch):
    # TFDS's own way then takes TensorFlow, which is not installed, and files of a key's range each.
    monkeypatch.setattr(shuffle, "MAX_MEM_BUFFER_SIZE", 1_000)
    builder = TextZoom(root=root, data_dir=tmp_path / "prepared")
    records.prepare(builder)
    source = records.TfdsRecords(builder, "train1")
    assert source.keys == [f"train1:{n}" for n in range(1, 31)]
    assert source.labels == [f"w{n}" for n in range(30)]
    assert not list((tmp_path / "prepared").rglob("*.tmp"))


def test_several_processes_and_files_make_the_same_set(tmp_path, monkeypatch):
    words = [sample("...!" if n in (2, 29) else f"w{n}", n) for n in range(30)]
    write_lmdb(tmp_path / "root" / "train1", words, first=5)
    plain = TextZoom(root=tmp_path / "root", data_dir=tmp_path / "plain")
    records.prepare(plain)
    assert plain.info.splits["train1"].shard_lengths == [28]
    # By two processes, in files of about seven words.
    monkeypatch.setattr(records, "process_count", lambda count: 2)
    monkeypatch.setattr(textzoom, "_CHUNK", 4)
    monkeypatch.setattr(shards, "_SIZE", plain.info.splits["train1"].num_bytes // 4)
    other = TextZoom(root=tmp_path / "root", data_dir=tmp_path / "other")
    records.prepare(other)
    split = other.info.splits["train1"]
    assert len(split.shard_lengths) > 3 and sum(split.shard_lengths) == 28
    assert split.num_bytes == plain.info.splits["train1"].num_bytes
    total = f"{len(split.shard_lengths):05d}"
    names = sorted(path.name for path in other.data_path.glob("*array_record*"))
    assert names[-1] == f"textzoom-train1.array_record-{len(names) - 1:05d}-of-{total}"
    assert other.skipped == plain.skipped == {"train1": {"label without 0-9a-z": 2}}
    assert other.fingerprint() == plain.fingerprint() and other.complaints() == plain.complaints()
    sources = [records.TfdsRecords(builder, "train1") for builder in (plain, other)]
    for one, two in ([source[n] for source in sources] for n in range(28)):
        assert one.key == two.key and one.label == two.label
        np.testing.assert_array_equal(one.lr, two.lr)
        np.testing.assert_array_equal(one.hr, two.hr)


def test_unwritable_data_dir_is_named(root, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"file/prepared: cannot write.*set config.data.data_dir"):
        records.prepare(TextZoom(root=root, data_dir=tmp_path / "file" / "prepared"))


def test_a_full_disk_leaves_nothing_half_prepared(root, tmp_path):
    builder = TextZoom(root=root, data_dir=tmp_path / "prepared")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(UserError, match=r"prepared: cannot write.*free some space"):
            records.prepare(builder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not [path for path in (tmp_path / "prepared").rglob("*") if path.is_file()]

    builder = TextZoom(root=root, data_dir=tmp_path / "prepared")
    records.prepare(builder)
    assert len(records.TfdsRecords(builder, "train1")) == 30


def test_two_processes_may_prepare_the_same_set(root, tmp_path, monkeypatch):
    slow = TextZoom(root=root, data_dir=tmp_path / "prepared")
    late = TextZoom(root=root, data_dir=tmp_path / "prepared")
    fast = TextZoom(root=root, data_dir=tmp_path / "prepared")
    generate = slow._generate_examples

    def overtaken(folder):
        records.prepare(fast)
        yield from generate(folder)

    monkeypatch.setattr(slow, "_generate_examples", overtaken)
    for builder in (slow, late):
        records.prepare(builder)
        source = records.TfdsRecords(builder, "train1")
        assert [source[n].label for n in range(30)] == [f"w{n}" for n in range(30)]


def test_a_damaged_copy_is_named(root, tmp_path):
    builder = TextZoom(root=root, data_dir=tmp_path / "prepared")
    records.prepare(builder)
    (file,) = builder.data_path.glob("*.array_record*")
    file.unlink()
    with pytest.raises(UserError, match=r"2\.0\.0: the prepared data are damaged; delete"):
        records.prepare(TextZoom(root=root, data_dir=tmp_path / "prepared"))
    (builder.data_path / "dataset_info.json").unlink()
    with pytest.raises(UserError, match=r"2\.0\.0: the prepared data are damaged; delete"):
        records.prepare(TextZoom(root=root, data_dir=tmp_path / "prepared"))


def test_what_a_killed_process_left_is_deleted(root, tmp_path):
    builder = TextZoom(root=root, data_dir=tmp_path / "prepared")
    left = builder.data_path.parent / "incomplete.ABC123_2.0.0"
    (left / "part").mkdir(parents=True)
    # Another process that prepares this set now, whose folder it may be.
    other = os.open(left.parent, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_SH)
    records.prepare(builder)
    assert left.is_dir()
    os.close(other)
    shutil.rmtree(builder.data_path)
    records.prepare(TextZoom(root=root, data_dir=tmp_path / "prepared"))
    assert [path.name for path in left.parent.iterdir()] == ["2.0.0"]
