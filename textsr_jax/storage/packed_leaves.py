"""The arrays of a packed file: how the leaves of its trees become arrays, and come back.

All codes are in one array, and all offsets and scales in three more. An array for each leaf would
take 130 bytes in the header.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from textsr_jax.models.network import Variables
from textsr_jax.quantization import QuantizedArray, aciq, dequantize, groups, is_quantized
from textsr_jax.storage.packed_header import Damaged

PARTS = ("sr", "ocr")

_LEAF_FIELDS = {"shape", "dtype", "bits", "prior", "axis"}
_DTYPES = {"float32": np.dtype(np.float32), "bfloat16": np.dtype(jnp.bfloat16)}
_CODES, _OFFSETS, _SCALES, _CHANNEL_SCALES = "codes", "offsets", "scales", "channel_scales"
_MAX_DEPTH = 32


def arrays_of(trees: Mapping[str, Variables]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Returns the arrays of a packed file, and the records of its quantised leaves, by name.

    Args:
      trees: the variables of "sr" and "ocr"; leaves are `QuantizedArray` or float32 arrays.

    Raises:
      ValueError: a leaf is neither float32 nor quantised.
    """
    arrays: dict[str, np.ndarray] = {}
    leaves: dict[str, Any] = {}
    joined: dict[str, list[np.ndarray]] = {
        _CODES: [],
        _OFFSETS: [],
        _SCALES: [],
        _CHANNEL_SCALES: [],
    }
    for part in PARTS:
        for name, leaf in _named_leaves(trees[part], part):
            if is_quantized(leaf):
                joined[_CODES].append(np.asarray(leaf.codes))
                joined[_OFFSETS].append(np.ravel(leaf.offset))
                kind = _SCALES if leaf.axis is None else _CHANNEL_SCALES
                joined[kind].append(np.ravel(leaf.scale))
                leaves[name] = {
                    "shape": leaf.shape,
                    "dtype": leaf.dtype.name,
                    "bits": _written_bits(leaf.bits),
                    "prior": leaf.prior,
                    "axis": leaf.axis,
                }
                if leaf.group_size is not None:
                    leaves[name]["group_size"] = leaf.group_size
            elif leaf.dtype == np.float32:
                arrays[name] = np.asarray(leaf)
            else:
                raise ValueError(f"leaf {name!r} is {leaf.dtype}; those not quantised are float32")
    arrays |= {name: np.concatenate(some) for name, some in joined.items() if some}
    if _CHANNEL_SCALES in arrays:
        whole = arrays[_CHANNEL_SCALES].view(np.uint32)
        if not np.any(whole & 0xFFFF):
            arrays[_CHANNEL_SCALES] = (whole >> 16).astype(np.uint16)
    return arrays, leaves


def trees_of(
    leaves: Mapping[str, Mapping[str, Any]], arrays: dict[str, np.ndarray]
) -> dict[str, Variables]:
    """Returns the variables of "sr" and "ocr", as numpy arrays and `QuantizedArray` of them.

    Args:
      leaves: the records of the quantised leaves, by name.
      arrays: the arrays of the file; those that several leaves share are taken out.

    Raises:
      Damaged: leaves and arrays do not go together, or a value is impossible.
    """
    trees: dict[str, Variables] = {part: {"params": {}, "stats": {}} for part in PARTS}
    for name in (*leaves, *arrays):
        # Trees are walked by recursion, and messages are one line.
        if not name.isprintable() or name.count("/") > _MAX_DEPTH:
            raise Damaged(f"there is no place for {name[:80]!r}")
    joined = _Joined(arrays)
    for name, about in leaves.items():
        _insert(trees, name, _quantized(name, about, joined))
    joined.check_used()
    for name, array in arrays.items():
        if array.dtype != np.float32 or not np.isfinite(array).all():
            raise Damaged(f"{name}: not an array of finite float32")
        _insert(trees, name, array)
    return trees


class _Joined:
    """The codes, offsets and scales of all leaves, which are read in the order of the leaves.

    Args:
      arrays: the arrays of the file; codes, offsets and scales are taken out.

    Raises:
      Damaged: an array has another dtype or number of axes.
    """

    def __init__(self, arrays: dict[str, np.ndarray]):
        codes = arrays.pop(_CODES, np.zeros(0, np.uint8))
        if codes.dtype != np.uint8 or codes.ndim != 1:
            raise Damaged(f"{_CODES}: not a list of bytes")
        self._left = {_CODES: codes}
        for name in (_OFFSETS, _SCALES, _CHANNEL_SCALES):
            array = arrays.pop(name, np.zeros(0, np.float32))
            if name == _CHANNEL_SCALES and array.dtype == np.uint16:
                array = (array.astype(np.uint32) << 16).view(np.float32)
            if array.dtype != np.float32 or array.ndim != 1:
                raise Damaged(f"{name}: not a list of float32")
            self._left[name] = array

    def codes(self, count: int) -> np.ndarray:
        """Returns the next `count` bytes of codes."""
        return self._take(_CODES, count)

    def range(self, shape: tuple[int, ...], axis: int | None) -> tuple[np.ndarray, np.ndarray]:
        """Returns the offset and scale of the next leaf, of its ranges' `shape`."""
        count = math.prod(shape)
        scales = _SCALES if axis is None else _CHANNEL_SCALES
        return self._take(_OFFSETS, count).reshape(shape), self._take(scales, count).reshape(shape)

    def check_used(self) -> None:
        """Raises `Damaged` if something is left."""
        for name, left in self._left.items():
            if left.size:
                raise Damaged(f"{name}: {left.size} more than its leaves have")

    def _take(self, name: str, count: int) -> np.ndarray:
        if count > self._left[name].size:
            raise Damaged(f"{name}: fewer than its leaves have")
        taken, self._left[name] = np.split(self._left[name], [count])
        return taken


