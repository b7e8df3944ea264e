"""Configs: a workdir keeps its own, and what does not fit is named with a hint."""

import json
import sys

import pytest

from configs import div2k, paper, small, tiny
from textsr_jax.config import configuration
from textsr_jax.errors import UserError
from textsr_jax.models import build_focus, build_ocr, build_rescaler, build_sr


def test_a_workdir_gives_its_config_back(tmp_path):
    config = tiny.get_config()
    configuration.save(config, tmp_path)
    again = configuration.load(tmp_path)
    assert json.loads(again.to_json()) == json.loads(config.to_json())
    assert again.is_locked
    configuration.save(config, tmp_path)


def test_another_config_is_refused_and_the_field_named(tmp_path):
    config = tiny.get_config()
    configuration.save(config, tmp_path)
    config.stage1.learning_rate = 0.5
    with pytest.raises(UserError, match=r"stage1\.learning_rate is 0\.\d+ there and 0\.5 here"):
        configuration.save(config, tmp_path)


def test_fields_that_change_no_result_may_differ(tmp_path):
    config = tiny.get_config()
    configuration.save(config, tmp_path)
    config.stages = "stage2"
    config.data.synthetic.workers = 7
    config.data.data_dir = "/elsewhere"
    configuration.save(config, tmp_path)


def test_the_temperature_may_differ_and_be_missing(tmp_path):
    """It changes no model; configs from before it have none."""
    config = tiny.get_config()
    with config.unlocked():
        del config.decoding["temperature"]
    configuration.save(config, tmp_path)
    config = tiny.get_config()
    config.decoding.temperature = 1.5
    configuration.save(config, tmp_path)
    assert configuration.load(tmp_path).decoding.temperature == 1.0


def test_a_relative_data_root_is_the_same_as_its_absolute_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = tiny.get_config()
    config.data.root = "words"
    configuration.save(config, tmp_path / "w")
    config.data.root = str(tmp_path / "words")
    configuration.save(config, tmp_path / "w")


def test_what_is_not_a_workdir_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere: no such workdir"):
        configuration.load(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"holds no config.json"):
        configuration.load(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config.json: cannot read the config"):
        configuration.load(tmp_path)


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
    configuration.save(tiny.get_config(), tmp_path)
    argv = ["evaluate.py", *form.format(tmp_path).split(), "--config.decoding.beam=3"]
    filled = configuration.fill_in(argv)
    assert filled == [argv[0], f"--config={configuration.__file__}:{tmp_path}", *argv[1:]]
    assert configuration.get_config(str(tmp_path)) == configuration.load(tmp_path)


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


def test_relative_photographs_are_the_same_as_their_absolute_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = tiny.get_config()
    config.photographs.train, config.photographs.validation = "photos", "tfds:div2k"
    configuration.save(config, tmp_path / "w")
    saved = json.loads((tmp_path / "w" / configuration.FILE).read_text())["photographs"]
    assert (saved["train"], saved["validation"]) == (str(tmp_path / "photos"), "tfds:div2k")
    config.photographs.train = str(tmp_path / "photos")
    configuration.save(config, tmp_path / "w")


STAGES = ("stage0", "pretrain.ocr", "pretrain.focus", "stage1", "stage2", "joint")
LATER = {
    "sr.tbsrn.dropout": 0.0,
    "focus.dropout": 0.0,
    "stage1.confusion": "",
    **{f"{stage}.schedule": "cosine" for stage in STAGES},
    **{f"{stage}.final_from": 1.0 for stage in STAGES},
    **{f"{stage}.final_learning_rate": 0.0 for stage in STAGES},
    **{f"{stage}.eps": 1e-8 for stage in STAGES},
}


def test_a_workdir_from_before_a_field_goes_on_as_it_was_made(tmp_path):
    config = tiny.get_config()
    configuration.save(config, tmp_path)
    path = tmp_path / configuration.FILE
    old = json.loads(path.read_text())
    for field in LATER:
        *parts, name = field.split(".")
        part = old
        for key in parts:
            part = part[key]
        assert part.pop(name) == LATER[field], field
    path.write_text(json.dumps(old))
    loaded = configuration.load(tmp_path)
    assert json.loads(loaded.to_json()) == json.loads(config.to_json())
    # Its own preset is still the same config, another value is not.
    configuration.save(config, tmp_path)
    config.stage1.eps = 1e-9
    with pytest.raises(UserError, match=r"stage1\.eps is 1e-08 there and 1e-09 here"):
        configuration.save(config, tmp_path)


def test_dropout_makes_no_other_network():
    config, other = small.get_config(), small.get_config()
    for each in (config, other):
        each.sr.name = "tbsrn"
    other.sr.tbsrn.dropout, other.ocr.cdistnet.dropout = 0.1, 0.3
    assert configuration.same_network(config, other, "sr")
    assert configuration.same_network(config, other, "ocr")
    other.sr.tbsrn.blocks += 1
    assert not configuration.same_network(config, other, "sr")
