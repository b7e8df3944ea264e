"""The stages end to end on a micro config: resume, stages alone, the best model, the SR cache."""

import errno
import os
import re
import shutil
import signal

import jax
import numpy as np
import pytest

from tests.conftest import micro_config, record, same, write_lmdb
from textsr_jax import data, decoding, metrics, reading, text
from textsr_jax.config import configuration, variants
from textsr_jax.data import records
from textsr_jax.data.batching import Concatenated
from textsr_jax.errors import Stopped, UserError
from textsr_jax.evaluation import comparison
from textsr_jax.images import to_float, to_uint8
from textsr_jax.models import build_focus, build_ocr, build_sr, part_of, together
from textsr_jax.models.bicubic import enlarge
from textsr_jax.models.layers.pixels import to_gray
from textsr_jax.storage import checkpoints, locks, parameter_files
from textsr_jax.storage.checkpoints import Checkpoints
from textsr_jax.storage.models import Models
from textsr_jax.train import loop, stages, stopping
from textsr_jax.train import state as states
from textsr_jax.train.logs import Logs

pytestmark = pytest.mark.slow


def last_state(workdir, stage, network, settings):
    template = jax.eval_shape(
        lambda: states.create(
            network.init(jax.random.key(0)), states.make_optimizer(settings), jax.random.key(0)
        )
    )
    saved = Checkpoints(workdir / stage / "checkpoints")
    step, state, record = saved.restore(checkpoints.abstract(template))
    saved.close()
    return step, state, record


def test_every_stage_leaves_its_best_model_and_logs(trained):
    for stage in ("pretrain_ocr", "pretrain_focus", "stage1", "stage2"):
        assert loop.is_finished(trained, stage, 6)
        assert Checkpoints(checkpoints.best_directory(trained, stage)).steps()
        assert list((trained / stage / "logs").glob("events*"))


def stop_at(monkeypatch, step):
    """SIGTERM arrives, once, while a step is logged as the validation of that step."""

    class Stopping(Logs):
        def scalars(self, values, number):
            if number == step and "validation/psnr" in values and not stopped:
                stopped.append(step)
                os.kill(os.getpid(), signal.SIGTERM)
            super().scalars(values, number)

    stopped = []
    monkeypatch.setattr(loop, "Logs", Stopping)


@pytest.mark.slow
def test_a_stopped_run_goes_on_to_the_same_bits(trained, data_root, tmp_path, monkeypatch):
    config = micro_config(data_root, tmp_path / "data")
    workdir = tmp_path / "w"
    for stage in ("pretrain_ocr", "pretrain_focus"):
        shutil.copytree(trained / stage, workdir / stage)
    config.stages = "stage1"
    stop_at(monkeypatch, step=3)
    with pytest.raises(Stopped, match=r"stage1: stopped and saved at step 3; go on with: python"):
        stages.train(config, workdir, "python train.py")
    assert not loop.is_finished(workdir, "stage1", 6)
    stages.train(config, workdir, "python train.py")

    network = build_sr(config.sr)
    step, state, record = last_state(workdir, "stage1", network, config.stage1)
    whole_step, whole_state, whole_record = last_state(trained, "stage1", network, config.stage1)
    assert step == whole_step == 6
    assert same(state, whole_state)
    assert record == whole_record
    best = checkpoints.load_best(workdir, "stage1", checkpoints.abstract(network.template))
    whole = checkpoints.load_best(trained, "stage1", checkpoints.abstract(network.template))
    assert same(best[0], whole[0])
    assert best[1] == whole[1]


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


