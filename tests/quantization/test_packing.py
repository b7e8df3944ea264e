"""Codes packed to exactly M bits: round trips, the layout of the stream, exact sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from textsr_jax.quantization import aciq, packing

BITS = range(aciq.MIN_BITS, aciq.MAX_BITS + 1)

unpacker = jax.jit(packing.unpack, static_argnums=(1, 2))
channel_unpacker = jax.jit(packing.unpack_channels, static_argnums=(1, 2, 3))


def as_stream(codes, bits):
    """What `pack` shall give, by numpy's own packing of single bits."""
    stream = np.unpackbits(codes.reshape(-1, 1), axis=1, bitorder="little")[:, :bits]
    return np.packbits(stream.reshape(-1), bitorder="little")


@st.composite
def codes_of_channels(draw):
    """Codes, and bits and axis of their channels."""
    # Few shapes and bits: each pair of them is compiled.
    shape, axis = draw(st.sampled_from([((2, 3, 4), 2), ((3, 5), 0), ((0, 4), 1)]))
    bits = draw(st.sampled_from([(2, 3, 8, 3), (7, 2, 5, 6), (4, 4, 4, 4), (8, 6, 3, 2)]))
    bits = bits[: shape[axis]]
    free = draw(hnp.arrays(np.uint8, shape))
    limits = 2 ** np.array(bits)
    return (
        (np.moveaxis(np.moveaxis(free, axis, -1) % limits, -1, axis)).astype(np.uint8),
        bits,
        axis,
    )


@settings(max_examples=100)
@given(st.data())
def test_pack_and_unpack_round_trip(data):
    bits = data.draw(st.sampled_from(BITS))
    count = data.draw(st.sampled_from([0, 1, 13]))
    codes = data.draw(hnp.arrays(np.uint8, count, elements=st.integers(0, 2**bits - 1)))
    buffer = packing.pack(codes, bits)
    assert buffer.dtype == np.uint8
    assert buffer.shape == (packing.packed_size(count, bits),) == (-(-count * bits // 8),)
    np.testing.assert_array_equal(unpacker(buffer, bits, count), codes)


@given(st.sampled_from(BITS), hnp.arrays(np.uint8, hnp.array_shapes(max_side=5)))
def test_packed_codes_are_one_stream_of_bits_lowest_first_in_c_order(bits, codes):
    codes &= 2**bits - 1
    np.testing.assert_array_equal(packing.pack(codes, bits), as_stream(codes, bits))


@pytest.mark.parametrize("bits", BITS)
def test_jax_arrays_are_packed_as_numpy_arrays_are_inside_jit_too(bits):
    codes = np.random.default_rng(bits).integers(0, 2**bits, (7, 11), np.uint8)
    packed = jax.jit(packing.pack, static_argnums=1)(codes, bits)
    assert isinstance(packed, jax.Array)
    np.testing.assert_array_equal(packed, packing.pack(codes, bits))


@settings(max_examples=100)
@given(codes_of_channels())
def test_pack_and_unpack_round_trip_with_bits_for_each_channel(case):
    codes, bits, axis = case
    buffer = packing.pack_channels(codes, bits, axis)
    each = codes.size // len(bits)
    assert buffer.shape == (packing.channels_size(bits, each),)
    # At most the rest of a byte for each width.
    assert 0 <= 8 * buffer.size - sum(bits) * each < 8 * len(set(bits))
    np.testing.assert_array_equal(channel_unpacker(buffer, bits, codes.shape, axis), codes)


def test_channels_are_packed_by_rising_bits_in_their_own_order_inside_jit_too():
    codes = np.random.default_rng(0).integers(0, 4, (3, 2, 4), np.uint8)
    bits, axis = (5, 2, 5, 3), 2
    parts = [(codes[..., 1], 2), (codes[..., 3], 3)]
    together = np.stack([codes[..., 0], codes[..., 2]])
    expected = np.concatenate([as_stream(part, width) for part, width in [*parts, (together, 5)]])
    np.testing.assert_array_equal(packing.pack_channels(codes, bits, axis), expected)
    inside = jax.jit(packing.pack_channels, static_argnums=(1, 2))(codes, bits, axis)
    np.testing.assert_array_equal(inside, expected)


def test_unpacking_refuses_a_buffer_of_the_wrong_size():
    with pytest.raises(ValueError, match=r"10 codes of 3 bits take \(4,\) bytes, not \(5,\)"):
        packing.unpack(jnp.zeros(5, jnp.uint8), 3, 10)
    with pytest.raises(ValueError, match=r"2 channels of 3 codes take \(3,\) bytes, not \(2,\)"):
        packing.unpack_channels(jnp.zeros(2, jnp.uint8), (2, 5), (3, 2), 1)
