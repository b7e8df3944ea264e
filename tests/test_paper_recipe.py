"""configs/paper.py is the published recipe, number by number; smaller configs keep their own."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import demo, div2k, paper, small, tiny
from textsr_jax.config.variants import VARIANTS
from textsr_jax.train import state as states

PAPER_SIZED = {name or "paper": paper.get_config(name) for name in ("", *VARIANTS)} | {
    "div2k": div2k.get_config()
}


def stages(config):
    return {
        "stage0": config.stage0,
        "pretrain.ocr": config.pretrain.ocr,
        "pretrain.focus": config.pretrain.focus,
        "stage1": config.stage1,
        "stage2": config.stage2,
        "joint": config.joint,
    }


GUIDED = ("tpgsr", "tpgsr3", "tatt")
# Variants with a stage 1 of their own.
OWN = (*GUIDED, "lemma")


@pytest.mark.parametrize("name", GUIDED)
def test_stage_1_of_guided_networks_is_their_published_training(name):
    config = PAPER_SIZED[name]
    stage = config.stage1
    assert (stage.schedule, stage.learning_rate, stage.warmup) == ("constant", 1e-3, 0)
    assert (stage.b1, stage.b2, stage.eps, stage.weight_decay) == (0.5, 0.999, 1e-8, 0)
    turned = name == "tatt"
    assert (stage.batch_size, stage.clip, stage.augment) == (64 if turned else 48, 0.25, False)
    assert (stage.structure, stage.turn) == ((0.1, 5) if turned else (0, 0))
    # 100 x (MSE + 1e-4 gradient prior + text prior)
    assert (stage.scale, stage.error, stage.gradient, stage.prior) == (100, "mse", 1e-4, 1)
    assert (stage.position, stage.recognition) == (0, 0)
    assert (config.sr.tpgsr.mask, config.sr.tpgsr.prior_dropout) == (True, 0.25)


def test_stage_1_of_lemma_is_its_published_training():
    config = PAPER_SIZED["lemma"]
    stage = config.stage1
    assert (stage.b1, stage.b2, stage.eps, stage.weight_decay) == (0.5, 0.999, 1e-8, 0)
    assert (stage.batch_size, stage.clip, stage.augment) == (64, 0.25, False)
    # 500 epochs at 1e-3, halved from epoch 400 on, ABINet at 1e-4 and its half.
    rate, reader = states.schedule(stage), stage.reader_rate
    for part, published in ((0, 1e-3), (0.79, 1e-3), (0.8, 5e-4), (0.999, 5e-4)):
        assert float(rate(round(part * stage.steps))) == pytest.approx(published)
        assert reader * float(rate(round(part * stage.steps))) == pytest.approx(published / 10)
    # 100 x (MSE + 0.5 (10 position + 0.0005 recognition) + 0.01 reading)
    assert (stage.scale, stage.error, stage.reading) == (100, "mse", 0.01)
    assert (stage.position, stage.recognition) == (0.5 * 10, 0.5 * 0.0005)
    assert (stage.gradient, stage.prior, stage.structure) == (0, 0, 0)
    assert (config.sr.lemma.mask, config.sr.lemma.dropout, config.sr.abinet.dropout) == (
        *(True, 0.1),
        0.1,
    )


@pytest.mark.parametrize("name", PAPER_SIZED)
def test_stage_1_is_the_text_focus_references(name):
    config = PAPER_SIZED[name]
    for stage in (config.joint,) if name in OWN else (config.stage1, config.joint):
        assert (stage.schedule, stage.learning_rate, stage.warmup) == ("constant", 1e-4, 0)
        assert (stage.b1, stage.b2, stage.eps, stage.weight_decay) == (0.5, 0.999, 1e-8, 0)
        assert (stage.batch_size, stage.clip, stage.augment) == (16, 0.25, False)
        rate = states.schedule(stage)
        assert {float(rate(step)) for step in (0, 1, 1000, stage.steps - 1)} == {
            float(np.float32(1e-4))
        }
    assert (config.stage1.scale, config.stage1.error) == (100, "mse")
    if name not in ("no_text_focus", *OWN):
        assert (config.stage1.position, config.stage1.recognition) == (10, 0.0005)
    assert config.sr.tbsrn.dropout == config.focus.dropout == 0.1


@pytest.mark.parametrize("name", PAPER_SIZED)
def test_the_recogniser_is_trained_as_cdistnets_code_does(name):
    config = PAPER_SIZED[name]
    settings = config.pretrain.ocr
    for stage in (settings, config.stage2):
        assert (stage.b1, stage.b2, stage.eps, stage.weight_decay) == (0.9, 0.98, 1e-9, 0)
        assert (stage.clip, stage.augment) == (5, True)
    assert (settings.batch_size, config.ocr.cdistnet.dropout, config.max_length) == (1400, 0.1, 30)
    # Ten epochs of 14 million words. The code's own formula, its steps counted from 1 and its
    # epochs from 0: width^-0.5 min(n^-0.5, n warmup^-1.5), and 1e-5 in the epochs from 7 on.
    epoch = settings.steps // 10
    assert epoch * settings.batch_size == 14_000_000
    rate = states.schedule(settings)
    for step in (0, 1, 499, 9_999, 10_000, 30_000, 7 * epoch - 1, 7 * epoch, 10 * epoch - 1):
        n = step + 1
        published = 512**-0.5 * min(n**-0.5, n * 10_000**-1.5)
        if step // epoch >= 7:
            published = 1e-5
        assert float(rate(step)) == pytest.approx(published, rel=2e-4), step
    # Fine-tuning goes on from the last epochs.
    assert float(states.schedule(config.stage2)(0)) == pytest.approx(1e-5)
    assert float(states.schedule(config.stage2)(config.stage2.steps - 1)) == pytest.approx(1e-5)


def test_stage_0_is_the_resamplers_paper():
    stage = div2k.get_config().stage0
    assert (stage.batch_size, stage.b1, stage.b2, stage.crop) == (16, 0.9, 0.999, 192)
    assert float(states.schedule(stage)(stage.steps // 2)) == pytest.approx(1e-4)


@pytest.mark.parametrize("preset", [tiny, small, demo])
def test_smaller_configs_keep_what_is_better_for_them(preset):
    config = preset.get_config()
    assert config.sr.tbsrn.dropout == config.focus.dropout == 0
    for stage in stages(config).values():
        assert (stage.schedule, stage.warmup, stage.final_from) == ("cosine", 0.05, 1)
        assert (stage.b1, stage.b2, stage.eps, stage.clip) == (0.9, 0.999, 1e-8, 5)
        rate = states.schedule(stage)
        expected = optax.warmup_cosine_decay_schedule(
            0,
            stage.learning_rate,
            round(0.05 * stage.steps),
            stage.steps,
            stage.learning_rate / 100,
        )
        for step in (0, 3, stage.steps // 2, stage.steps - 1):
            assert float(rate(step)) == float(expected(step))
    assert config.stage1.augment
    assert config.max_length in (12, 16)


def test_schedules_under_jit_give_what_they_give_outside():
    for stage in stages(paper.get_config()).values():
        rate = states.schedule(stage)
        counts = jnp.asarray([0, 1, stage.steps // 3, stage.steps - 1], jnp.int32)
        inside = jax.jit(jax.vmap(rate))(counts)
        np.testing.assert_allclose(inside, [rate(int(count)) for count in counts], rtol=1e-3)
