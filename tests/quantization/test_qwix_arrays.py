"""Packed trees as Qwix's arrays and back, against Qwix's own `dequantize`."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import qwix

from tests.conftest import same
from textsr_jax.errors import UserError
from textsr_jax.quantization import QuantizedArray, dequantize
from textsr_jax.quantization.qwix_arrays import from_qwix, to_qwix

SHAPE = (3, 8, 6)
RNG = np.random.default_rng(0)


def array(qtype, scales, zeros=False, dtype=jnp.float32) -> qwix.QArray:
    """A `QArray` of random codes and steps, with zero points or without."""
    bits = int(qtype.removeprefix("int"))
    held = jnp.int4 if bits <= 4 else jnp.int8
    codes = RNG.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), SHAPE)
    zero_point = RNG.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), scales) if zeros else None
    return qwix.QArray(
        jnp.asarray(codes, held),
        jnp.asarray(RNG.uniform(0.1, 1, scales), dtype),
        None if zero_point is None else jnp.asarray(zero_point, held),
        qtype if bits not in (4, 8) else held,
    )


ARRAYS = {
    "tensor": array("int8", (1, 1, 1)),
    "channel": array("int4", (1, 1, 6)),
    "input": array("int5", (1, 8, 1)),
    "groups": array("int4", (3, 2, 6)),
    "layers": array("int3", (3, 1, 6), zeros=True),
    "bfloat16": array("int8", (3, 2, 6), zeros=True, dtype=jnp.bfloat16),
}


def test_codes_scales_and_zero_points_come_back_bit_for_bit():
    packed = from_qwix(ARRAYS)
    again = to_qwix(packed)
    assert same(again, ARRAYS)
    assert same(from_qwix(again), packed)
    assert packed["groups"].bits == 4 and packed["groups"].codes.nbytes == 3 * 8 * 6 // 2
    assert packed["groups"].offset.shape == (3 * 8 // 4, 6) and packed["groups"].group_size == 4
    assert packed["layers"].bits == 3 and packed["layers"].group_size == 8
    for name in ("input", "layers", "bfloat16"):
        values, expected = dequantize(packed[name]), qwix.dequantize(ARRAYS[name])
        assert values.dtype == expected.dtype
        # Steps of bfloat16 give the same bits. Else they lie a rounding of float32 apart.
        bound = 0 if name == "bfloat16" else 2**-22 * np.abs(expected).max()
        np.testing.assert_allclose(values, expected, rtol=0, atol=bound)


def test_what_qwix_quantises_is_packed():
    kernel = jax.random.normal(jax.random.key(0), (8, 6)) + 0.3
    made = qwix.quantize(kernel, jnp.int8, channelwise_axes=(1,), calibration_method="minmax")
    packed = from_qwix({"layer": [made, kernel]})
    assert isinstance(packed["layer"][0], QuantizedArray)
    np.testing.assert_allclose(dequantize(packed)["layer"][0], kernel, rtol=0, atol=0.02)
    assert same(to_qwix(packed), {"layer": [made, kernel]})


def test_a_range_without_steps_keeps_its_zero():
    packed = from_qwix({"k": qwix.QArray(jnp.full((4, 2), -3, jnp.int8), jnp.array([[0.0, 0.5]]))})
    np.testing.assert_array_equal(dequantize(packed)["k"], [[0, -1.5]] * 4)
    np.testing.assert_array_equal(qwix.dequantize(to_qwix(packed)["k"]), [[0, -1.5]] * 4)


def test_what_a_qarray_cannot_hold_is_refused():
    packed = from_qwix(ARRAYS)
    tensor, channel, groups = (packed[name] for name in ("tensor", "channel", "groups"))
    for leaf, message in (
        # ACIQ's ranges begin anywhere.
        (dataclasses.replace(tensor, offset=tensor.offset * 0.999), "k: 0 is no whole number of"),
        (dataclasses.replace(channel, bits=(4,) * 6), "k: a QArray has one number of bits"),
        (dataclasses.replace(groups, group_size=5), "k: groups of 5 rows are no tiles of"),
        (dataclasses.replace(channel, dtype=np.dtype(jnp.bfloat16)), "k: its steps are no bfloat1"),
        # int4 holds zero points up to 7, which is code 15.
        (dataclasses.replace(channel, offset=-16 * channel.scale), "k: 0 lies outside of the zero"),
    ):
        with pytest.raises(UserError, match=message):
            to_qwix({"k": leaf})
    last = dataclasses.replace(channel, offset=-15 * channel.scale)
    assert np.asarray(to_qwix({"k": last})["k"].zero_point).astype(int).tolist() == [[[7] * 6]]


def test_what_cannot_be_packed_is_refused():
    codes, one = jnp.ones(SHAPE, jnp.int8), jnp.ones((1, 1, 1))
    for refused, message in (
        (qwix.QArray(codes.astype(jnp.float8_e4m3fn), one), "k: float8_e4m3fn with float32 scales"),
        (qwix.QArray(codes, one.astype(jnp.float8_e4m3fn)), "k: int8 with float8_e4m3fn scales"),
        (qwix.QArray(codes, jnp.ones((3, 8, 1))), "k: scales .* are no groups of consecutive rows"),
        (qwix.QArray(codes, -one), "k: scales must be finite and not negative"),
        (qwix.QArray(codes * 99, one, qtype="int3"), "k: values outside of int3"),
    ):
        with pytest.raises(UserError, match=message):
            from_qwix({"k": refused})