@pytest.mark.parametrize("augment", [False, True])
@pytest.mark.parametrize("stage", ["stage1", "stage2"])
def test_images_on_the_devices_train_the_same_bits(trained, data_root, tmp_path, stage, augment):
    config = micro_config(data_root, tmp_path / "data")
    config.stages, config.stage2.images = stage, "both"
    settings, network = config[stage], build_sr(config.sr)
    if stage == "stage2":
        network = build_ocr(config.ocr)
    settings.augment = augment
    states = {}
    for on_device in (False, True):
        settings.on_device, workdir = on_device, tmp_path / f"{on_device}"
        for before in ("pretrain_ocr", "pretrain_focus", *(["stage1"] * (stage == "stage2"))):
            shutil.copytree(trained / before, workdir / before)
        stages.train(config, workdir, "again")
        states[on_device] = last_state(workdir, stage, network, settings)
    (step, plain, _), (_, at_hand, _) = states.values()
    assert step == settings.steps
    assert same(plain, at_hand)
    start = checkpoints.load_best(trained, stage, checkpoints.abstract(network.template))[0]
    # With augmentation this is the training that `trained` did.
    assert same(start["params"], at_hand.params) == (augment and stage == "stage1")


def test_stage_1_may_see_synthetic_pairs_too(data_root, tmp_path, monkeypatch):
    config = micro_config(data_root, tmp_path / "data")
    config.stages, config.stage1.position, config.stage1.recognition = "stage1", 0.0, 0.0
    config.stage1.augment = False
    begun = []
    monkeypatch.setattr(loop, "run", lambda stage, *rest: begun.append(stage))
    seen = {}
    for synthetic in (False, True):
        config.stage1.synthetic = synthetic
        stages.train(config, tmp_path / f"{synthetic}", "again")
        stage, seen[synthetic] = begun[-1], {}
        for _ in range(40):
            batch = next(stage.batches)
            keys = [stage.key_of(int(number)) for number in batch.index]
            seen[synthetic].update(zip(keys, batch.lr, strict=True))
    drawn = config.data.copy_and_resolve_references()
    drawn.root = ""
    source = data.load(drawn).train
    records = [source[index] for index in range(len(source))]
    wanted = {record.key: record.lr for record in records}
    assert not wanted.keys() & seen[False].keys()
    assert wanted.keys() <= seen[True].keys() and seen[False].keys() <= seen[True].keys()
    for key, lr in wanted.items():
        np.testing.assert_array_equal(seen[True][key], lr)


def test_stage_1_keeps_the_attention_to_unchanged_hr_images(
    trained, data_root, tmp_path, monkeypatch
):
    config = micro_config(data_root, tmp_path / "data")
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
        stages.train(config, workdir, "again")
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
        stages.train(config, workdir, "again")
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
        stages.train(config, workdir, "again")
    assert not list((workdir / "stage1").glob("*.npy"))


def test_a_finished_run_does_nothing(trained, data_root, tmp_path, capsys):
    config = micro_config(data_root, tmp_path / "data")
    before = sorted(trained.rglob("*"))
    stages.train(config, trained, "again")
    assert capsys.readouterr().out.count("done already") == 4
    assert sorted(trained.rglob("*")) == before


def test_a_second_training_in_a_workdir_says_so(data_root, tmp_path):
    config = micro_config(data_root, tmp_path / "data")
    with locks.held(tmp_path / "w"), pytest.raises(UserError, match=r"w: process .* trains there"):
        stages.train(config, tmp_path / "w", "again")
    assert [path.name for path in (tmp_path / "w").iterdir()] == [locks.FILE]


def test_a_stop_between_stages_is_heeded(data_root, tmp_path, monkeypatch):
    config, begun = micro_config(data_root, tmp_path / "data"), []

    def ends_while_asked_to_stop(stage, *rest):
        begun.append(stage.name)
        with stopping.listening("") as stop, stop.deferred():
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(loop, "run", ends_while_asked_to_stop)
    with pytest.raises(Stopped, match=r"^stopped; go on with: python train.py$"):
        stages.train(config, tmp_path / "w", "python train.py")
    assert begun == ["pretrain_ocr"]


