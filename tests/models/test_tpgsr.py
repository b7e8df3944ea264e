"""TPGSR: its size, its transposed convolutions against PyTorch's, its stages one by one."""

import json

import jax
import numpy as np
import pytest
import torch

from benchmarks.golden import reference_tensors
from tests.conftest import micro_config
from textsr_jax import convert
from textsr_jax.errors import UserError
from textsr_jax.models import Network, build_sr, count_parameters
from textsr_jax.models.layers.pixels import with_mask
from textsr_jax.models.tpgsr import TPGSR, TransposedConv, _linear_matrix


@pytest.fixture(scope="module")
def guided():
    """A micro network of two stages, its variables, and four LR images."""
    config = micro_config("", "").sr
    config.name, config.tpgsr.stages, config.apply_stn = "tpgsr", 2, "never"
    network, rng = build_sr(config), np.random.default_rng(0)

    def draw(keys, leaf):
        # Large enough that a prior changes the images.
        values = rng.normal(0, 0.3, leaf.shape).astype(np.float32)
        return np.exp(values) if keys[-1].key in ("scale", "var") else values

    variables = jax.tree_util.tree_map_with_path(draw, network.template)
    return network, variables, rng.random((4, 16, 64, 3)).astype(np.float32)


def test_the_defaults_are_the_published_network():
    published = json.loads((reference_tensors.HERE / "tpgsr.json").read_text())
    template = convert.network("tpgsr", stn=True).template
    assert count_parameters(template) == published["parameters"]
    kernels = template["params"]["tpgsr"]["interpreter"]["convs"].values()
    unused = sum(conv["kernel"].size // 3 * 2 for conv in kernels)
    assert unused == 568_320


@pytest.mark.parametrize("stride", [1, 2])
def test_transposed_convolutions_are_pytorchs(stride):
    network = Network(lambda rngs: TransposedConv(5, 3, stride, dtype=None, rngs=rngs))
    variables = network.init(jax.random.key(0))
    x = np.random.default_rng(0).standard_normal((2, 7, 5)).astype(np.float32)
    kernel = np.asarray(variables["params"]["kernel"])
    expected = torch.nn.functional.conv_transpose2d(
        torch.from_numpy(x.transpose(0, 2, 1)[:, :, None].copy()),
        torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy()),
        stride=(2, stride),
        padding=(1, 1 if stride == 2 else 0),
    )
    found = network(variables, x)
    np.testing.assert_allclose(found.transpose(0, 2, 1)[:, :, None], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("sizes", [(203, 64), (9, 21), (1, 4)])
def test_interpolation_is_pytorchs_with_corners_aligned(sizes):
    inputs, outputs = sizes
    expected = torch.nn.functional.interpolate(
        torch.eye(inputs)[None, :, None], (1, outputs), mode="bilinear", align_corners=True
    )
    np.testing.assert_allclose(_linear_matrix(*sizes).T, expected[0, :, 0], rtol=0, atol=1e-4)


def test_a_stage_reads_the_images_of_the_stage_before(guided):
    network, variables, lr = guided

    @jax.jit
    def both(variables, lr):
        module = network.module(variables)
        first = jax.nn.softmax(module.prior[0](lr))
        images = module.tpgsr(with_mask(lr), first)
        second = jax.nn.softmax(module.prior[1](images[..., :3]))
        by_hand = [(images, first), (module.tpgsr(with_mask(lr), second), second)]
        return by_hand, module.stages(lr), module(lr)

    by_hand, stages, result = both(variables, lr)
    for (images, prior), stage in zip(by_hand, stages, strict=True):
        np.testing.assert_allclose(stage.images, images, rtol=0, atol=1e-6)
        np.testing.assert_allclose(stage.prior, prior, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(result, stages[1].images[..., :3])
    assert np.abs(stages[1].images - stages[0].images).max() > 1e-4


def test_odd_widths_are_refused():
    with pytest.raises(UserError, match=r"config\.sr\.tpgsr\.channels=7: must be even"):
        Network(lambda rngs: TPGSR(channels=7, rngs=rngs))
