"""The float32 graphs give what JAX gives, for any number of images, words and beams."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from onnx import numpy_helper

from tests.export.conftest import STEPS, drawn
from textsr_jax.export import GRAPHS, graphs, int8
from textsr_jax.export.engine import open_session, to_float
from textsr_jax.models import build_sr
from textsr_jax.text import PAD, START


def kinds(graph):
    return [node.op_type for node in graph.graph.node]


@pytest.mark.parametrize("count", [1, 3])
def test_super_resolution(source, sessions, count):
    network, variables = source.sr
    lr = np.random.default_rng(count).random((count, 16, 64, 3), np.float32)
    (sr,) = sessions["sr"].run(None, {"lr": lr})
    np.testing.assert_allclose(sr, jax.jit(network)(variables, lr), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "apply_stn"),
    [("tbsrn", "train"), ("tsrn", "train"), ("lemma", "never"), ("edsr", "always")],
)
def test_other_networks_and_the_stn_in_front(source, lr, name, apply_stn):
    network = build_sr(source.config.sr.replace(name=name, apply_stn=apply_stn))
    variables = drawn(network, 2)
    graph = graphs.super_resolution(network, variables)
    # LEMMA normalises sums too, which follow no convolution.
    assert "BatchNormalization" not in kinds(graph) or apply_stn == "always" or name == "lemma"
    feed = {"lr": to_float(lr)}
    wanted = jax.jit(network)(variables, feed["lr"])
    (sr,) = open_session(graph.SerializeToString()).run(None, feed)
    np.testing.assert_allclose(sr, wanted, atol=1e-5)
    model = int8.quantize(graph, [feed], "aciq", 7)
    (sr,) = open_session(model.SerializeToString()).run(None, feed)
    # Near it, and not it.
    assert 0 < np.square(sr - wanted).mean() < 0.01 * np.var(wanted)


@pytest.mark.parametrize("count", [1, 3])
def test_encoder(source, sessions, count):
    network, variables = source.ocr
    images = np.random.default_rng(count).random((count, 32, 128, 3), np.float32)
    (memory,) = sessions["encoder"].run(None, {"images": images})
    encode = jax.jit(lambda variables, images: network(variables, images, method="encode"))
    np.testing.assert_allclose(memory, encode(variables, images), atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("beams", [1, 3])
def test_decoder_step_by_step(source, sessions, beams):
    """Random tokens, pads among them: the logits of every prefix are those of JAX's decoder."""
    network, variables = source.ocr
    module = network.module(variables)
    rng = np.random.default_rng(beams)
    words, width = 2, module.width
    memory = rng.normal(size=(words, 64, width)).astype(np.float32)
    tokens = rng.integers(0, 40, (words, beams, STEPS)).astype(np.int32)
    tokens[:, :, 0], tokens[0, 0, 2] = START, PAD
    rows = jnp.asarray(tokens.reshape(-1, STEPS))
    wanted = module.decode(jnp.repeat(memory, beams, axis=0), rows)

    layers, size = len(module.mdcdp), width // module.heads
    names = graphs.memory_names(layers)
    read = sessions["decoder_start"].run(None, {"memory": memory})
    memories = dict(zip(names, read, strict=True))
    caches = {
        name: np.full((words, beams, module.heads, 1, size), np.nan, np.float32)
        for name in graphs.cache_names(layers)
    }
    for length in range(1, STEPS + 1):
        positions = np.arange(length, dtype=np.int32)
        feed = {"tokens": tokens[:, :, :length], "positions": positions, **memories, **caches}
        logits, *written = sessions["decoder_step"].run(None, feed)
        np.testing.assert_allclose(
            logits.reshape(words * beams, -1), wanted[:, length - 1], atol=1e-4
        )
        # The last place may hold anything.
        spare = ((0, 0), (0, 0), (0, 0), (0, 1), (0, 0))
        caches = {
            name: np.pad(cache, spare, constant_values=7)
            for name, cache in zip(caches, written, strict=True)
        }


def test_convolutions_are_plain_and_normalisation_is_folded(traced):
    for name in ("sr", "encoder"):
        found = kinds(traced[name])
        assert "BatchNormalization" not in found
        assert "If" not in found
    # Head, two blocks of two, the end of the body, the enlargement and the tail.
    assert kinds(traced["sr"]).count("Conv") == 8
    # One at either end and those of the pixel shuffle: none between convolutions.
    assert kinds(traced["sr"]).count("Transpose") <= 5


def test_the_pixel_shuffle_moves_whole_blocks_of_channels(traced):
    """ONNX Runtime is slow at the published order, which scatters the channels one by one."""
    orders = [
        tuple(attribute.ints)
        for node in traced["sr"].graph.node
        for attribute in node.attribute
        if node.op_type == "Transpose" and len(attribute.ints) == 6
    ]
    assert orders == [(0, 1, 3, 2, 4, 5)]


@pytest.mark.slow
def test_channels_are_reordered_for_it(source):
    network, variables = source.sr
    graph = graphs.super_resolution(network, variables)
    (upsample,) = [
        numpy_helper.to_array(tensor)
        for tensor in graph.graph.initializer
        if tensor.dims and tensor.dims[0] == 4 * source.config.sr.edsr.channels
        if len(tensor.dims) == 4
    ]
    plain = np.asarray(variables["params"]["edsr"]["upsample"]["kernel"])
    # The channel that becomes channel c of the new pixel in a row and a column is the published
    # order's 4 c + 2 row + column.
    channels = len(upsample) // 4
    for row, column, channel in np.ndindex(2, 2, channels):
        here, there = (2 * row + column) * channels + channel, 4 * channel + 2 * row + column
        np.testing.assert_array_equal(upsample[here], plain[..., there].transpose(2, 0, 1))


def test_only_standard_operators(traced):
    for name in GRAPHS:
        assert {node.domain for node in traced[name].graph.node} == {""}
