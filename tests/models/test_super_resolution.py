"""The SR model: when the STN is applied, and bicubic enlargement against Pillow's."""

import jax
import numpy as np
import pytest
from PIL import Image

from tests.conftest import micro_config, same
from textsr_jax.errors import UserError
from textsr_jax.models import build_sr
from textsr_jax.models.bicubic import enlarge

LR = np.random.default_rng(0).random((2, 16, 64, 3), np.float32)


def resolver(mode: str):
    config = micro_config("", "").sr
    config.apply_stn = mode
    network = build_sr(config)
    variables = network.init(jax.random.key(0))
    if "stn" in variables["params"]:
        # The STN starts as the identity, nearly; push its points away from it.
        bias = variables["params"]["stn"]["fc2"]["bias"]
        variables["params"]["stn"]["fc2"]["bias"] = bias + 0.1
    return network, variables


@pytest.mark.slow
def test_the_stn_rectifies_when_the_mode_says_so():
    network, variables = resolver("train")
    lone = {part: {"edsr": tree.get("edsr", {})} for part, tree in variables.items()}
    never, _ = resolver("never")
    assert set(never.template["params"]) == {"edsr"}
    plain = never(lone | {"stats": {}}, LR)
    assert np.array_equal(network(variables, LR), plain)
    assert not np.allclose(network.train(variables, LR)[0], plain, atol=1e-3)
    always, _ = resolver("always")
    assert not np.allclose(always(variables, LR), plain, atol=1e-3)
    assert not same(network.train(variables, LR)[1], variables["stats"])


def test_an_unknown_mode_or_network_is_named():
    config = micro_config("", "").sr
    config.apply_stn = "often"
    with pytest.raises(UserError, match=r"config.sr.apply_stn='often'"):
        build_sr(config)
    config = micro_config("", "").sr
    config.name = "edrs"
    with pytest.raises(UserError, match=r"config.sr.name='edrs': no such network; take one"):
        build_sr(config)


def test_bicubic_is_pillows_but_for_rounding():
    # Pillow clips to 8 bits between its two passes; these levels leave room for overshoot.
    lr = (80 + LR[0] * 90).astype(np.uint8)
    expected = np.asarray(Image.fromarray(lr).resize((128, 32), Image.Resampling.BICUBIC))
    made = np.clip(np.asarray(enlarge(lr[None].astype(np.float32)))[0], 0, 255)
    # Half a level from each pass, the first one's weighted by the second (1.1875 in all).
    assert np.abs(made - expected).max() <= 0.5 + 0.5 * 1.1875
