"""Packs codes of M bits into exactly M bits each, as one stream, and unpacks them.

`tree.QuantizedArray` and packed files hold such streams. All functions work inside jit. Packing
also takes numpy arrays and returns numpy arrays, without compiling anything.
"""

import functools
import operator
import types
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array | np.ndarray


def pack(codes: Array, bits: int) -> Array:
    """Packs uint8 `codes` below 2^bits, of any shape, to uint8 (ceil(codes.size x bits / 8),).

    The stream has the lowest bits first. Eight codes fill exactly `bits` bytes, so that each byte
    of such a group combines the same shifted codes.
    """
    groups = _in_groups(codes.reshape(-1), 8)
    columns = []
    for byte in range(bits):
        parts = [
            _shift(groups[:, code], code * bits - byte * 8)
            for code in range(byte * 8 // bits, -(-(byte + 1) * 8 // bits))
        ]
        columns.append(functools.reduce(operator.or_, parts))
    stacked = _library(codes).stack(columns, axis=1)
    return stacked.reshape(-1)[: packed_size(codes.size, bits)]


def unpack(buffer: Array, bits: int, count: int) -> jax.Array:
    """The `count` codes that `pack` wrote into `buffer`; uint8 (count,).

    Raises:
      ValueError: the buffer does not have the size of `count` codes.
    """
    _check_size(buffer, packed_size(count, bits), f"{count} codes of {bits} bits")
    if bits == 8:
        return cast(jax.Array, buffer)
    groups = _in_groups(buffer, bits)
    columns = []
    for code in range(8):
        parts = [
            _shift(groups[:, byte], byte * 8 - code * bits)
            for byte in range(code * bits // 8, -(-(code + 1) * bits // 8))
        ]
        columns.append(functools.reduce(operator.or_, parts) & (2**bits - 1))
    return jnp.stack(columns, axis=1).reshape(-1)[:count]


def packed_size(count: int, bits: int) -> int:
    """The number of bytes of `count` codes of `bits` bits."""
    return -(-count * bits // 8)


def pack_channels(codes: Array, bits: tuple[int, ...], axis: int) -> Array:
    """Packs `codes`, uint8, each of whose channels along `axis` has its own number of bits.

    Channels of 2 bits come first, as one stream of `pack` that starts at a byte, then channels of 3
    bits and so on. Channels of equal bits keep their order; each channel's codes are in C order.
    """
    library = _library(codes)
    rows = library.moveaxis(codes, axis, 0).reshape(len(bits), -1)
    return library.concatenate([pack(rows[chosen], width) for width, chosen in _by_width(bits)])


def unpack_channels(
    buffer: Array, bits: tuple[int, ...], shape: tuple[int, ...], axis: int
) -> jax.Array:
    """The codes of `shape` that `pack_channels` wrote into `buffer`.

    Raises:
      ValueError: the buffer does not have the size of these codes.
    """
    each = int(np.prod(shape)) // max(1, len(bits))
    _check_size(buffer, channels_size(bits, each), f"{len(bits)} channels of {each} codes")
    parts, start = [], 0
    for width, chosen in _by_width(bits):
        size = packed_size(len(chosen) * each, width)
        part = unpack(buffer[start : start + size], width, len(chosen) * each)
        parts.append(part.reshape(len(chosen), each))
        start += size
    order = np.concatenate([chosen for _, chosen in _by_width(bits)])
    rows = jnp.concatenate(parts)[np.argsort(order)]
    others = [size for place, size in enumerate(shape) if place != axis]
    return jnp.moveaxis(rows.reshape(len(bits), *others), 0, axis)


def channels_size(bits: tuple[int, ...], each: int) -> int:
    """The number of bytes of channels of `each` codes, packed by `pack_channels`."""
    return sum(packed_size(len(chosen) * each, width) for width, chosen in _by_width(bits))


def _by_width(bits: tuple[int, ...]) -> list[tuple[int, np.ndarray]]:
    widths = np.asarray(bits, int)
    return [(int(width), np.flatnonzero(widths == width)) for width in np.unique(widths)]


def _check_size(buffer: Array, size: int, what: str) -> None:
    if buffer.shape != (size,):
        raise ValueError(f"{what} take ({size},) bytes, not {buffer.shape}")


def _in_groups(values: Array, size: int) -> Array:
    """Reshapes (count,) to (groups, size), with zeros after the last value."""
    return _library(values).pad(values, (0, -values.size % size)).reshape(-1, size)


def _library(values: Array) -> types.ModuleType:
    """`numpy` for a numpy array, else `jax.numpy`."""
    return np if isinstance(values, np.ndarray) else jnp


def _shift(values: Array, left: int) -> Array:
    """Shifts uint8 values left, or right if `left` is negative; bits beyond the byte are lost."""
    return values << left if left >= 0 else values >> -left
