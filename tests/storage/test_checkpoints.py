"""Checkpoints: what is saved comes back bit for bit, and a damaged one is passed over."""

import itertools
import logging
import shutil
import threading

import jax
import numpy as np
import pytest

from tests.conftest import same
from textsr_jax.errors import UserError
from textsr_jax.storage import checkpoints, workdirs
from textsr_jax.storage.checkpoints import Checkpoints, SavedCheckpoints


def tree(seed: int):
    rng = np.random.default_rng(seed)
    return {
        "params": {"conv": {"kernel": rng.standard_normal((3, 3, 8, 16)).astype(np.float32)}},
        "step": np.int32(seed),
        "key": np.asarray(jax.random.key_data(jax.random.key(seed))),
    }


TEMPLATE = checkpoints.abstract(tree(0))


@pytest.fixture
def saved(tmp_path):
    made = Checkpoints(tmp_path / "checkpoints")
    for step in (1, 2, 3):
        made.save(step, tree(step), {"data": {"next_index": step}})
        made.wait()
    yield made
    made.close()


def test_the_newest_of_the_kept_two_comes_back(saved):
    assert saved.steps() == [2, 3]
    step, restored, record = saved.restore(TEMPLATE)
    assert step == 3
    assert same(restored, tree(3))
    assert record == {"data": {"next_index": 3}}


def files(directory):
    return sorted(path for path in directory.rglob("*") if path.is_file() and path.stat().st_size)


def test_a_checkpoint_that_is_cut_short_gives_way_to_the_one_before_it(saved):
    for path in files(saved.directory / "3"):
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        step, restored, _ = saved.restore(TEMPLATE)
        assert same(restored, tree(step)), path
        path.write_bytes(whole)
    for path in files(saved.directory / "3"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    step, restored, _ = saved.restore(TEMPLATE)
    assert step == 2
    assert same(restored, tree(2))
    saved.discard_after(2)
    assert saved.steps() == [2]


def test_no_readable_checkpoint_is_an_error_that_names_the_folder(saved):
    for step in (2, 3):
        for path in files(saved.directory / str(step)):
            path.write_bytes(b"")
    with pytest.raises(UserError, match=r"checkpoints: no checkpoint there can be read"):
        saved.restore(TEMPLATE)


def test_another_networks_model_is_named(tmp_path):
    made = Checkpoints(workdirs.best_directory(tmp_path, "stage1"))
    made.save(3, tree(1), {})
    made.close()
    assert same(checkpoints.load_best(tmp_path, "stage1", TEMPLATE)[0], tree(1))
    longer = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((*leaf.shape, 2), leaf.dtype), TEMPLATE)
    for template, found in (
        (longer, "and \\(.*2\\) by the config"),
        ({}, "and None by the config"),
    ):
        with pytest.raises(UserError, match=f"best: another network was saved there: .*{found};"):
            checkpoints.load_best(tmp_path, "stage1", template)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_best_model_that_is_not_finite_is_refused(tmp_path, wrong):
    spoiled = tree(1)
    spoiled["params"]["conv"]["kernel"][1, 2, 3, 4] = wrong
    made = Checkpoints(workdirs.best_directory(tmp_path, "stage1"))
    made.save(3, spoiled, {})
    made.close()
    with pytest.raises(UserError, match="best: params/conv/kernel has values that are not finite"):
        checkpoints.load_best(tmp_path, "stage1", TEMPLATE)


def test_an_empty_folder_has_none(tmp_path):
    made = Checkpoints(tmp_path / "new")
    assert made.restore(TEMPLATE) is None
    made.close()
    assert checkpoints.load_best(tmp_path, "stage1", TEMPLATE) is None


def test_saving_a_step_again_replaces_it(tmp_path):
    made = Checkpoints(tmp_path / "again")
    made.save(5, tree(1), {})
    made.save(5, tree(2), {})
    made.wait()
    assert same(made.restore(TEMPLATE)[1], tree(2))
    made.close()


def test_a_full_disk_keeps_what_was_saved(saved, monkeypatch):
    def fill(*_, **__):
        raise ValueError("RESOURCE_EXHAUSTED: Failed to write: No space left on device")

    monkeypatch.setattr(saved._manager, "save", fill)
    with pytest.raises(UserError, match=r"checkpoints: the disk is full; the checkpoints before"):
        saved.save(4, tree(4), {})
    assert saved.restore(TEMPLATE)[0] == 3


