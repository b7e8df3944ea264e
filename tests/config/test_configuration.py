"""Configs: a workdir keeps its own, and what does not fit is named with a hint."""

import json
import sys

import pytest

from configs import div2k, paper, small, tiny
from textsr_jax.config import configuration
from textsr_jax.errors import UserError
from textsr_jax.models import build_focus, build_ocr, build_rescaler, build_sr
from textsr_jax.storage import workdirs


def test_a_misspelt_override_gets_the_nearest_name(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "--config.stage1.stepz=3"])
    error = AttributeError('\'stepz\'\nDid you mean "steps" instead of "stepz"?')
    expected = "config.stage1.stepz: there is no field 'stepz'; did you mean 'steps'?"
    assert configuration.explain(error) == expected


def test_a_misspelt_field_in_the_file_gets_the_nearest_name(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "--config=mine.py"])
    config = tiny.get_config()
    with pytest.raises(AttributeError) as caught:
        config.stage1.stepz = 3
    expected = "--config: the file sets 'stepz', which is no field; did you mean 'steps'?"
    assert configuration.explain(caught.value) == expected


@pytest.mark.slow
@pytest.mark.parametrize("preset", [tiny, small, paper, div2k])
def test_presets_build_their_networks(preset):
    config = preset.get_config()
    rescaler = build_rescaler(config.resampler, config.sr)
    networks = (rescaler, build_sr(config.sr), build_ocr(config.ocr), build_focus(config.focus))
    for network in networks:
        assert network.template["params"]
    with pytest.raises(AttributeError, match="learning_rate"):
        config.stage1.learning_rat = 1.0


@pytest.mark.slow
def test_the_paper_preset_has_the_papers_sizes():
    from textsr_jax.models import count_parameters

    config = paper.get_config()
    # Both without constants: the mean shifts of EDSR, 24, and CDistNet's dead parameters.
    assert count_parameters(build_sr(config.sr).template) == 42_584_387 - 24
    assert count_parameters(build_ocr(config.ocr).template) == 46_523_464


@pytest.mark.parametrize("form", ["--workdir={}", "-workdir={}", "--workdir {}"])
def test_overrides_beside_a_workdir_alone_change_its_own_config(tmp_path, form):
    workdirs.save_config(tiny.get_config(), tmp_path)
    argv = ["evaluate.py", *form.format(tmp_path).split(), "--config.decoding.beam=3"]
    filled = configuration.fill_in(argv)
    assert filled == [argv[0], f"--config={configuration.__file__}:{tmp_path}", *argv[1:]]
    assert configuration.get_config(str(tmp_path)) == workdirs.load_config(tmp_path)


def test_nothing_is_filled_in_without_overrides_or_beside_a_config(tmp_path):
    for rest in (["--out=x"], ["--config=c.py", "--config.decoding.beam=3"]):
        argv = ["evaluate.py", f"--workdir={tmp_path}", *rest]
        assert configuration.fill_in(argv) == argv
    with pytest.raises(UserError, match="is not a workdir"):
        configuration.fill_in(["evaluate.py", f"--workdir={tmp_path}", "--config.seed=1"])


def test_a_config_that_travels_names_no_places(tmp_path):
    config = tiny.get_config()
    config.data.root = config.photographs.train = str(tmp_path / "somewhere")
    config.photographs.validation = config.init.resampler = str(tmp_path / "elsewhere")
    plain = configuration.without_places(config)
    assert str(tmp_path) not in json.dumps(plain)
    assert plain["data"]["root"] == "somewhere"
    assert "init" not in plain and "parallel" not in plain


def test_dropout_makes_no_other_network():
    config, other = small.get_config(), small.get_config()
    for each in (config, other):
        each.sr.name = "tbsrn"
    other.sr.tbsrn.dropout, other.ocr.cdistnet.dropout = 0.1, 0.3
    assert configuration.same_network(config, other, "sr")
    assert configuration.same_network(config, other, "ocr")
    other.sr.tbsrn.blocks += 1
    assert not configuration.same_network(config, other, "sr")
