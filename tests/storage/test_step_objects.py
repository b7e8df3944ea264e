"""Checkpoints in an object store: whole or not there, the same bits as on a disk."""

import pytest

from tests import stores
from tests.conftest import same
from tests.storage.test_checkpoints import TEMPLATE, tree
from textsr_jax.errors import StoreError
from textsr_jax.runtime import paths
from textsr_jax.storage.checkpoints import Checkpoints, SavedCheckpoints
from textsr_jax.train.best import BestModels

bucket = stores.bucket


def test_the_newest_of_the_kept_two_comes_back_and_unfinished_ones_do_not(bucket, monkeypatch):
    saved = Checkpoints(bucket / "run" / "checkpoints")
    for step in (1, 2, 3):
        saved.save(step, tree(step), {"next": step})
    saved.wait()
    reader = SavedCheckpoints(bucket / "run" / "checkpoints")
    assert saved.steps() == reader.steps() == [2, 3]
    step, restored, record = reader.restore(TEMPLATE)
    assert step == 3 and same(restored, tree(3)) and record == {"next": 3}
    saved.save(3, tree(7), {"next": 7})
    saved.close()
    assert same(reader.restore(TEMPLATE)[1], tree(7)) and reader.record(2) == {"next": 2}

    # A process that is killed while it copies leaves some objects, and earlier steps as they are.
    upload, copied = paths.upload, []

    def dies(file, path):
        copied.append(path)
        if len(copied) == 5:
            raise StoreError("gone")
        upload(file, path)

    monkeypatch.setattr(paths, "upload", dies)
    saved = Checkpoints(bucket / "run" / "checkpoints")
    saved.save(4, tree(4), {})
    with pytest.raises(StoreError, match="gone"):
        saved.close()
    monkeypatch.undo()
    assert len(paths.objects(bucket / "run" / "checkpoints" / "4")) == 4
    assert reader.steps() == [2, 3] and reader.restore(TEMPLATE)[0] == 3
    saved = Checkpoints(bucket / "run" / "checkpoints")
    assert not paths.objects(bucket / "run" / "checkpoints" / "4")
    saved.discard_after(2)
    saved.close()
    assert reader.steps() == [2] and same(reader.restore(TEMPLATE)[1], tree(2))


def test_a_damaged_object_gives_way_to_the_checkpoint_before(bucket, caplog):
    saved = Checkpoints(bucket / "checkpoints")
    for step in (1, 2):
        saved.save(step, tree(step), {})
    saved.close()
    data = [name for name in paths.objects(bucket / "checkpoints") if name.startswith("2/tree/d/")]
    for name in data:
        (bucket / "checkpoints" / name).write_bytes(b"")
    step, restored, _ = saved.restore(TEMPLATE)
    assert data and step == 1 and same(restored, tree(1))
    assert "checkpoint 2 cannot be read" in caplog.text


def test_checkpoints_are_not_taken_as_damaged_while_the_store_fails(bucket, monkeypatch):
    best = BestModels(bucket, "toy")
    best.save(1, tree(1), {"score": 0.5})
    best.wait()

    def down(*_, **__):
        raise ConnectionError("no route")

    monkeypatch.setattr(stores.Store, "get_file", down)
    line = r"^gs://bucket/toy/best/1/\S+: cannot read it \(ConnectionError: no route\); see to"
    works = (
        lambda: best.restore(TEMPLATE),
        lambda: best.record(1),
        lambda: best.check_shapes(TEMPLATE),
        lambda: best.go_back(1, {"best_step": 1, "best_score": 0.5}, TEMPLATE),
    )
    for work in works:
        with pytest.raises(StoreError, match=line):
            work()
    monkeypatch.undo()
    assert best.record(1) == {"score": 0.5} and same(best.restore(TEMPLATE)[1], tree(1))
    best.close()