def damages(content, rng):
    """The content with a bit flipped, a byte replaced, and a block of zeros, at some place."""
    place = int(rng.integers(len(content)))
    flipped, replaced = bytearray(content), bytearray(content)
    flipped[place] ^= 1 << int(rng.integers(8))
    replaced[place] ^= int(rng.integers(1, 256))
    block = content[place : place + 512]
    return flipped, replaced, content[:place] + bytes(len(block)) + content[place + len(block) :]


@pytest.mark.slow
def test_damage_never_gives_other_bits(saved, caplog):
    """Whatever is damaged in the newest: it comes back bit for bit, or the one before it does."""
    rng = np.random.default_rng(0)
    caplog.set_level(logging.CRITICAL)
    taken = {2: 0, 3: 0}
    for path in files(saved.directory / "3"):
        whole = path.read_bytes()
        # Where the arrays are, at more places.
        for _ in range(12 if path.parent.name == "d" else 2):
            for damaged in damages(whole, rng):
                path.write_bytes(damaged)
                step, restored, record = saved.restore(TEMPLATE)
                assert same(restored, tree(step)) and record["data"] == {"next_index": step}, path
                taken[step] += 1
        path.write_bytes(whole)
    assert min(taken.values()) > 20


def test_damaged_arrays_are_named(saved, caplog):
    # The chunks of an array are compressed: the largest file holds them.
    path = max(files(saved.directory / "3" / "tree"), key=lambda path: path.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert saved.restore(TEMPLATE)[0] == 2
    (line,) = caplog.messages
    assert "checkpoint 3 cannot be read (" in line and "trying the one before it" in line


def test_a_damaged_best_model_gives_way_to_the_one_before_it(tmp_path):
    directory = workdirs.best_directory(tmp_path, "stage1")
    made = Checkpoints(directory)
    for step in (1, 2):
        made.save(step, tree(step), {"score": step})
    made.close()
    path = directory / "2" / "record" / "metadata"
    path.write_bytes(path.read_bytes().replace(b"2", b"7"))
    variables, record = checkpoints.load_best(tmp_path, "stage1", TEMPLATE)
    assert same(variables, tree(1)) and record == {"score": 1}


def test_a_checkpoint_of_an_older_version_has_no_digests(saved):
    for step in (2, 3):
        shutil.rmtree(saved.directory / str(step) / "digests")
    step, restored, record = saved.restore(TEMPLATE)
    assert step == 3 and same(restored, tree(3)) and record == {"data": {"next_index": 3}}
    assert SavedCheckpoints(saved.directory).last_record() == record


def test_a_folder_without_a_checkpoint_is_none(saved):
    for name in ("12", "13/tree", "14/record", "15.orbax-checkpoint-tmp"):
        (saved.directory / name).mkdir(parents=True)
    assert saved.steps() == [2, 3] and saved.restore(TEMPLATE)[0] == 3
    reader = SavedCheckpoints(saved.directory)
    assert reader.steps() == [2, 3] and reader.last_record() == {"data": {"next_index": 3}}
    made = Checkpoints(saved.directory)
    made.discard_after(3)
    made.save(12, tree(12), {})
    made.close()
    assert reader.steps() == [3, 12] and same(reader.restore(TEMPLATE)[1], tree(12))


def test_readers_disturb_no_trainer(tmp_path):
    """Read in a tight loop, while models are saved beside: all saves succeed, all reads are whole.

    A reader that swept temporary folders away would take half-written saves along.
    """
    made = Checkpoints(workdirs.best_directory(tmp_path, "stage1"))
    made.save(0, tree(0), {"step": 0})
    made.wait()
    read, failed, done = [], [], threading.Event()

    def poll():
        while not done.is_set():
            try:
                variables, record = checkpoints.load_best(tmp_path, "stage1", TEMPLATE)
                assert same(variables, tree(record["step"]))
                read.append(record["step"])
            except BaseException as error:
                failed.append(error)
                return

    reader = threading.Thread(target=poll)
    reader.start()
    for step in itertools.count(1):
        made.save(step, tree(step), {"step": step})
        if (step > 20 and len(read) > 5) or failed:
            break
    made.close()
    done.set()
    reader.join()
    assert not failed
    assert made.steps() == [step - 1, step] and read == sorted(read)


def test_reading_changes_nothing_on_the_disk(saved, tmp_path):
    (saved.directory / "4.orbax-checkpoint-tmp").mkdir()
    folder = tmp_path / "stage1" / "best"
    folder.parent.mkdir()
    shutil.copytree(saved.directory, folder)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert checkpoints.load_best(tmp_path, "stage1", TEMPLATE)[1] == {"data": {"next_index": 3}}
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert checkpoints.load_best(tmp_path, "stage2", TEMPLATE) is None
    assert not (tmp_path / "stage2").exists()
