"""Parts of configs: frozen dataclasses that check their values and read like mappings."""

import copy
import dataclasses
import pickle

import pytest

from configs import paper
from textsr_jax.config import checks
from textsr_jax.config.settings import Decoding, Experiment, Optimization
from textsr_jax.errors import UserError

CONFIG = checks.checked(paper.get_config())


def test_a_part_is_read_by_attributes_and_as_a_mapping():
    assert CONFIG.decoding.beam == CONFIG["decoding"]["beam"] == 10
    assert dict(CONFIG.decoding) == CONFIG.decoding.to_dict()
    assert CONFIG.sr.get("bicubic") is None and "edsr" in CONFIG.sr and len(CONFIG.sr.edsr) == 4
    with pytest.raises(KeyError):
        CONFIG["to_dict"]


def test_a_part_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        CONFIG.decoding.beam = 3


def test_replace_changes_fields_of_parts_inside():
    changed = CONFIG.replace(seed=3, data={"root": "x", "synthetic": {"test": 7}})
    assert (changed.seed, changed.data.root, changed.data.synthetic.test) == (3, "x", 7)
    assert changed.data.labels == CONFIG.data.labels and changed.sr is CONFIG.sr
    assert CONFIG.seed == 0 and CONFIG.data.root == ""


@pytest.mark.parametrize("values", [{"beam": 0}, {"beam": "3"}, {"temperature": float("nan")}])
def test_a_part_with_an_odd_value_cannot_be_made(values):
    name = next(iter(values))
    with pytest.raises(UserError, match=rf"Decoding\.{name}=.*: must be a"):
        Decoding(**values)
    with pytest.raises(UserError):
        CONFIG.decoding.replace(**values)


def test_parts_survive_copies_and_pickles():
    assert pickle.loads(pickle.dumps(CONFIG)) == copy.deepcopy(CONFIG) == CONFIG


def test_to_dict_is_sorted_as_config_json_is():
    assert [*CONFIG.to_dict()] == sorted(CONFIG)
    assert [*CONFIG.to_dict()["sr"]] == sorted(CONFIG.sr)


def test_every_stage_begins_with_the_settings_of_optimisation():
    for part in (CONFIG.stage0, CONFIG.stage1, CONFIG.stage2, CONFIG.joint, CONFIG.pretrain.ocr):
        assert isinstance(part, Optimization)


def test_without_arguments_it_is_what_the_oldest_files_get():
    assert Experiment().stage1.validate_every == Experiment().stage1.steps // 20 == 25_000
