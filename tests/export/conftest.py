"""Models of a few channels with drawn weights and statistics, their graphs, and images."""

import jax
import numpy as np
import pytest

from tests.conftest import WORDS, micro_config, word_image
from textsr_jax.config.checks import checked
from textsr_jax.export import GRAPHS, exporting
from textsr_jax.export.engine import open_session
from textsr_jax.images import resize
from textsr_jax.models import build_ocr, build_sr
from textsr_jax.models.cdistnet.rectifier import target_points

STEPS = 6


def drawn(network, seed):
    """Variables whose biases and statistics are not those of a fresh network; nothing compiles."""
    rng = np.random.default_rng(seed)

    def draw(keys, leaf):
        noise = rng.normal(size=leaf.shape)
        name = keys[-1].key
        if name == "var":
            noise = 0.5 + np.abs(noise)
        elif name == "scale":
            noise = 1 + 0.2 * noise
        elif leaf.ndim > 1:
            noise *= (leaf.size / leaf.shape[-1]) ** -0.5
        else:
            noise *= 0.1
        if any(key.key == "fc2" for key in keys):
            # An image is not to be bent out of shape.
            noise = 0.05 * noise + (target_points().ravel() if name == "bias" else 0)
        return noise.astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, network.template)


@pytest.fixture(scope="session")
def source(tmp_path_factory) -> exporting.Exportable:
    """Models with two MDCDP layers; words are decoded with three beams."""
    root = tmp_path_factory.mktemp("unused")
    config = micro_config(root, root)
    config.sr.edsr.blocks = 2
    config.ocr.cdistnet.decoder_layers = 2
    config.sr.apply_stn = "never"
    config.decoding.steps = STEPS
    config.decoding.beam = 3
    config = checked(config)
    sr, ocr = build_sr(config.sr), build_ocr(config.ocr)
    return exporting.Exportable("micro", config, (sr, drawn(sr, 0)), (ocr, drawn(ocr, 1)))


@pytest.fixture(scope="session")
def traced(source):
    """Their float32 graphs."""
    return exporting.trace(source)


@pytest.fixture(scope="session")
def sessions(traced):
    """The float32 graphs, opened."""
    return {name: open_session(traced[name].SerializeToString()) for name in GRAPHS}


@pytest.fixture(scope="session")
def lr() -> np.ndarray:
    """Word images, uint8 (12, 16, 64, 3)."""
    return np.stack([resize(np.asarray(word_image(word)), (64, 16)) for word in WORDS])


@pytest.fixture(scope="session")
def int8(traced, lr):
    """The int8 graphs, with activation ranges from `lr`."""
    return exporting.quantize_graphs(traced, lr, STEPS, "aciq", 7)