def _quantized(name: str, about: Mapping[str, Any], joined: _Joined) -> QuantizedArray:
    """Returns a checked leaf; checks its record before memory of its size is allocated."""

    def check(holds: bool, what: str) -> None:
        if not holds:
            raise Damaged(f"{name}: {what}")

    def is_index(value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**40

    # Leaves without groups have no such field.
    fields = about.keys() - {"group_size"}
    check(fields == _LEAF_FIELDS, "its record has other fields than it should")
    shape, dtype, bits, prior, axis = (
        about[field] for field in ("shape", "dtype", "bits", "prior", "axis")
    )
    group_size = about.get("group_size")
    check(
        isinstance(shape, list) and len(shape) <= 8 and all(map(is_index, shape)),
        f"its shape is {shape!r}",
    )
    check(isinstance(dtype, str) and dtype in _DTYPES, f"its dtype is {dtype!r}")
    check(isinstance(prior, str) and prior in aciq.RANGES, f"its prior is {prior!r}")
    check(axis is None or (is_index(axis) and axis < len(shape)), f"its axis is {axis!r}")
    widths = range(aciq.MIN_BITS, aciq.MAX_BITS + 1)
    if isinstance(bits, str):
        check(axis is not None and len(bits) == shape[axis], "bits and channels differ in number")
        check(bool(re.fullmatch("[2-8]+", bits)), "its bits are not all 2 to 8")
        bits = tuple(map(int, bits))
    else:
        check(is_index(bits) and bits in widths, f"its bits are {bits!r}")
    if group_size is None:
        ranges = () if axis is None else (shape[axis],)
    else:
        fits = is_index(group_size) and group_size > 0 and not isinstance(bits, tuple)
        check(fits and axis is not None and axis == len(shape) - 1 > 0, "its groups do not fit it")
        ranges = (groups.group_count(shape, group_size), shape[-1])
    offset, scale = joined.range(ranges, axis)
    leaf = QuantizedArray(
        codes=np.zeros(0, np.uint8),
        offset=offset,
        scale=scale,
        shape=tuple(shape),
        dtype=_DTYPES[dtype],
        bits=bits,
        prior=prior,
        axis=axis,
        group_size=group_size,
    )
    check(bool(np.isfinite(offset).all()), "its offsets are not finite")
    sound = np.isfinite(scale).all() and (scale >= 0).all()
    check(bool(sound), "its scales are not finite, or negative")
    leaf = replace(leaf, codes=joined.codes(leaf.packed_size))
    check(_is_finite(leaf), "its values are not finite")
    if axis is None and scale == 0:
        check(not leaf.codes.any(), "codes where its step is 0")
    return leaf


def _is_finite(leaf: QuantizedArray) -> bool:
    """Whether all values of a leaf are finite; computes them only if the largest might not be."""
    with np.errstate(over="ignore"):
        last = leaf.offset + np.float32(2) ** np.asarray(leaf.bits, np.float32) * leaf.scale
        if np.isfinite(last.astype(leaf.dtype)).all():
            return True
        return bool(jnp.isfinite(dequantize(leaf)).all())


def _written_bits(bits: int | tuple[int, ...]) -> int | str:
    return "".join(map(str, bits)) if isinstance(bits, tuple) else bits


def _named_leaves(tree: Variables, part: str) -> list[tuple[str, Any]]:
    """Returns names, such as `sr/params/edsr/head/kernel`, and leaves of a part."""
    leaves = jax.tree_util.tree_leaves_with_path(tree, is_leaf=is_quantized)
    return [
        (f"{part}/{jax.tree_util.keystr(keys, simple=True, separator='/')}", leaf)
        for keys, leaf in leaves
    ]


def _insert(trees: dict[str, Variables], name: str, leaf: np.ndarray | QuantizedArray) -> None:
    part, kind, *folders, last = name.split("/") if name.count("/") >= 2 else ("", "", "")
    if part not in trees or kind not in trees[part] or not all((*folders, last)):
        raise Damaged(f"there is no place for {name!r}")
    node = trees[part][kind]
    for folder in folders:
        node = node.setdefault(folder, {})
        if not isinstance(node, dict):
            raise Damaged(f"{name}: lies below another leaf")
    if last in node:
        raise Damaged(f"{name}: is there twice")
    node[last] = leaf
