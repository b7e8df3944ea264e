"""The index of a prepared split: what a start asks of all records, without reading them."""

import hashlib
import logging

import numpy as np
import pytest

from tests.conftest import write_lmdb
from tests.data.test_textzoom import sample
from textsr_jax import data, text
from textsr_jax.config.settings import Data
from textsr_jax.data import batching, record_index, records
from textsr_jax.errors import UserError

LABELS = ["Open", "a-b c!", "x" * 40, "2nd", "é1", "y" * 9]


@pytest.fixture
def config(tmp_path):
    write_lmdb(tmp_path / "root" / "train1", [sample(w, n) for n, w in enumerate(LABELS)])
    write_lmdb(tmp_path / "root" / "train2", [sample(f"b{n}", n) for n in range(6)])
    places = {"root": str(tmp_path / "root"), "data_dir": str(tmp_path / "prepared")}
    return Data().replace(**places, validation_fraction=0.25)


def started(config):
    """The keys of a training's records and validation records, and its first batches."""
    found = data.load(config)
    stream = batching.train_batches(found.train, batch_size=4, max_length=9, seed=0)
    batches = [next(stream).index.tolist() for _ in range(5)]
    return records.keys(found.train), records.keys(found.validation), batches


def test_a_start_reads_the_index_and_no_record(config, monkeypatch, caplog):
    train, validation, batches = started(config)
    keys = [f"train1:{n}" for n in range(1, 7)] + [f"train2:{n}" for n in range(1, 7)]
    ranked = sorted(keys, key=lambda key: hashlib.sha256(key.encode()).digest())
    assert validation == [key for key in keys if key in ranked[:3]]
    assert train == [key for key in keys if key in ranked[3:]]
    too_long = {train.index(key) for key in {"train1:3"} & set(train)}
    assert {n for batch in batches for n in batch} == set(range(9)) - too_long

    def read(*_):
        raise AssertionError("a record was read")

    with monkeypatch.context() as patch:
        patch.setattr(records.TfdsRecords, "text", read)
        patch.setattr(records.TfdsRecords, "__getitem__", read)
        found = data.load(config)
        lengths = records.lengths(found.train, text.ALPHABETS["printable"])
    labels = [text.ALPHABETS["printable"].normalize(label) for label in found.train.labels]
    assert lengths.tolist() == [len(label) for label in labels]


def test_runs_share_what_was_prepared_once(config, tmp_path):
    def files():
        found = (tmp_path / "prepared").rglob("*")
        return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}

    expected, written = started(config), files()
    assert sum("array_record" in path.name for path in written) == 2
    # Neither what is held out nor how labels are scored is a reason to prepare them again.
    data.load(config.replace(validation_fraction=0.5))
    assert started(config) == expected and files() == written


def test_a_set_of_an_older_version_gets_an_index(config, tmp_path):
    expected = started(config)
    files = sorted((tmp_path / "prepared").rglob("*.index.npy"))
    assert [file.name for file in files] == ["train1.index.npy", "train2.index.npy"]
    whole = [file.read_bytes() for file in files]
    files[0].unlink()
    files[1].write_bytes(whole[1][:-1])
    assert started(config) == expected
    assert [file.read_bytes() for file in files] == whole


def test_an_index_that_cannot_be_kept_is_made_in_memory(tmp_path, monkeypatch, caplog):
    def refuse(*_):
        raise UserError("index: cannot write it")

    monkeypatch.setattr(record_index.Index, "save", refuse)
    with caplog.at_level(logging.WARNING):
        rows = record_index.rows(tmp_path, "train", 5000, ((f"k{n}", "Ab-") for n in range(5000)))
    assert "index: cannot write it" in caplog.text and len(rows) == 5000
    digest = hashlib.sha256(b"k4999").digest()[:8]
    assert rows["hash"][-1] == int.from_bytes(digest, "big")
    assert np.all(rows["alphanumeric"] == 2) and np.all(rows["printable"] == 3)
