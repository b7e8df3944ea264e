"""Int8 graphs: symmetric ranges of weights, what is quantised, and how far from float32 it lies."""

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper

from textsr_jax import quantization
from textsr_jax.export import graphs
from textsr_jax.export.engine import open_session, to_float
from textsr_jax.export.int8 import quantize, rounded, weight_clips
from textsr_jax.quantization import Rule


def weights(seed, outputs=5, values=300):
    rng = np.random.default_rng(seed)
    scales = np.exp(rng.normal(size=(outputs, 1)))
    return (scales * rng.laplace(size=(outputs, values))).astype(np.float32)


@given(st.integers(0, 2**32 - 1), st.sampled_from([2, 4, 7, 8]))
def test_no_channel_is_worse_than_with_its_largest_magnitude(seed, bits):
    weight = weights(seed)
    clips = weight_clips(weight, bits)
    largest = np.abs(weight).max(axis=1)
    assert (clips > 0).all()
    assert (clips <= largest).all()
    errors = [np.square(rounded(weight, c, bits) - weight).sum(axis=1) for c in (clips, largest)]
    assert (errors[0] <= errors[1]).all()


@given(st.integers(0, 2**32 - 1), st.integers(-8, 8))
def test_a_factor_per_channel_goes_through(seed, power):
    """So BatchNorm may be folded before or after; powers of two round nothing."""
    weight = weights(seed)
    np.testing.assert_allclose(
        weight_clips(weight * np.float32(2.0**power), 8),
        weight_clips(weight, 8) * 2.0**power,
        rtol=1e-5,
    )


@given(st.integers(0, 2**32 - 1))
def test_the_range_is_symmetric_and_keeps_zero(seed):
    weight = weights(seed)
    clips = weight_clips(weight, 8)
    np.testing.assert_array_equal(weight_clips(-weight, 8), clips)
    assert (rounded(np.zeros_like(weight), clips, 8) == 0).all()
    assert len(np.unique(rounded(weight, clips, 8)[0])) <= 255


def test_a_channel_of_zeros():
    weight = np.zeros((2, 9), np.float32)
    weight[1] = 1
    clips = weight_clips(weight, 8)
    assert clips[0] == 0
    np.testing.assert_allclose(rounded(weight, clips, 8), weight, atol=1e-6)


def test_weights_are_int8_with_zero_point_zero(int8):
    arrays = {t.name: numpy_helper.to_array(t) for t in int8["encoder"].graph.initializer}
    for node in int8["encoder"].graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in arrays:
            codes = arrays[node.input[0]]
            if codes.dtype == np.int8:
                assert np.abs(codes.astype(int)).max() <= 63
                assert not arrays[node.input[2]].any()


@pytest.mark.slow
@pytest.mark.parametrize("bits", [7, 8])
def test_weights_have_the_ranges_that_aciq_finds_for_their_bits(source, lr, bits):
    """Those of packed models too: ranges fitted to other bits would round their weights badly."""
    network, variables = source.sr
    packed = quantization.quantize(variables, [Rule(r".*/kernel", 8, "laplace", "channel")])
    graph = graphs.super_resolution(network, packed)
    kernels = [numpy_helper.to_array(t) for t in graph.graph.initializer]
    kernel = next(kernel for kernel in kernels if kernel.shape == (8, 8, 3, 3))
    wanted = weight_clips(kernel.reshape(8, -1), bits) / (2 ** (bits - 1) - 1)
    model = quantize(graph, [{"lr": to_float(lr)}], "minmax", bits)
    arrays = [numpy_helper.to_array(t) for t in model.graph.initializer]
    assert any(a.shape == (8,) and np.array_equal(a, wanted.astype(np.float32)) for a in arrays)


@pytest.mark.parametrize(("name", "at_least"), [("sr", 30), ("encoder", 15)])
def test_signal_to_noise(traced, int8, sessions, lr, name, at_least):
    """In dB, on images that were not calibrated on; drawn weights are harder than trained ones."""
    images = to_float(lr)[:, :, ::-1]
    if name == "encoder":
        images = sessions["sr"].run(None, {"lr": images})[0].clip(0, 1)
    feed = {traced[name].graph.input[0].name: images}
    exact = sessions[name].run(None, feed)[0]
    coarse = open_session(int8[name].SerializeToString()).run(None, feed)[0]
    assert np.square(coarse - exact).mean() > 0
    assert 10 * np.log10(exact.var() / np.square(coarse - exact).mean()) > at_least


def test_convolutions_and_products_become_int8_kernels(int8, tmp_path):
    """What ONNX Runtime makes of the graphs: no float convolution but the one to pixels."""
    found = {}
    for name in ("sr", "encoder", "decoder_step"):
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.optimized_model_filepath = str(tmp_path / f"{name}.onnx")
        onnxruntime.InferenceSession(
            int8[name].SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        import onnx

        nodes = onnx.load(tmp_path / f"{name}.onnx").graph.node
        found[name] = [node.op_type for node in nodes]
    assert found["sr"].count("QLinearConv") == 7
    assert found["sr"].count("Conv") == 1
    assert "Conv" not in found["encoder"]
    assert found["encoder"].count("QGemm") >= 4
    assert found["decoder_step"].count("QGemm") >= 20