def test_a_stop_while_images_are_made_is_heeded(trained, data_root, tmp_path, monkeypatch):
    config, workdir = micro_config(data_root, tmp_path / "data"), tmp_path / "w"
    config.stages = "stage2"
    for stage in ("pretrain_ocr", "stage1"):
        shutil.copytree(trained / stage, workdir / stage)
    images = records.images

    def stop(source, field):
        os.kill(os.getpid(), signal.SIGTERM)
        return images(source, field)

    monkeypatch.setattr(records, "images", stop)
    with pytest.raises(Stopped, match=r"^stopped; go on with: python train.py$"):
        stages.train(config, workdir, "python train.py")
    assert not (workdir / "stage2").exists()


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
    stages.train(config, workdir, "again")
    assert path.read_bytes() == whole
    assert "sr_train.npy: is damaged; it is made again" in caplog.text


def test_a_stage_without_its_start_says_which_to_run(data_root, tmp_path):
    config = micro_config(data_root, tmp_path / "data")
    config.stages = "stage1"
    with pytest.raises(UserError, match=r"w: pretrain_focus has not run to its end there"):
        stages.train(config, tmp_path / "w", "again")


def test_bad_configs_are_named(data_root, tmp_path):
    config = micro_config(data_root, tmp_path / "data")
    config.stages = "stage1,stagee2"
    with pytest.raises(UserError, match=r"config.stages='stage1,stagee2': .*mean 'stage2'\?"):
        stages.train(config, tmp_path / "w", "again")
    config.stages = "stage1"
    config.stage2.steps = 0
    with pytest.raises(UserError, match=r"config.stage2.steps=0: must be a whole number"):
        stages.train(config, tmp_path / "w", "again")
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize(
    ("part", "field", "value", "message"),
    [
        ("stage2", "images", "lr", "config.stage2.images='lr': must be one of 'sr', 'hr', "),
        ("stage2", "patience", -1, "config.stage2.patience=-1: must be a whole number from 0"),
        ("stage1", "error", "psnr", "config.stage1.error='psnr': must be one of 'mse', "),
        ("stage1", "position", -1.0, "config.stage1.position=-1.0: must be a number from 0"),
        ("joint", "reading", 0.0, "config.joint.reading=0.0: must be a number above 0"),
        ("joint", "steps", 0, "config.joint.steps=0: must be a whole number from 1"),
    ],
)
def test_values_that_are_none_are_named(data_root, tmp_path, part, field, value, message):
    config = micro_config(data_root, tmp_path / "data")
    config[part][field] = value
    with pytest.raises(UserError, match=re.escape(message)):
        stages.train(config, tmp_path / "w", "again")
    assert not (tmp_path / "w").exists()


def test_a_smaller_recogniser_grows(trained, data_root, tmp_path, monkeypatch):
    config = micro_config(data_root, tmp_path / "data")
    config.stages, config.init.sr, config.init.ocr = "stage2", str(trained), str(trained)
    cdistnet = config.ocr.cdistnet
    cdistnet.depths = tuple(depth + 1 for depth in cdistnet.depths)
    begun = []
    monkeypatch.setattr(loop, "run", lambda stage, *rest: begun.append(stage))
    with pytest.raises(UserError, match="pretrain_ocr/best: another network was saved"):
        stages.train(config, tmp_path / "w", "again")
    config.init.grow = True
    shutil.rmtree(tmp_path / "w")
    stages.train(config, tmp_path / "w", "again")
    start = begun[-1].initial(jax.random.key(0))
    small = build_ocr(micro_config(data_root, tmp_path / "data").ocr)
    before = checkpoints.load_best(trained, "pretrain_ocr", checkpoints.abstract(small.template))[0]
    images = np.random.default_rng(0).random((2, 32, 128, 3)).astype(np.float32)
    np.testing.assert_allclose(
        build_ocr(config.ocr)(start, images, method="encode"),
        small(before, images, method="encode"),
        atol=1e-5,
    )
    cdistnet.heads *= 2
    with pytest.raises(UserError, match=r"wants a CDistNet of as many heads as config\.ocr"):
        stages.train(config, tmp_path / "v", "again")


