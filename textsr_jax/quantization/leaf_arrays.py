"""How quantised leaves become the arrays of a file, and come back checked.

All codes are in one array, and all offsets and scales in three more. An array for each leaf would
take 130 bytes in the header.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np

from textsr_jax.quantization import aciq, groups
from textsr_jax.quantization.sealed_files import Damaged
from textsr_jax.quantization.tree import DTYPES, QuantizedArray, dequantize

_FIELDS = {"shape", "dtype", "bits", "prior", "axis"}
_DTYPES = {dtype.name: dtype for dtype in DTYPES}
_CODES, _OFFSETS, _SCALES, _CHANNEL_SCALES = "codes", "offsets", "scales", "channel_scales"


def to_arrays(
    leaves: Iterable[QuantizedArray],
) -> tuple[dict[str, np.ndarray], list[dict[str, Any]]]:
    """The arrays that hold the values of leaves, and a JSON-able record of each.

    A record has a leaf's shape, dtype, bits (a number, or a text of a digit for each channel),
    prior and axis, and its group_size if it has groups. The arrays hold the values of all leaves,
    in their order; one without values is left out.

    - `codes`, uint8: their `QuantizedArray.codes`;
    - `offsets`, float32: their offsets;
    - `scales`, float32: the scale of each leaf without an axis;
    - `channel_scales`: the scales of the other leaves, as float32. Where all are bfloat16 numbers,
      their upper halves as uint16.
    """
    records = []
    joined: dict[str, list[np.ndarray]] = {
        _CODES: [],
        _OFFSETS: [],
        _SCALES: [],
        _CHANNEL_SCALES: [],
    }
    for leaf in leaves:
        joined[_CODES].append(np.asarray(leaf.codes))
        joined[_OFFSETS].append(np.ravel(leaf.offset))
        joined[_SCALES if leaf.axis is None else _CHANNEL_SCALES].append(np.ravel(leaf.scale))
        bits = leaf.bits
        record = {
            "shape": leaf.shape,
            "dtype": leaf.dtype.name,
            "bits": "".join(map(str, bits)) if isinstance(bits, tuple) else bits,
            "prior": leaf.prior,
            "axis": leaf.axis,
        }
        if leaf.group_size is not None:
            record["group_size"] = leaf.group_size
        records.append(record)
    arrays = {name: np.concatenate(some) for name, some in joined.items() if some}
    if _CHANNEL_SCALES in arrays:
        whole = arrays[_CHANNEL_SCALES].view(np.uint32)
        if not np.any(whole & 0xFFFF):
            arrays[_CHANNEL_SCALES] = (whole >> 16).astype(np.uint16)
    return arrays, records


class LeafReader:
    """Reads leaves, in their order, from the arrays of `to_arrays`.

    Args:
      arrays: the arrays of a file; those that leaves share are taken out.

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

    def next(self, name: str, about: Mapping[str, Any]) -> QuantizedArray:
        """The next leaf, with numpy arrays; its record is checked before memory is allocated.

        Args:
          name: what errors call it.
          about: its record.

        Raises:
          Damaged: record and arrays do not go together, or a value is impossible.
        """

        def check(holds: bool, what: str) -> None:
            if not holds:
                raise Damaged(f"{name}: {what}")

        # Leaves without groups have no such field.
        fields = about.keys() - {"group_size"}
        check(fields == _FIELDS, "its record has other fields than it should")
        shape, dtype, bits, prior, axis = (
            about[field] for field in ("shape", "dtype", "bits", "prior", "axis")
        )
        group_size = about.get("group_size")
        check(
            isinstance(shape, list) and len(shape) <= 8 and all(map(_is_index, shape)),
            f"its shape is {shape!r}",
        )
        check(isinstance(dtype, str) and dtype in _DTYPES, f"its dtype is {dtype!r}")
        check(isinstance(prior, str) and prior in aciq.RANGES, f"its prior is {prior!r}")
        check(axis is None or (_is_index(axis) and axis < len(shape)), f"its axis is {axis!r}")
        widths = range(aciq.MIN_BITS, aciq.MAX_BITS + 1)
        if isinstance(bits, str):
            check(
                axis is not None and len(bits) == shape[axis], "bits and channels differ in number"
            )
            check(bool(re.fullmatch("[2-8]+", bits)), "its bits are not all 2 to 8")
            bits = tuple(map(int, bits))
        else:
            check(_is_index(bits) and bits in widths, f"its bits are {bits!r}")
        ranges: tuple[int, ...]
        if group_size is None:
            ranges = () if axis is None else (shape[axis],)
        else:
            fits = _is_index(group_size) and group_size > 0 and not isinstance(bits, tuple)
            last = axis is not None and axis == len(shape) - 1 > 0
            check(fits and last, "its groups do not fit it")
            ranges = (groups.group_count(shape, group_size), shape[-1])
        offset = self._take(_OFFSETS, ranges)
        scale = self._take(_SCALES if axis is None else _CHANNEL_SCALES, ranges)
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
        leaf = replace(leaf, codes=self._take(_CODES, (leaf.packed_size,)))
        check(_is_finite(leaf), "its values are not finite")
        if axis is None and scale == 0:
            check(not leaf.codes.any(), "codes where its step is 0")
        return leaf

    def check_used(self) -> None:
        """Raises `Damaged` if something is left."""
        for name, left in self._left.items():
            if left.size:
                raise Damaged(f"{name}: {left.size} more than its leaves have")

    def _take(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        count = math.prod(shape)
        if count > self._left[name].size:
            raise Damaged(f"{name}: fewer than its leaves have")
        taken, self._left[name] = np.split(self._left[name], [count])
        return taken.reshape(shape)


def _is_index(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**40


def _is_finite(leaf: QuantizedArray) -> bool:
    """Whether all values of a leaf are finite; computes them only if the largest might not be."""
    with np.errstate(over="ignore"):
        last = leaf.offset + np.float32(2) ** np.asarray(leaf.bits, np.float32) * leaf.scale
        if np.isfinite(last.astype(leaf.dtype)).all():
            return True
        return bool(jnp.isfinite(dequantize(leaf)).all())
