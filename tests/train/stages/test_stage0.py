"""Stage 0 on a micro config: it learns, goes on to the same bits, and gives stage 1 its EDSR."""

import os
import shutil
import signal

import jax
import numpy as np
import pytest

from tests.conftest import micro_config, same, stage0_config
from textsr_jax import data
from textsr_jax.data.photograph_folders import central_crops, random_crops
from textsr_jax.errors import Stopped, UserError
from textsr_jax.images import to_float, to_uint8
from textsr_jax.metrics import luma_quality
from textsr_jax.models import build_rescaler, build_sr
from textsr_jax.storage import checkpoints, parameter_files
from textsr_jax.storage.checkpoints import Checkpoints
from textsr_jax.storage.models import Models
from textsr_jax.train import reports, runner, steps
from textsr_jax.train import state as states
from textsr_jax.train.logs import Logs

pytestmark = pytest.mark.slow


def built(config):
    return build_rescaler(config.resampler, config.sr)


def last_state(workdir, config):
    network, optimizer = built(config), states.make_optimizer(config.stage0)
    template = jax.eval_shape(
        lambda: states.create(network.init(jax.random.key(0)), optimizer, jax.random.key(0))
    )
    saved = Checkpoints(workdir / "stage0" / "checkpoints")
    restored = saved.restore(checkpoints.abstract(template))
    saved.close()
    return restored


def best(workdir, config):
    return checkpoints.load_best(workdir, "stage0", checkpoints.abstract(built(config).template))


def test_its_steps_lower_the_loss(photographs):
    config = stage0_config(photographs)
    config.stage0.steps, config.stage0.learning_rate = 60, 5e-3
    network, optimizer = built(config), states.make_optimizer(config.stage0)
    train, _ = data.load_photographs(config.photographs, "", 16)
    batch = next(random_crops(train, batch_size=8, crop=16, seed=0, turn=True))
    state = states.create(network.init(jax.random.key(0)), optimizer, jax.random.key(1))
    step = jax.jit(steps.make_step(steps.rescaling_loss(network, config.stage0), optimizer))
    before, l1 = state.params, []
    for _ in range(40):
        state, parts = step(state, {}, batch)
        l1.append(float(parts["l1"]))
    assert l1[-1] < 0.8 * l1[0]
    weighted = (
        parts["l1"]
        + config.stage0.offset_distance * parts["offset_distance"]
        + config.stage0.offset_variation * parts["offset_variation"]
    )
    np.testing.assert_allclose(parts["loss"], weighted, rtol=1e-6)
    moved = jax.tree.map(lambda a, b: not np.array_equal(a, b), before, state.params)
    assert all(jax.tree.leaves(moved))


def test_a_stopped_run_goes_on_to_the_same_bits(stage0, photographs, tmp_path, monkeypatch):
    # SIGTERM arrives while step 3 is logged as the validation of that step.
    class Stopping(Logs):
        def scalars(self, values, step):
            if step == 3 and "validation/psnr_y" in values and not stopped:
                stopped.append(step)
                os.kill(os.getpid(), signal.SIGTERM)
            super().scalars(values, step)

    stopped = []
    monkeypatch.setattr(reports, "Logs", Stopping)
    config = stage0_config(photographs)
    with pytest.raises(Stopped, match=r"stage0: stopped and saved at step 3; go on with: again"):
        runner.train(config, tmp_path / "w", "again")
    runner.train(config, tmp_path / "w", "again")
    step, state, record = last_state(tmp_path / "w", config)
    whole_step, whole_state, whole_record = last_state(stage0, config)
    assert step == whole_step == 6
    assert same(state, whole_state)
    assert record == whole_record
    assert same(best(tmp_path / "w", config)[0], best(stage0, config)[0])


def test_the_best_is_chosen_by_the_y_channel_of_held_out_photographs(stage0, photographs):
    config = stage0_config(photographs)
    variables, record = best(stage0, config)
    _, held_out = data.load_photographs(config.photographs, "", 16)
    scores = []
    for batch in central_crops(held_out, batch_size=1, crop=16):
        hr = to_float(batch.hr)
        sr, _ = built(config)(variables, hr)
        scores.append(luma_quality(to_float(to_uint8(sr)), hr, 2)[0][0])
    assert len(scores) == 3
    np.testing.assert_allclose(record["score"], np.mean(scores), atol=0.01)
    assert record["scalars"]["psnr_y"] == record["score"]
    # Words are not touched, nor made, for stage 0 alone.
    assert {path.name for path in stage0.iterdir()} <= {
        *("stage0", "config.json", "run.json", ".lock", ".digests")
    }