def test_photographs_do_not_lie_on_devices(data_root, tmp_path):
    config = micro_config(data_root, tmp_path / "data")
    config.stages, config.stage0.on_device = "stage0", True
    with pytest.raises(UserError, match=r"stage0\.on_device=True: photographs are cropped anew"):
        stages.train(config, tmp_path / "w", "again")


def test_a_loss_that_is_not_finite_stops_the_run(data_root, tmp_path, monkeypatch):
    config = micro_config(data_root, tmp_path / "data")
    config.stages = "pretrain"
    # No config may ask for it.
    monkeypatch.setattr(states, "schedule", lambda settings: lambda step: np.inf)
    with pytest.raises(UserError, match=r"pretrain_ocr: the loss is not finite at step \d"):
        stages.train(config, tmp_path / "w", "again")


@pytest.mark.parametrize("name", ["tbsrn", "tsrn"])
def test_every_sr_network_trains_as_edsr_does(trained, data_root, tmp_path, name):
    config = micro_config(data_root, tmp_path / "data")
    config.stages, config.sr.name = "stage1", name
    config.init.focus = str(trained)
    stages.train(config, tmp_path / "w", "again")
    network = build_sr(config.sr)
    template = checkpoints.abstract(network.template)
    best, _ = checkpoints.load_best(tmp_path / "w", "stage1", template)
    assert set(best["params"]) == {"stn", name}
    fresh = network.init(jax.random.fold_in(jax.random.key(config.seed), 2))
    moved = jax.tree.map(lambda a, b: not np.array_equal(a, b), best["params"], fresh["params"])
    assert all(jax.tree.leaves(moved))
    sr = network(best, np.full((1, 16, 64, 3), 0.5, np.float32))
    assert np.isfinite(sr).all()


def test_bicubic_trains_a_recogniser_alone_crnn_too(data_root, tmp_path, capsys):
    config = micro_config(data_root, tmp_path / "data")
    config.sr.name, config.sr.apply_stn, config.ocr.name = "bicubic", "never", "crnn"
    workdir = tmp_path / "w"
    stages.train(config, workdir, "again")
    assert "stage1: bicubic has nothing to train" in capsys.readouterr().out
    stage_folders = {path.name for path in workdir.iterdir() if (path / "checkpoints").is_dir()}
    assert stage_folders == {"pretrain_ocr", "stage2"}
    models = Models.load(workdir)
    assert not same(models.pretrained, models.fine_tuned)
    evaluation = comparison.open_data(config)
    rows, images = comparison.evaluate(models, evaluation)
    assert [(row.sr, row.ocr) for row in rows] == [
        ("bicubic", "pretrained"),
        ("bicubic", "fine-tuned"),
        ("HR", "pretrained"),
    ]
    made = evaluation.enhance(models.sr, models.sr_variables)
    assert all((made[name] == images["bicubic"][name]).all() for name in made)
    cached = np.load(workdir / "stage2" / "sr_train.npy")
    train = data.load(config.data).train
    expected = np.asarray(to_uint8(enlarge(to_float(train[3].lr[None]))))[0]
    assert np.abs(cached[3].astype(int) - expected).max() <= 1


