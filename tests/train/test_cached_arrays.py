"""SR images of stage 2 and attention of stage 1: made once, read from files, made again."""

import errno
import os
import shutil
import signal

import jax
import numpy as np
import pytest

from tests.conftest import micro_config
from tests.train.last_states import last_state
from textsr_jax import data, text
from textsr_jax.errors import Stopped, UserError
from textsr_jax.images import to_float, to_uint8
from textsr_jax.models import build_focus, build_sr
from textsr_jax.models.layers.pixels import to_gray
from textsr_jax.storage import checkpoints
from textsr_jax.train import caches, loop, runner

pytestmark = pytest.mark.slow


def test_stage_2_reads_the_images_of_the_frozen_stage_1_model(trained, data_root, tmp_path):
    config = micro_config(data_root, tmp_path / "data")
    network = build_sr(config.sr)
    variables, _ = checkpoints.load_best(trained, "stage1", checkpoints.abstract(network.template))
    train = data.load(config.data).train
    lr = np.stack([train[index].lr for index in range(len(train))])
    expected = np.asarray(to_uint8(network(variables, to_float(lr))))
    cached = np.load(trained / "stage2" / "sr_train.npy")
    assert cached.shape == (len(train), 32, 128, 3)
    # Batches of another size may round a level differently.
    assert np.abs(cached.astype(int) - expected).max() <= 1
    assert np.load(trained / "stage2" / "sr_synthetic.npy").shape == (24, 32, 128, 3)


def test_stage_1_keeps_the_attention_to_unchanged_hr_images(
    trained, data_root, tmp_path, monkeypatch
):
    config = micro_config(data_root, tmp_path / "data")
    config.sr.apply_stn = "never"
    workdir = tmp_path / "w"
    shutil.copytree(trained / "pretrain_focus", workdir / "pretrain_focus")
    path = workdir / "stage1" / "hr_attention.npy"
    config.stages, config.stage1.steps = "stage1", 12
    run = loop.run
    begun = []
    monkeypatch.setattr(loop, "run", lambda stage, *rest: begun.append(stage))

    def batches(**settings):
        config.stage1.update(settings)
        (workdir / "config.json").unlink(missing_ok=True)
        runner.train(config, workdir, "again")
        return begun[-1].batches

    # Not of images that change, nor of those that are seen once, nor where they do not fit.
    assert next(batches(augment=True)).attention is None
    assert next(batches(augment=False, steps=10)).attention is None
    train = data.load(config.data).train
    assert 10 * config.stage1.batch_size <= len(train) < 12 * config.stage1.batch_size
    bytes_needed = 4 * len(train) * 2 * 7 * 256  # 2 heads, 6 characters and the end
    assert next(batches(steps=12, hr_cache_gb=(bytes_needed - 1) / 1e9)).attention is None
    assert not path.exists()

    kept = batches(hr_cache_gb=bytes_needed / 1e9)
    assert path.stat().st_size == pytest.approx(bytes_needed, abs=256)
    focus, frozen = build_focus(config.focus), begun[-1].frozen
    for _ in range(3):
        batch = next(kept)
        inputs = text.focus_tokens(batch.characters)[0]
        _, attention = focus(frozen, to_gray(to_float(batch.hr)), inputs)
        np.testing.assert_allclose(batch.attention, attention, rtol=1e-5, atol=1e-7)

    # A run that goes on reads the file that is there; training with it does the same as without.
    written = path.stat().st_mtime_ns
    monkeypatch.setattr(loop, "run", run)
    batches_made = {}
    for name, limit in (("kept", bytes_needed / 1e9), ("computed", 0.0)):
        config.stage1.hr_cache_gb = limit
        if name == "computed":
            workdir = tmp_path / "computed"
            shutil.copytree(trained / "pretrain_focus", workdir / "pretrain_focus")
        else:
            (workdir / "config.json").unlink()
        runner.train(config, workdir, "again")
        network = build_sr(config.sr)
        batches_made[name] = last_state(workdir, "stage1", network, config.stage1)[1]
    assert path.stat().st_mtime_ns == written
    assert not (tmp_path / "computed" / "stage1" / "hr_attention.npy").exists()
    for left, right in zip(
        *(jax.tree.leaves(state.params) for state in batches_made.values()), strict=True
    ):
        np.testing.assert_allclose(left, right, rtol=1e-3, atol=1e-4)


def test_no_room_for_the_attention_is_one_line(trained, data_root, tmp_path, monkeypatch):
    config = micro_config(data_root, tmp_path / "data")
    config.stages, config.stage1.steps, config.stage1.augment = "stage1", 12, False
    workdir = tmp_path / "w"
    shutil.copytree(trained / "pretrain_focus", workdir / "pretrain_focus")

    def full(file, header):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(np.lib.format, "write_array_header_2_0", full)
    with pytest.raises(UserError, match=r"hr_attention.npy: .*No space left.*hr_cache_gb=0"):
        runner.train(config, workdir, "again")
    assert not list((workdir / "stage1").glob("*.npy"))


def test_a_stop_while_images_are_made_is_obeyed(trained, data_root, tmp_path, monkeypatch):
    config, workdir = micro_config(data_root, tmp_path / "data"), tmp_path / "w"
    config.stages = "stage2"
    for stage in ("pretrain_ocr", "stage1"):
        shutil.copytree(trained / stage, workdir / stage)
    batches = caches.evaluation_batches

    def stop(source, **settings):
        os.kill(os.getpid(), signal.SIGTERM)
        return batches(source, **settings)

    monkeypatch.setattr(caches, "evaluation_batches", stop)
    with pytest.raises(Stopped, match=r"^stopped; go on with: python train.py$"):
        runner.train(config, workdir, "python train.py")
    # What was written so far waits for the next run; here it is nothing yet.
    (left,) = (workdir / "stage2").iterdir()
    assert left.name.startswith(".sr_train.npy.") and left.suffix == ".partial"


def test_damaged_images_of_stage_2_are_made_again(
    trained, data_root, tmp_path, monkeypatch, caplog
):
    config, workdir = micro_config(data_root, tmp_path / "data"), tmp_path / "w"
    config.stages = "stage2"
    for name in ("pretrain_ocr", "stage1", "stage2", ".digests"):
        shutil.copytree(trained / name, workdir / name)
    shutil.rmtree(workdir / "stage2" / "checkpoints")
    path = workdir / "stage2" / "sr_train.npy"
    whole = path.read_bytes()
    path.write_bytes(whole[:5000] + bytes([whole[5000] ^ 64]) + whole[5001:])
    monkeypatch.setattr(loop, "run", lambda *_: None)
    runner.train(config, workdir, "again")
    assert path.read_bytes() == whole
    assert "sr_train.npy: is damaged; it is made again" in caplog.text
