"""Cached arrays: what was written is read, and damage is seen and says so."""

import resource
import types

import jax
import numpy as np
import pytest

from textsr_jax import text
from textsr_jax.config.settings import Parallel
from textsr_jax.data.records import Record
from textsr_jax.data.synthetic.generation import HR_SHAPE, LR_SHAPE
from textsr_jax.errors import UserError
from textsr_jax.train import caches, mesh

IMAGES = np.arange(6000, dtype=np.uint8)


@pytest.fixture
def kept(tmp_path):
    path = tmp_path / "stage2" / "sr_train.npy"
    with caches.keeping(path, "a", "free some space") as file:
        np.save(file, IMAGES)
    return path


def test_what_was_kept_is_there(kept, caplog):
    assert caches.is_kept(kept, "a") and not caplog.messages
    np.testing.assert_array_equal(np.load(kept, mmap_mode="r"), IMAGES)
    assert not caches.is_kept(kept.with_name("other.npy"), "a")


@pytest.mark.parametrize("place", [0, 70, 3000, 6127])
def test_a_flipped_bit_is_seen(kept, caplog, place):
    content = bytearray(kept.read_bytes())
    content[place] ^= 1
    kept.write_bytes(content)
    assert not caches.is_kept(kept, "a")
    assert "sr_train.npy: is damaged; it is made again" in caplog.text


def test_files_that_are_cut_short_are_seen(kept):
    whole = kept.read_bytes()
    for content in (b"", whole[:3000], whole + b"0"):
        kept.write_bytes(content)
        assert not caches.is_kept(kept, "a")
    kept.write_bytes(whole)
    assert caches.is_kept(kept, "a")
    (kept.parents[1] / ".digests" / "stage2_sr_train.npy.sha256").write_bytes(b"\xff")
    assert not caches.is_kept(kept, "a")


def test_what_another_model_made_is_made_again(kept, caplog):
    assert not caches.is_kept(kept, "b")
    assert "sr_train.npy: was made from another model or other words" in caplog.text


def test_a_file_of_an_older_version_is_believed(kept):
    (kept.parents[1] / ".digests" / "stage2_sr_train.npy.sha256").unlink()
    assert caches.is_kept(kept, "a")


def test_a_full_disk_leaves_nothing(tmp_path):
    path = tmp_path / "new" / "sr_train.npy"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))
    try:
        wanted = r"sr_train.npy: cannot write it \(.*\); free 1 GB"
        with pytest.raises(UserError, match=wanted), caches.keeping(path, "a", "free 1 GB") as file:
            np.save(file, IMAGES)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(path.parent.iterdir()) == []


def test_sr_images_go_on_behind_those_that_a_stopped_training_wrote(tmp_path, monkeypatch):
    size = 2 * jax.device_count()
    monkeypatch.setattr(caches, "_BLOCK", 2)
    training = types.SimpleNamespace(
        workdir=tmp_path,
        evaluation_size=size,
        placement=mesh.make_placement(Parallel()),
        config=types.SimpleNamespace(max_length=5),
        alphabet=text.ALPHANUMERIC,
    )
    words = types.SimpleNamespace(fingerprints={})
    spec = types.SimpleNamespace(name="stage2", training_set=lambda _: words)
    read = []

    class Source:
        def __init__(self, end):
            self.end = end

        def __len__(self):
            return 7 * size - 1

        def __getitem__(self, index):
            if index >= self.end:
                raise RuntimeError("the process was killed")
            read.append(index)
            lr, hr = np.full(LR_SHAPE, index, np.uint8), np.zeros(HR_SHAPE, np.uint8)
            return Record(f"k:{index}", lr, hr, "word")

    def made(weight, end=7 * size):
        read.clear()
        variables = {"weight": np.float32(weight)}
        return caches.sr_images(training, spec, enlarge, variables, "train", Source(end))

    def enlarge(variables, lr):
        return variables["weight"] * lr.repeat(2, axis=1).repeat(2, axis=2)

    # Five batches are written: two blocks of two batches, of which the last one is made again.
    with pytest.raises(RuntimeError, match="killed"):
        made(1, end=5 * size)
    images = made(1)
    assert min(read) == 2 * size and len(read) == 5 * size - 1
    assert images.shape == (7 * size - 1, *HR_SHAPE)
    assert np.all(images == np.arange(7 * size - 1, dtype=np.uint8)[:, None, None, None])
    assert [path.name for path in (tmp_path / "stage2").iterdir()] == ["sr_train.npy"]
    np.testing.assert_array_equal(made(1), images)
    assert not read

    # What another model wrote is no beginning.
    with pytest.raises(RuntimeError, match="killed"):
        made(0.5, end=5 * size)
    assert np.all(made(0) == 0) and min(read) == 0
    assert [path.name for path in (tmp_path / "stage2").iterdir()] == ["sr_train.npy"]