def test_stages_start_from_parameter_files(trained, data_root, tmp_path):
    config = micro_config(data_root, tmp_path / "data")
    models = Models.load(trained)
    # As EDSR's published file: without an STN.
    lone = {"params": {"edsr": models.sr_variables["params"]["edsr"]}, "stats": {}}
    for part, variables in (("sr", lone), ("ocr", models.pretrained)):
        name = config[part].name
        settings = {"name": name, name: config[part][name].to_dict()}
        config.init[part] = str(tmp_path / f"{part}.safetensors")
        file = parameter_files.ParameterFile(name, part, settings, variables)
        parameter_files.save(config.init[part], file)
    config.init.focus = str(trained)
    # Steps of no length leave every stage at its start.
    config.stage1.learning_rate = config.stage2.learning_rate = 0.0
    workdir = tmp_path / "w"
    stages.train(config, workdir, "again")
    assert not (workdir / "pretrain_ocr").exists()
    loaded = Models.load(workdir)
    assert same(loaded.sr_variables["params"]["edsr"], lone["params"]["edsr"])
    # The STN is a fresh one: zero weights, and points that the image does not move.
    fresh = loaded.sr.init(jax.random.key(0))["params"]["stn"]
    assert same(loaded.sr_variables["params"]["stn"]["fc2"], fresh["fc2"])
    assert not same(models.sr_variables["params"]["stn"]["fc2"], fresh["fc2"])
    assert same(loaded.fine_tuned["params"], models.pretrained["params"])

    # Pre-training goes on from a recogniser instead of being replaced by it.
    config.stages, config.init.pretrain, config.init.ocr = "pretrain", config.init.ocr, ""
    config.pretrain.ocr.learning_rate = 0.0
    stages.train(config, tmp_path / "further", "again")
    further = Models.load(tmp_path / "further").pretrained
    assert same(further["params"], models.pretrained["params"])
    config.init.ocr, config.init.pretrain = config.init.pretrain, ""

    # Without a stage 1 of its own, stage 2 reads the images of the file's SR model.
    config.stages = "stage2"
    stages.train(config, tmp_path / "alone", "again")
    made = np.load(tmp_path / "alone" / "stage2" / "sr_train.npy")
    assert (made == np.load(trained / "stage2" / "sr_train.npy")).all()


def test_an_stn_that_runs_in_training_only_is_not_rounded():
    variables = {
        "params": {"stn": {"w": np.array([1.5])}, "edsr": {"w": np.array([2.5])}},
        "stats": {"stn": {"mean": np.array([3.5])}},
    }
    spared = stages.sparing_stn(lambda tree: jax.tree.map(np.floor, tree))(variables)
    assert same(spared["stats"], variables["stats"])
    assert same(spared["params"], {"stn": {"w": np.array([1.5])}, "edsr": {"w": np.array([2.0])}})
    # An SR model without one.
    bare = {"params": {"w": np.array([2.5])}, "stats": {}}
    floored = stages.sparing_stn(lambda tree: jax.tree.map(np.floor, tree))(bare)
    assert same(floored, {"params": {"w": np.array([2.0])}, "stats": {}})


@pytest.fixture(scope="module")
def jointly(trained, data_root, tmp_path_factory):
    """A workdir in which the joint stage of the micro config ran from the trained recogniser."""
    folder = tmp_path_factory.mktemp("jointly")
    config = joint_config(trained, data_root, folder / "data")
    stages.train(config, folder / "w", "again")
    return folder / "w"


def joint_config(trained, data_root, data_dir):
    config = micro_config(data_root, data_dir)
    config.stages = "joint"
    config.init.ocr = config.init.focus = str(trained)
    return config


def test_a_workdir_of_the_joint_stage_serves_as_any_other(trained, jointly):
    models = Models.load(jointly)
    before = Models.load(trained)
    assert same(models.pretrained, before.pretrained)
    for tuned, start in (
        (models.fine_tuned, models.pretrained),
        (models.sr_variables, models.sr.init(jax.random.key(0))),
    ):
        assert jax.tree.structure(tuned) == jax.tree.structure(start)
        assert not same(tuned["params"], start["params"])
        assert not same(tuned["stats"], start["stats"])
    rows, images = comparison.evaluate(models, comparison.open_data(models.config))
    assert [(row.sr, row.ocr) for row in rows] == [
        ("bicubic", "pretrained"),
        ("edsr", "pretrained"),
        ("edsr", "fine-tuned"),
        ("HR", "pretrained"),
    ]
    pair = reading.load(jointly)
    lr = comparison.open_data(models.config).lr["easy"]
    assert np.abs(pair.enhance(list(lr)).astype(int) - images["edsr"]["easy"]).max() <= 1
    # As an SR model and as a judge in the table of another workdir.
    assert same(comparison.load_sr(str(jointly), models.config).variables, models.sr_variables)
    assert same(comparison.load_judge(str(jointly), models.config).variables, models.fine_tuned)


