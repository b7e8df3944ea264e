"""Checkpoints: what is saved comes back bit for bit, and a damaged one is passed over."""

import jax
import numpy as np
import pytest

from tests.conftest import same
from textsr_jax import checkpoints
from textsr_jax.checkpoints import Checkpoints
from textsr_jax.errors import UserError


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
    made = Checkpoints(checkpoints.best_directory(tmp_path, "stage1"))
    made.save(3, tree(1), {})
    made.close()
    assert same(checkpoints.load_best(tmp_path, "stage1", TEMPLATE)[0], tree(1))
    longer = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((*leaf.shape, 2), leaf.dtype), TEMPLATE)
    for template, found in (
        (longer, "by the config it is \\(.*2\\)"),
        ({}, "by the config it is None"),
    ):
        with pytest.raises(UserError, match=f"best: another network was saved there, .*{found};"):
            checkpoints.load_best(tmp_path, "stage1", template)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_best_model_that_is_not_finite_is_refused(tmp_path, wrong):
    spoiled = tree(1)
    spoiled["params"]["conv"]["kernel"][1, 2, 3, 4] = wrong
    made = Checkpoints(checkpoints.best_directory(tmp_path, "stage1"))
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
