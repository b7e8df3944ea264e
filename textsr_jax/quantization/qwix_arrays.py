"""Packed trees as trees of Qwix's `QArray`, and back: `to_qwix(tree)`, `from_qwix(tree)`.

A `QArray` is (qvalue - zero_point) x scale with whole zero points of qvalue's own type.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from textsr_jax.errors import UserError, needs
from textsr_jax.quantization import packing
from textsr_jax.quantization.tree import (
    DTYPES,
    QuantizedArray,
    Tree,
    is_quantized,
    leaf_path,
    unpacked_codes,
)

# Qwix's quantised array. The package is optional and has no types.
QArray = Any


def to_qwix(tree: Tree) -> Tree:
    """Turns every `QuantizedArray` into a `QArray`; other leaves stay the same.

    Codes c of M bits become qvalue = c - 2^(M - 1): int4 for 2 to 4 bits, else int8, with the
    logical type `intM`. Zero points are whole, so a range fits only where 0 is a whole number of
    steps from its first code. Ranges of `from_qwix` and of `gguf_files` fit; ACIQ's do not.

    Codes and steps are exact, and `from_qwix` gives these and the offsets again, bit for bit.
    Values are the same too where the product of a scale and a code is exact (scales that are
    bfloat16 or float16 numbers). Else the two libraries differ by a rounding of float32.

    Raises:
      UserError: Qwix is not installed; or a `QArray` cannot hold a leaf, which the message names.
    """
    with needs("qwix"):
        import qwix

    def convert(keys: Any, leaf: Any) -> Any:
        if not is_quantized(leaf):
            return leaf
        path = leaf_path(keys)
        qvalue, scale, zero_point, qtype = _parts(leaf, path)
        return qwix.QArray(qvalue, scale, zero_point, qtype)

    return jax.tree_util.tree_map_with_path(convert, tree, is_leaf=is_quantized)


def from_qwix(tree: Tree) -> Tree:
    """Turns every `QArray` into a `QuantizedArray`; other leaves stay the same.

    It takes whole numbers of 2 to 8 bits, signed or not, with or without zero points. Scales are
    those of the tensor, of one axis, or of consecutive rows of each output channel (Qwix's tiles of
    the axis before the last). See `to_qwix` for what is exact.

    Raises:
      UserError: Qwix is not installed; or a `QuantizedArray` cannot hold a leaf, such as one of
        float8 numbers. The message names the leaf.
    """
    with needs("qwix"):
        import qwix

    def is_qarray(leaf: Any) -> bool:
        return isinstance(leaf, qwix.QArray)

    def convert(keys: Any, leaf: Any) -> Any:
        return _packed(leaf, leaf_path(keys)) if is_qarray(leaf) else leaf

    return jax.tree_util.tree_map_with_path(convert, tree, is_leaf=is_qarray)


def _parts(leaf: QuantizedArray, path: str) -> tuple[jax.Array, jax.Array, jax.Array | None, Any]:
    """The four attributes of a leaf's `QArray`."""

    def refuse(what: str) -> UserError:
        return UserError(f"{path}: {what}; quantise the float tensor with qwix.quantize instead")

    if isinstance(leaf.bits, tuple):
        raise refuse("a QArray has one number of bits, and its channels have several")
    tiles = _tiles(leaf)
    if tiles is None:
        raise refuse(f"groups of {leaf.group_size} rows are no tiles of its shape {leaf.shape}")
    offset, scale = (
        np.asarray(each, np.float32).reshape(tiles) for each in (leaf.offset, leaf.scale)
    )
    if (scale.astype(leaf.dtype).astype(np.float32) != scale).any():
        raise refuse(f"its steps are no {leaf.dtype.name} numbers, as a QArray's scales are")
    # How many steps the value 0 lies above the first code.
    zero = np.rint(-offset / np.where(scale > 0, scale, 1))
    if (-zero.astype(np.float32) * scale != offset).any():
        raise refuse("0 is no whole number of steps from its first code, as a QArray has it")
    half = 2 ** (leaf.bits - 1)
    dtype = np.dtype(jnp.int4 if leaf.bits <= 4 else jnp.int8)
    zero -= half * (scale > 0)
    least, most = int(jnp.iinfo(dtype).min), int(jnp.iinfo(dtype).max)
    if zero.min(initial=0) < least or zero.max(initial=0) > most:
        raise refuse(f"0 lies outside of the zero points of {dtype.name}, {least} to {most}")
    qvalue = np.asarray(jax.jit(unpacked_codes)(leaf)).astype(np.int16) - half
    # All codes of a range without steps are 0, and so is its value.
    qvalue = np.where(_spread(scale, leaf.shape) > 0, qvalue, 0)
    qtype: Any = dtype if leaf.bits in (4, 8) else f"int{leaf.bits}"
    zero_point = jnp.asarray(zero.astype(np.int8), dtype) if zero.any() else None
    made = jnp.asarray(qvalue.astype(np.int8), dtype)
    return made, jnp.asarray(scale, leaf.dtype), zero_point, qtype