def test_the_best_joint_model_is_the_one_that_reads_sr_validation_words_best(jointly):
    models = Models.load(jointly)
    template = checkpoints.abstract(together(sr=models.sr, ocr=models.ocr).template)
    best, record = checkpoints.load_best(jointly, "joint", template)
    assert same(part_of(best, "sr"), models.sr_variables)
    source = data.load(models.config.data).validation
    lr = to_float(np.stack([source[index].lr for index in range(len(source))]))
    hr = to_float(np.stack([source[index].hr for index in range(len(source))]))
    sr = to_float(to_uint8(models.sr(models.sr_variables, lr)))
    psnr = float(metrics.psnr(sr, hr).mean())
    assert record["scalars"]["psnr"] == pytest.approx(psnr, abs=0.01)
    read = decoding.recognizer(models.ocr, beam=1, steps=models.config.max_length + 1)
    words = text.decode_tokens(read(models.fine_tuned, sr).tokens)
    accuracy = 100 * metrics.word_accuracy(words, records.labels(source))
    assert record["scalars"]["accuracy"] == pytest.approx(accuracy)
    assert record["score"] == [record["scalars"]["accuracy"], record["scalars"]["psnr"]]


def test_joint_and_two_steps_do_not_share_a_workdir(trained, jointly, data_root, tmp_path):
    config = micro_config(data_root, tmp_path / "data")
    config.stages = "pretrain,stage1,joint"
    with pytest.raises(UserError, match="joint stands in place of stage1 and stage2, but stage1"):
        stages.train(config, tmp_path / "w", "again")
    config = joint_config(trained, data_root, tmp_path / "data")
    config.stages = "stage2"
    with pytest.raises(UserError, match="but joint is chosen or was run there too"):
        stages.train(config, jointly, "again")
    config.stages = "joint"
    with pytest.raises(UserError, match="but stage1 is chosen or was run there too"):
        stages.train(config, trained, "again")
    config = variants.bicubic(config)
    with pytest.raises(UserError, match="bicubic has nothing to train, so that joint would be sta"):
        stages.train(config, tmp_path / "w", "again")


def test_without_text_focus_its_recogniser_is_neither_trained_nor_needed(
    trained, data_root, tmp_path
):
    config = variants.no_text_focus(micro_config(data_root, tmp_path / "data"))
    config.stages = "pretrain,stage1"
    config.init.ocr = str(trained)
    stages.train(config, tmp_path / "w", "again")
    assert not (tmp_path / "w" / "pretrain_focus").exists()
    assert loop.is_finished(tmp_path / "w", "stage1", 6)