@pytest.fixture
def words_config(data_root, tmp_path):
    """Stage 1 with steps of no length, so that it ends where it started."""
    config = micro_config(data_root, tmp_path / "data")
    config.stages, config.stage1.learning_rate = "stage1", 0.0
    # Such steps need no recogniser in their loss.
    config.stage1.position = config.stage1.recognition = 0.0
    return config


def stage1_params(workdir, config):
    template = checkpoints.abstract(build_sr(config.sr).template)
    return checkpoints.load_best(workdir, "stage1", template)[0]["params"]


def test_stage_1_starts_from_another_workdirs_stage_0(stage0, photographs, words_config, tmp_path):
    words_config.init.sr = str(stage0)
    runner.train(words_config, tmp_path / "w", "again")
    params = stage1_params(tmp_path / "w", words_config)
    edsr = best(stage0, stage0_config(photographs))[0]["params"]["edsr"]
    assert same(params["edsr"], edsr)
    # Zero weights: a fresh STN.
    assert (params["stn"]["fc2"]["kernel"] == 0).all()


def test_stage_1_starts_from_stage_0_of_its_own_workdir(
    stage0, photographs, words_config, tmp_path
):
    workdir = tmp_path / "w"
    shutil.copytree(stage0 / "stage0", workdir / "stage0")
    config = words_config
    config.sr.apply_stn = "never"
    config.photographs.update(stage0_config(photographs).photographs)
    config.stage0.update(stage0_config(photographs).stage0)
    config.stages = "stage0,stage1"
    runner.train(config, workdir, "again")
    edsr = best(stage0, stage0_config(photographs))[0]["params"]["edsr"]
    assert same(stage1_params(workdir, config)["edsr"], edsr)


def test_stage_0_that_has_not_ended_gives_no_start(photographs, words_config, tmp_path):
    (tmp_path / "w" / "stage0").mkdir(parents=True)
    with pytest.raises(UserError, match=r"w: stage0 has not run to its end there; run it first"):
        runner.train(words_config, tmp_path / "w", "again")


def test_stage_0_goes_on_from_parameter_files(stage0, photographs, tmp_path):
    config = stage0_config(photographs)
    start = built(config).init(jax.random.key(7))["params"]
    for part, name in (("sr", "edsr"), ("resampler", "resampler")):
        params = {"edsr": start["edsr"]} if part == "sr" else start["resampler"]
        config.init[part] = str(tmp_path / f"{part}.safetensors")
        variables = jax.tree.map(np.asarray, {"params": params, "stats": {}})
        file = parameter_files.ParameterFile(name, part, {"name": name}, variables)
        parameter_files.save(config.init[part], file)
    config.stage0.learning_rate = 0.0
    runner.train(config, tmp_path / "w", "again")
    assert same(best(tmp_path / "w", config)[0]["params"], start)
    # Or from another workdir's stage 0.
    config.init.sr = config.init.resampler = str(stage0)
    runner.train(config, tmp_path / "v", "again")
    trained = best(stage0, stage0_config(photographs))[0]
    assert same(best(tmp_path / "v", config)[0], trained)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (
            "stage0.crop",
            20,
            r"crop=20: must be a multiple of 8 from 16 to 4096",
        ),
        ("photographs.train", "", r"config.photographs.train is empty"),
        ("photographs.train", "nowhere", r"nowhere: no such folder"),
        ("stage0.crop", 64, r"0000.png: is 40x37; each side needs at least 64 pixels"),
        ("sr.name", "tsrn", r"config.sr.name='tsrn': the resampler goes with edsr alone"),
        ("init.resampler", "nowhere", r"config.init.resampler=nowhere: no such parameter file"),
    ],
)
def test_bad_input_is_named_before_anything_is_written(
    photographs, tmp_path, field, value, message
):
    config = stage0_config(photographs)
    config.update_from_flattened_dict({field: value})
    with pytest.raises(UserError, match=message):
        runner.train(config, tmp_path / "w", "again")
    assert not (tmp_path / "w").exists()


def test_readers_take_its_edsr_from_config_init(stage0, photographs):
    config = stage0_config(photographs)
    config.init.sr = str(stage0)
    models = Models.load(None, config)
    assert same(models.sr_variables["params"], {"edsr": best(stage0, config)[0]["params"]["edsr"]})
    lr = np.full((1, 16, 64, 3), 0.5, np.float32)
    assert models.sr(models.sr_variables, lr).shape == (1, 32, 128, 3)
