"""The plan: seeds that must never change, the order of stages, and a stage of one's own."""

import dataclasses

import pytest

from tests.conftest import micro_config
from textsr_jax.config.checks import checked
from textsr_jax.train import loop, plan, runner
from textsr_jax.train.stages import finetune, pretrain
from textsr_jax.train.training import open_training


def test_seeds_are_those_of_old_runs():
    specs = [*plan.STAGES, finetune.sr_stage("0", {}, {}), finetune.ocr_stage("0", {}, {})]
    assert {spec.name: spec.seed for spec in specs} == {
        "pretrain_ocr": 0,
        "pretrain_focus": 1,
        "stage1": 2,
        "stage2": 3,
        "finetune_sr-0": 4,
        "finetune_ocr-0": 5,
        "stage0": 6,
        "joint": 7,
    }


def test_each_stage_has_settings_in_the_config():
    config = micro_config("", "")
    specs = [*plan.STAGES, finetune.sr_stage("0", {}, {}), finetune.ocr_stage("0", {}, {})]
    assert {spec.settings for spec in specs} == {
        *("stage0", "pretrain.ocr", "pretrain.focus", "stage1", "stage2", "joint"),
        *("quantization.finetune_sr", "quantization.finetune_ocr"),
    }
    for spec in specs:
        assert spec.settings_of(config).steps > 0


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({}, ["pretrain_ocr", "pretrain_focus", "stage1", "stage2"]),
        ({"stages": "stage2, pretrain"}, ["pretrain_ocr", "pretrain_focus", "stage2"]),
        ({"stages": "pretrain,joint"}, ["pretrain_ocr", "pretrain_focus", "joint"]),
        ({"init.ocr": "ocr.params"}, ["pretrain_focus", "stage1", "stage2"]),
        ({"init.focus": "focus.params"}, ["pretrain_ocr", "stage1", "stage2"]),
        (
            {"stage1.position": 0.0, "stage1.recognition": 0.0},
            ["pretrain_ocr", "stage1", "stage2"],
        ),
        ({"sr.name": "bicubic", "sr.apply_stn": "never"}, ["pretrain_ocr", "stage2"]),
        ({"stages": "stage0,stage1"}, ["stage0", "stage1"]),
    ],
)
def test_stages_that_a_config_can_do_without_are_left_out(tmp_path, changes, names):
    config = micro_config("", "")
    config.update_from_flattened_dict(changes)
    training = open_training(checked(config), tmp_path)
    assert [spec.name for spec in plan.chosen(training)] == names


@pytest.mark.slow
def test_a_stage_of_ones_own_is_a_spec_and_a_line_in_the_plan(data_root, tmp_path, monkeypatch):
    own = dataclasses.replace(pretrain.FOCUS, name="own", seed=99, about="a stage of one's own")
    monkeypatch.setattr(plan, "STAGES", (*plan.STAGES, own))
    config = micro_config(data_root, tmp_path / "data")
    config.stages, config.init.ocr = "pretrain", "elsewhere"
    runner.train(config, tmp_path / "w", "again")
    assert own.is_finished(open_training(checked(config), tmp_path / "w"))
    assert loop.is_finished(tmp_path / "w", "own", config.pretrain.focus.steps)