def test_fine_tuning_on_hr_images_reads_them_and_is_judged_by_sr_images(
    trained, data_root, tmp_path
):
    config = variants.hr(micro_config(data_root, tmp_path / "data"))
    config.init.sr = config.init.ocr = str(trained)
    training = stages._Training(config, tmp_path)
    stage = training.stage2()
    assert len(training.words) == 2
    everything = Concatenated(list(training.words.values()))
    batch = next(stage.batches)
    for image, index in zip(batch.hr, batch.index, strict=True):
        assert np.array_equal(image, everything[int(index)].hr)
    made = {path.name for path in (tmp_path / "stage2").iterdir()}
    assert made == {"sr_validation_train1.npy"}
    shown = stage.validate(Models.load(trained).pretrained).pictures["images"]
    sr = np.load(tmp_path / "stage2" / "sr_validation_train1.npy")
    assert np.array_equal(shown, np.concatenate(sr[:8]))

    config.stage2.images = "sr"
    training = stages._Training(config, tmp_path)
    batch = next(training.stage2().batches)
    cached = {name: np.load(tmp_path / "stage2" / f"sr_{name}.npy") for name in training.words}
    images = np.concatenate(list(cached.values()))
    assert np.array_equal(batch.hr, images[batch.index])

    config.stage2.images = "both"
    training = stages._Training(config, tmp_path)
    batch = next(training.stage2().batches)
    both = []
    for name, source in training.words.items():
        both.extend([*cached[name], *(source[index].hr for index in range(len(source)))])
    assert training.outline("stage2").records == len(both) == 2 * len(everything)
    assert np.array_equal(batch.hr, np.stack(both)[batch.index])


@pytest.fixture
def two_folders(tmp_path):
    """A data root: 40 words "open" in a train folder, 20 words, two in five "open", in another."""
    root = tmp_path / "two"
    write_lmdb(root / "train1", [record("open")] * 40)
    write_lmdb(
        root / "train2", [record(word) for word in ("open", "taxi", "Open", "2nd", "a1") * 4]
    )
    write_lmdb(root / "test" / "easy", [record("open")])
    return root


def test_the_sr_model_is_chosen_by_the_mean_accuracy_over_validation_splits(
    trained, two_folders, tmp_path, monkeypatch, capsys
):
    config = micro_config(two_folders, tmp_path / "data")
    config.data.validation_fraction = 0.5
    config.init.focus = str(trained)
    training = stages._Training(config, tmp_path)
    stage = training.stage1()
    assert "stage1: no recogniser at hand" in capsys.readouterr().err
    variables = Models.load(trained).sr_variables
    alone = stage.validate(variables)
    assert alone.score == [0.0, alone.scalars["psnr"]] and "accuracy" not in alone.scalars

    config.init.ocr = str(trained)
    training = stages._Training(config, tmp_path)
    # A recogniser that reads "open" everywhere.
    tokens = text.cdistnet_tokens(text.encode(["open"], config.max_length))

    def read(variables, images):
        count = len(images)
        return np.repeat(tokens, count, axis=0), np.zeros(count, int), np.zeros(count)

    monkeypatch.setitem(training.__dict__, "_read", read)
    found = training.stage1().validate(variables)
    splits = training.pairs.validation_splits
    share = {
        name: 100 * np.mean([label.lower() == "open" for label in records.labels(source)])
        for name, source in splits.items()
    }
    assert sum(map(len, splits.values())) == 30 and len(splits["train1"]) > len(splits["train2"])
    assert share["train1"] == 100 and 0 < share["train2"] < 100
    assert found.scalars["accuracy_train2"] == pytest.approx(share["train2"])
    assert found.scalars["accuracy"] == pytest.approx(np.mean(list(share.values())))
    assert found.score == [found.scalars["accuracy"], found.scalars["psnr"]]
    assert found.scalars["psnr"] == pytest.approx(alone.scalars["psnr"])


def test_fine_tuning_of_a_quantised_pair_judges_its_quantised_recogniser(trained):
    config = configuration.load(trained)
    training = stages._Training(config, trained)
    training.ocr = training.ocr.through(lambda tree: jax.tree.map(jax.numpy.zeros_like, tree))
    variables = Models.load(trained).pretrained
    images = to_float(np.stack([training.pairs.validation[0].hr]))
    zeros = jax.tree.map(np.zeros_like, variables)
    plain = stages._Training(config, trained)
    expected = plain._read(zeros, images).log_probability
    assert np.allclose(training._read(variables, images).log_probability, expected)
    assert not np.allclose(plain._read(variables, images).log_probability, expected)
