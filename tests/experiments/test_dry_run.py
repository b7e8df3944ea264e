"""The dry run: what it says of a stage against what can be counted otherwise."""

import jax
import jax.numpy as jnp
import pytest

from configs import paper
from tests.conftest import micro_config
from textsr_jax import data
from textsr_jax.errors import UserError
from textsr_jax.experiments import dry_run
from textsr_jax.models import build_focus, build_ocr, build_sr, count_parameters
from textsr_jax.train import runner
from textsr_jax.train import state as states
from textsr_jax.train.steps import make_step

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def config(data_root, tmp_path_factory):
    return micro_config(data_root, tmp_path_factory.mktemp("data"))


def sizes(network):
    return [leaf.size for leaf in jax.tree.leaves(network.template)]


def test_every_stage_is_told_with_its_size(config, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # Stage 2 too, though nothing was trained before it.
    estimates = {one.stage: one for one in dry_run.report(config)}
    printed = capsys.readouterr().out
    assert list(estimates) == ["pretrain_ocr", "pretrain_focus", "stage1", "stage2"]
    sr, ocr, focus = build_sr(config.sr), build_ocr(config.ocr), build_focus(config.focus)
    for stage, network in zip(estimates, (ocr, focus, sr, ocr), strict=True):
        one = estimates[stage]
        parameters = count_parameters(network.template)
        assert one.parameters == parameters
        # Adam keeps two numbers a parameter; beside it lie a key and a few counters.
        held = 4 * (3 * parameters + sum(sizes(network)) - parameters)
        assert held < one.state_bytes < held + 100
        # At least a gradient and the weights' bytes more.
        assert one.step_bytes > one.state_bytes + 4 * parameters
        assert one.epoch_s == pytest.approx(
            one.records / one.batch_size * one.flop / one.matrix_flops
        )
        assert f"{one.records:,}" in printed and stage in printed
    # 96 words, 10 % of them held out, and 24 synthetic ones beside them for recognisers.
    assert estimates["stage1"].records == 86
    assert estimates["pretrain_ocr"].records == 86 + 24
    assert not list(tmp_path.iterdir())


def test_a_dry_run_draws_compiles_and_writes_nothing(tmp_path, monkeypatch, capfd):
    """At the paper's sizes with the paper's 50,000 drawn words: it has to take seconds."""
    config = paper.get_config()
    with config.unlocked():
        config.data.data_dir = str(tmp_path / "data")
        config.stages = "pretrain,stage2"
        config.pretrain.ocr.augment = config.stage2.augment = True
    monkeypatch.setattr(data, "load", lambda *_: pytest.fail("prepares a data set"))
    monkeypatch.setattr(jax.stages.Lowered, "compile", lambda *_: pytest.fail("compiles"))
    ocr, _, stage2 = dry_run.report(config)
    told = capfd.readouterr().err
    assert "pretrain_ocr (1 of 3): tracing a step" in told and "stage2 (3 of 3)" in told
    assert ocr.records == stage2.records == config.data.synthetic.train
    assert ocr.parameters == count_parameters(build_ocr(config.ocr).template)
    # The same network and loss: the same arithmetic a word.
    assert ocr.flop / ocr.batch_size == stage2.flop / stage2.batch_size > 2e10
    assert not list(tmp_path.iterdir())


def test_memory_of_a_step_is_near_what_xla_plans(config):
    """Within a factor of two of the compiled step, parameters and images of many kinds in it."""
    config = config.copy_and_resolve_references()
    config.stages = "stage1"
    config.sr.edsr.blocks, config.sr.edsr.channels = 4, 32
    ((outline,), placement) = runner.outlines(config)
    (one,) = dry_run.report(config)
    optimizer = states.make_optimizer(outline.settings)
    step = jax.jit(make_step(outline.loss, optimizer), donate_argnums=0)
    state = jax.eval_shape(
        lambda: states.create(
            jax.tree.map(jnp.zeros_like, outline.network.template), optimizer, jax.random.key(0)
        )
    )
    plan = step.lower(state, outline.frozen, outline.batch).compile().memory_analysis()
    held = plan.argument_size_in_bytes + plan.output_size_in_bytes - plan.alias_size_in_bytes
    assert 0.5 < (held + plan.temp_size_in_bytes) / one.step_bytes / placement.mesh.size < 2


def test_arithmetic_is_that_of_the_layers(config):
    """EDSR's convolutions alone, forward and for both gradients, are most of a step without STN."""
    config = config.copy_and_resolve_references()
    config.stages, config.sr.apply_stn = "stage1", "never"
    config.sr.edsr.blocks, config.sr.edsr.channels = 4, 64
    config.stage1.position = config.stage1.recognition = 0.0
    (one,) = dry_run.report(config)
    channels = 64
    kernels = [(3, channels), *[(channels, channels)] * (2 * 4 + 1), (channels, 4 * channels)]

    def taps(height, width):
        """Of a 3x3 convolution over an image, without those that lie in the padding."""
        return (3 * height - 2) * (3 * width - 2)

    lr = taps(16, 64) * sum(a * b for a, b in kernels)
    hr = taps(32, 128) * channels * 3
    forward = 2 * config.stage1.batch_size * (lr + hr)
    # Images need no gradient of the first layer's input, and little else is computed.
    first = 2 * config.stage1.batch_size * taps(16, 64) * 3 * channels
    assert 3 * forward - first < one.flop < 1.02 * 3 * forward


def test_parts_of_a_batch_need_less_memory_for_the_same_arithmetic(config):
    config = config.copy_and_resolve_references()
    config.stages, config.stage1.batch_size = "stage1", 8 * jax.device_count()
    config.sr.apply_stn, config.stage1.position, config.stage1.recognition = "never", 0.0, 0.0
    (whole,) = dry_run.report(config)
    config.stage1.accumulate = 4
    (parts,) = dry_run.report(config)
    assert parts.flop == whole.flop
    assert parts.step_bytes < 0.6 * whole.step_bytes


def test_images_on_the_devices_need_their_bytes(config):
    config = config.copy_and_resolve_references()
    config.stages = "stage2"
    (on_the_way,) = dry_run.report(config)
    config.stage2.on_device = True
    (on_device,) = dry_run.report(config)
    # A batch's images are no longer an argument, but those of all records are.
    images = on_device.records * 32 * 128 * 3
    batch = on_device.batch_size * (16 * 64 + 32 * 128) * 3 / jax.device_count()
    assert images - batch <= on_device.step_bytes - on_the_way.step_bytes <= images + batch


def test_a_config_that_cannot_be_trained_is_refused(config):
    config = config.copy_and_resolve_references()
    config.stages = "stage3"
    with pytest.raises(
        UserError, match=r"config\.stages='stage3': must be one or more of stage0, .*did you mean"
    ):
        runner.outlines(config)


@pytest.mark.parametrize(
    ("seconds", "text"), [(1.25, "1.2 s"), (150, "2.5 min"), (9000, "2.5 h"), (2.16e5, "2.5 days")]
)
def test_durations_in_words(seconds, text):
    assert dry_run._duration(seconds) == text
