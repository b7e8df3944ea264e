"""The settings names what configs/ sets, and the choices that the networks and the data have."""

import importlib
import pathlib

import pytest
from ml_collections import ConfigDict

import configs
from configs import div2k, paper, small, tiny
from textsr_jax import losses, text
from textsr_jax.config.settings import FIELDS
from textsr_jax.data.synthetic import vocabulary
from textsr_jax.models import (
    OCR_NETWORKS,
    SR_NETWORKS,
    build_focus,
    build_ocr,
    build_rescaler,
    build_sr,
    count_parameters,
)
from textsr_jax.models.super_resolution import APPLY_STN
from textsr_jax.quantization import aciq
from textsr_jax.quantization.rules import GRANULARITIES, GROUP_SIZES
from textsr_jax.train.stages import stage2

FOLDER = pathlib.Path(configs.__path__[0])
PRESETS = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")


def fields(config, prefix=""):
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            yield from fields(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_and_the_schema_name_the_same_fields(preset):
    config = importlib.import_module(f"configs.{preset}").get_config()
    found = dict(fields(config))
    assert found.keys() == FIELDS.keys()
    for name, value in found.items():
        kept = FIELDS[name].kind.accept(value)
        assert kept == value and type(kept) is type(value), name


def test_what_is_given_for_a_missing_field_is_a_value_of_its_kind():
    for name, field in FIELDS.items():
        assert field.kind.accept(field.missing) == field.missing, name
        assert field.about and len(field.about) <= 80


def test_choices_are_those_of_the_rooms():
    def names(field):
        return set(FIELDS[field].kind.names)

    assert names("sr.name") == set(SR_NETWORKS)
    assert names("ocr.name") == set(OCR_NETWORKS)
    assert names("sr.apply_stn") == set(APPLY_STN)
    assert names("stage1.error") == set(losses.IMAGE_ERRORS)
    assert names("stage2.images") == set(stage2.IMAGES)
    assert names("data.synthetic.words") == set(vocabulary.KINDS)
    assert names("alphabet") == set(text.ALPHABETS)
    assert names("quantization.sr.prior") == {*aciq.RANGES, "auto"}
    assert names("quantization.ocr.granularity") == set(GRANULARITIES)
    assert FIELDS["quantization.sr.group_size"].kind.values == GROUP_SIZES
    assert FIELDS["quantization.sr.bits"].kind.low == aciq.MIN_BITS
    assert FIELDS["quantization.sr.bits"].kind.high == aciq.MAX_BITS


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
    config = paper.get_config()
    # Both without constants: the mean shifts of EDSR, 24, and CDistNet's dead parameters.
    assert count_parameters(build_sr(config.sr).template) == 42_584_387 - 24
    assert count_parameters(build_ocr(config.ocr).template) == 46_523_464
