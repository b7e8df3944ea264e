"""Variants: the paper's baselines and ablations of any config."""

import pytest

from configs import demo, paper, small, tiny
from textsr_jax.config.variants import VARIANTS
from textsr_jax.errors import UserError

# What each changes in a config that starts from nothing.
CHANGES = {
    "tbsrn": {"sr.name": "tbsrn"},
    "tsrn": {"sr.name": "tsrn"},
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
    assert differing(preset.get_config(variant), preset.get_config()) == CHANGES[variant]


@pytest.mark.parametrize("variant", ["tbsrn", "tsrn", "bicubic"])
def test_another_sr_network_starts_afresh(variant):
    assert demo.get_config().init.sr and not demo.get_config(variant).init.sr


def test_an_unknown_variant_is_one_line_with_all_of_them():
    with pytest.raises(UserError, match=r"no variant 'tsbrn'; take one of tbsrn, tsrn, bicubic"):
        paper.get_config("tsbrn")


def test_every_variant_says_its_command():
    for name, change in VARIANTS.items():
        assert f"--config=configs/paper.py:{name} " in change.__doc__
        assert "Cost:" in change.__doc__ and "Reaches:" in change.__doc__