def _packed(array: QArray, path: str) -> QuantizedArray:
    def refuse(what: str) -> UserError:
        return UserError(f"{path}: {what}; take a QArray of int2 to int8 with float scales")

    shape, tiles = array.qvalue.shape, array.scale.shape
    bits, first = _codes_of(array.qtype)
    if not bits or array.scale.dtype not in DTYPES:
        raise refuse(f"{_name(array.qtype)} with {array.scale.dtype} scales cannot be packed")
    layout = _layout(shape, tiles)
    if layout is None:
        raise refuse(f"scales {tiles} of a tensor {shape} are no groups of consecutive rows")
    scale = np.asarray(array.scale, np.float32)
    zero = np.zeros(tiles, np.float32)
    if array.zero_point is not None:
        if array.zero_point.shape != tiles:
            raise refuse(f"zero points {array.zero_point.shape} and scales {tiles} differ")
        zero = np.asarray(array.zero_point).astype(np.float32)
    if not np.isfinite(scale).all() or (scale < 0).any():
        raise refuse("scales must be finite and not negative")
    codes = np.asarray(array.qvalue).astype(np.int16) - first
    if codes.min(initial=0) < 0 or codes.max(initial=0) >= 2**bits:
        raise refuse(f"values outside of {_name(array.qtype)}")
    codes = np.where(_spread(scale, shape) > 0, codes, 0).astype(np.uint8)
    axis, group_size = layout
    if group_size is not None:
        ranges: tuple[int, ...] = (-1, shape[-1])
    else:
        ranges = () if axis is None else (shape[axis],)
    # An offset of -0 becomes 0.
    offset = (first - zero) * scale + np.float32(0)
    return QuantizedArray(
        jnp.asarray(packing.pack(codes, bits)),
        jnp.asarray(offset.reshape(ranges)),
        jnp.asarray(scale.reshape(ranges)),
        tuple(shape),
        np.dtype(array.scale.dtype),
        bits,
        "minmax",
        axis,
        group_size,
    )


def _codes_of(qtype: Any) -> tuple[int, int]:
    """The number of bits of a logical type and its least value; 0 bits for one without codes."""
    name = _name(qtype)
    for bits in range(2, 9):
        if name == f"int{bits}":
            return bits, -(2 ** (bits - 1))
        if name == f"uint{bits}":
            return bits, 0
    return 0, 0


def _name(qtype: Any) -> str:
    return qtype if isinstance(qtype, str) else np.dtype(qtype).name


def _tiles(leaf: QuantizedArray) -> tuple[int, ...] | None:
    """The shape of a leaf's scales in a `QArray`; None if its groups cut across an axis."""
    rank = len(leaf.shape)
    if leaf.group_size is None:
        return tuple(leaf.shape[each] if each == leaf.axis else 1 for each in range(rank))
    rows, left = [*leaf.shape[:-1]], leaf.group_size
    if left >= math.prod(rows):
        return (*(1 for _ in rows), leaf.shape[-1])
    for place in reversed(range(rank - 1)):
        inside = min(left, rows[place])
        if left % inside or rows[place] % inside:
            return None
        rows[place], left = rows[place] // inside, left // inside
    return (*rows, leaf.shape[-1])


def _layout(shape: tuple[int, ...], tiles: tuple[int, ...]) -> tuple[int | None, int | None] | None:
    """The axis and the group size of scales of shape `tiles`; None if they are no groups."""
    wide = [place for place, count in enumerate(tiles) if count > 1]
    if not wide:
        # An axis of one channel has the range of the tensor.
        return None, None
    if len(wide) == 1 and tiles[wide[0]] == shape[wide[0]]:
        return wide[0], None
    if tiles[-1] != shape[-1]:
        return None
    group_size, whole = 1, True
    for size, count in zip(reversed(shape[:-1]), reversed(tiles[:-1]), strict=True):
        # Axes that a group covers come last, then at most one that it divides.
        if not whole and count != size:
            return None
        group_size *= size // count
        whole = whole and count == 1
    return len(shape) - 1, group_size


def _spread(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Values of tiles, one for each element of a tensor of `shape`."""
    for axis, (size, count) in enumerate(zip(shape, values.shape, strict=True)):
        values = np.repeat(values, size // max(1, count), axis)
    return values
