"""Workdirs: each keeps its config, and a difference is named by its field."""

import json

import pytest

from configs import demo, tiny
from textsr_jax.errors import UserError
from textsr_jax.storage import workdirs
from textsr_jax.storage.shipped import SHIPPED


def test_a_workdir_gives_its_config_back(tmp_path):
    config = tiny.get_config()
    workdirs.save_config(config, tmp_path)
    again = workdirs.load_config(tmp_path)
    assert json.loads(again.to_json()) == json.loads(config.to_json())
    assert again.is_locked
    workdirs.save_config(config, tmp_path)


def test_another_config_is_refused_and_the_field_named(tmp_path):
    config = tiny.get_config()
    workdirs.save_config(config, tmp_path)
    config.stage1.learning_rate = 0.5
    with pytest.raises(UserError, match=r"stage1\.learning_rate is 0\.\d+ there and 0\.5 here"):
        workdirs.save_config(config, tmp_path)


def test_fields_that_change_no_result_may_differ(tmp_path):
    config = tiny.get_config()
    workdirs.save_config(config, tmp_path)
    config.stages = "stage2"
    config.data.synthetic.workers = 7
    config.data.data_dir = "/elsewhere"
    workdirs.save_config(config, tmp_path)


def test_the_temperature_may_differ_and_be_missing(tmp_path):
    """It changes no model; configs from before it have none."""
    config = tiny.get_config()
    with config.unlocked():
        del config.decoding["temperature"]
    workdirs.save_config(config, tmp_path)
    config = tiny.get_config()
    config.decoding.temperature = 1.5
    workdirs.save_config(config, tmp_path)
    assert workdirs.load_config(tmp_path).decoding.temperature == 1.0


def test_a_relative_data_root_is_the_same_as_its_absolute_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = tiny.get_config()
    config.data.root = "words"
    workdirs.save_config(config, tmp_path / "w")
    config.data.root = str(tmp_path / "words")
    workdirs.save_config(config, tmp_path / "w")


def test_what_is_not_a_workdir_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere: no such workdir"):
        workdirs.load_config(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"holds no config.json"):
        workdirs.load_config(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config.json: cannot read the config"):
        workdirs.load_config(tmp_path)


def test_relative_photographs_are_the_same_as_their_absolute_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = tiny.get_config()
    config.photographs.train, config.photographs.validation = "photos", "tfds:div2k"
    workdirs.save_config(config, tmp_path / "w")
    saved = json.loads((tmp_path / "w" / workdirs.CONFIG_FILE).read_text())["photographs"]
    assert (saved["train"], saved["validation"]) == (str(tmp_path / "photos"), "tfds:div2k")
    config.photographs.train = str(tmp_path / "photos")
    workdirs.save_config(config, tmp_path / "w")


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
    workdirs.save_config(config, tmp_path)
    path = tmp_path / workdirs.CONFIG_FILE
    old = json.loads(path.read_text())
    for field in LATER:
        *parts, name = field.split(".")
        part = old
        for key in parts:
            part = part[key]
        assert part.pop(name) == LATER[field], field
    path.write_text(json.dumps(old))
    loaded = workdirs.load_config(tmp_path)
    assert json.loads(loaded.to_json()) == json.loads(config.to_json())
    # Its own preset is still the same config, another value is not.
    workdirs.save_config(config, tmp_path)
    config.stage1.eps = 1e-9
    with pytest.raises(UserError, match=r"stage1\.eps is 1e-08 there and 1e-09 here"):
        workdirs.save_config(config, tmp_path)


@pytest.mark.parametrize("name", ["small.safetensors", "shipped.safetensors"])
def test_a_workdir_that_started_at_the_shipped_file_of_another_installation(tmp_path, name):
    """The file may have its old name there, and the installation may be gone."""
    config = demo.get_config()
    place = tmp_path / "elsewhere" / "textsr_jax" / "weights" / name
    config.init.sr = config.init.ocr = str(place)
    workdirs.save_config(config, tmp_path / "w")
    assert workdirs.load_config(tmp_path / "w") == demo.get_config()
    # The command that made it goes on.
    workdirs.save_config(demo.get_config(), tmp_path / "w")
    place.parent.mkdir(parents=True)
    place.write_bytes(SHIPPED.read_bytes())
    assert workdirs.load_config(tmp_path / "w").init.sr == str(SHIPPED)
    place.write_bytes(b"other models")
    assert workdirs.load_config(tmp_path / "w").init.sr == str(place)
