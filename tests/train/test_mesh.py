"""The device mesh: batches that the devices do not divide are refused with a fitting size."""

import jax
import numpy as np
import pytest

from textsr_jax.errors import UserError
from textsr_jax.train import mesh as meshes


def test_a_batch_is_split_over_the_devices_and_keeps_its_values():
    mesh = meshes.make_mesh()
    batch = {"lr": np.arange(jax.device_count() * 6, dtype=np.uint8).reshape(-1, 3)}
    sharded = meshes.shard_batch(batch, mesh)
    assert np.array_equal(sharded["lr"], batch["lr"])
    assert sharded["lr"].sharding.mesh == mesh


def test_an_undividable_batch_is_refused(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 8)
    meshes.check_batch_size(16, "stage1.batch_size")
    with pytest.raises(UserError, match=r"config.stage1.batch_size=20: 8 devices .* take 16"):
        meshes.check_batch_size(20, "stage1.batch_size")
    with pytest.raises(UserError, match="take 8"):
        meshes.check_batch_size(0, "stage1.batch_size")
    meshes.check_batch_size(32, "stage1.batch_size", 4)
    with pytest.raises(UserError, match=r"=24: 8 devices times 2 parts do not divide it; take 16"):
        meshes.check_batch_size(24, "stage1.batch_size", 2)
