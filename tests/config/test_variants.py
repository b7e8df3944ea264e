"""Variants: the paper's baselines and ablations of any config."""

import pytest

from configs import demo, paper, small, tiny
from textsr_jax.config.variants import VARIANTS
from textsr_jax.errors import UserError

# The published training of TPGSR, TATT and LEMMA; a config may have some of these values already.
RECIPE = {
    "stage1.batch_size": 48,
    "stage1.learning_rate": 1e-3,
    "stage1.schedule": "constant",
    "stage1.warmup": 0.0,
    "stage1.b1": 0.5,
    "stage1.clip": 0.25,
    "stage1.augment": False,
    "stage1.error": "mse",
    "stage1.scale": 100.0,
    "stage1.position": 0.0,
    "stage1.recognition": 0.0,
    "stage1.gradient": 1e-4,
    "stage1.prior": 1.0,
}

RECIPES = {
    "tpgsr": RECIPE,
    "tpgsr3": RECIPE,
    "tatt": RECIPE | {"stage1.batch_size": 64, "stage1.structure": 0.1, "stage1.turn": 5.0},
    "lemma": RECIPE
    | {
        "stage1.batch_size": 64,
        "stage1.final_from": 0.8,
        "stage1.final_learning_rate": 5e-4,
        "stage1.position": 5.0,
        "stage1.recognition": 0.00025,
        "stage1.gradient": 0.0,
        "stage1.prior": 0.0,
        "stage1.reading": 0.01,
        "stage1.reader_rate": 0.1,
    },
}

# What each changes in a config that starts from nothing.
CHANGES = {
    "tbsrn": {"sr.name": "tbsrn"},
    "tsrn": {"sr.name": "tsrn"},
    "tpgsr": {"sr.name": "tpgsr"},
    "tpgsr3": {"sr.name": "tpgsr", "sr.tpgsr.stages": 3},
    "tatt": {"sr.name": "tatt"},
    "lemma": {"sr.name": "lemma"},
    "bicubic": {"sr.name": "bicubic", "sr.apply_stn": "never"},
    "hr": {"stage2.images": "hr"},
    "joint": {"stages": "pretrain,joint"},
    "no_text_focus": {"stage1.position": 0.0, "stage1.recognition": 0.0},
}


def differing(config, base, prefix=""):
    found = {}
    for name, value in config.items():
        if hasattr(value, "items"):
            found |= differing(value, base[name], f"{prefix}{name}.")
        elif value != base[name]:
            found[prefix + name] = value
    return found


@pytest.mark.parametrize("preset", [paper, small, tiny])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_changes_its_fields_alone(preset, variant):
    config, base = preset.get_config(variant), preset.get_config()
    found = differing(config, base)
    expected = RECIPES.get(variant, {})
    assert {name: found.pop(name, base.stage1[name[7:]]) for name in expected} == expected
    assert found == CHANGES[variant]


@pytest.mark.parametrize("variant", ["tbsrn", "tsrn", "tpgsr", "tatt", "lemma", "bicubic"])
def test_another_sr_network_starts_afresh(variant):
    assert demo.get_config().init.sr and not demo.get_config(variant).init.sr


def test_an_unknown_variant_is_one_line_with_all_of_them():
    with pytest.raises(UserError, match=r"no variant 'tsbrn'; take one of tbsrn, tsrn, tpgsr, "):
        paper.get_config("tsbrn")


def test_every_variant_says_its_command():
    for name, change in VARIANTS.items():
        assert f"--config=configs/paper.py:{name} " in change.__doc__
        assert "Cost:" in change.__doc__ and "Reaches:" in change.__doc__
