"""Cached arrays: what was written is read, and damage is seen and says so."""

import resource

import numpy as np
import pytest

from textsr_jax.errors import UserError
from textsr_jax.train import caches

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
