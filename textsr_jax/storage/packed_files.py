"""Packed files: a quantised pair, and all that it takes to run it, in one safetensors file.

Codes of M bits take M bits each; the header holds a JSON record. No pickles, no code.
"""

import hashlib
import json
import pathlib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from safetensors import SafetensorError
from safetensors.numpy import load as deserialize
from safetensors.numpy import save as serialize

from textsr_jax import text
from textsr_jax.config import configuration
from textsr_jax.errors import UserError
from textsr_jax.quantization import (
    QuantizedArray,
    Rule,
    aciq,
    dequantize,
    is_quantized,
    summary,
)
from textsr_jax.storage import atomic, file_kinds

PARTS = ("sr", "ocr")

# Keys of the safetensors header's metadata; the first one is the magic.
_RECORD, _DIGEST = "textsr_jax_packed", "sha256"
_VERSION = 3
_NO_DIGEST = "0" * 64
_DIGEST_FIELD = re.compile(rb'"sha256":"([0-9a-f]{64})"')
_FIELDS = {"version", "config", "alphabet", "rules", "fine_tuned", "provenance", "leaves"}
_LEAF_FIELDS = {"shape", "dtype", "bits", "prior", "axis"}
_DTYPES = {"float32": np.dtype(np.float32), "bfloat16": np.dtype(jnp.bfloat16)}
_CODES, _OFFSETS, _SCALES, _CHANNEL_SCALES = "codes", "offsets", "scales", "channel_scales"
_MAX_DEPTH = 32


@dataclass(frozen=True, repr=False)
class PackedModels:
    """What a packed file holds.

    Attributes:
      config: the experiment as nested dicts, without places and settings of the machine that made
        it. Its `quantization` asks for `rules`.
      rules: by which each part, "sr" and "ocr", was quantised. The prior that "auto" chose and the
        bits are those of each leaf; `repr` counts them.
      fine_tuned: whether the recogniser was fine-tuned on SR images.
      provenance: where it comes from: commit, data set, scores; JSON-able.
      sr, ocr: {"params": nested dicts, "stats": nested dicts}; leaves are `QuantizedArray` or
        float32 arrays.
    """

    config: dict[str, Any]
    rules: dict[str, tuple[Rule, ...]]
    fine_tuned: bool
    provenance: dict[str, Any]
    sr: Any
    ocr: Any

    def __repr__(self) -> str:
        networks = (self.config.get(part, {}).get("name") for part in PARTS)
        return f"PackedModels({' + '.join(map(str, networks))}, {summary((self.sr, self.ocr))})"

    def experiment(self, place: str | pathlib.Path) -> ConfigDict:
        """The config as this machine uses it; raises `UserError` as `configuration.from_packed`."""
        leaves = len(jax.tree.leaves((self.sr, self.ocr)))
        return configuration.from_packed(self.config, leaves, str(place))


def save(path: str | pathlib.Path, pair: PackedModels) -> int:
    """Writes a packed file, whole or not at all; returns its size in bytes.

    Raises:
      UserError: the folder is missing, cannot be written in, or its disk is full; or an array has
        values that are not finite.
      ValueError: a leaf that is neither float32 nor quantised.
    """
    content = to_bytes(pair)
    atomic.write_bytes(path, content)
    return len(content)


def to_bytes(pair: PackedModels) -> bytes:
    """The content of a packed file.

    The record's `leaves` name each quantised leaf, such as `sr/params/.../kernel`, its shape,
    dtype, bits (one digit, or one for each channel), prior and axis. In their order, the array
    `codes` holds all their `QuantizedArray.codes`, uint8; `offsets` their offsets, float32;
    `scales` the scale of each without an axis, float32; `channel_scales` those of the others,
    float32, or the upper halves as uint16 where all are bfloat16 numbers. (An array for each leaf
    would have an entry of 130 bytes in the header.) Leaves that are not quantised are arrays of
    their own name. The digest is SHA-256 of the whole file with 64 zeros in its own place. A pair
    always gives the same bytes.

    Raises:
      UserError: an array has values that are not finite.
      ValueError: a leaf that is neither float32 nor quantised.
    """
    arrays, metadata = _contents(pair)
    for name, array in arrays.items():
        if array.dtype == np.float32 and not np.isfinite(array).all():
            raise UserError(
                f"{name}: not all values are finite; take a checkpoint from before they grew"
            )
    # ascontiguousarray alone would give a scalar an axis.
    arrays = {name: np.ascontiguousarray(a).reshape(a.shape) for name, a in arrays.items()}
    content = bytearray(_with_metadata(serialize(arrays), metadata))
    _, start = _digest_field(content)
    content[start : start + 64] = _digest(content, start).encode()
    return bytes(content)


def size(pair: PackedModels) -> int:
    """The length of `to_bytes(pair)`, from shapes and dtypes alone; nothing is copied."""
    arrays, metadata = _contents(pair)
    header: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    # The order in which safetensors lays arrays out.
    for name in sorted(arrays, key=lambda name: (-arrays[name].itemsize, name)):
        array = arrays[name]
        start, end = end, end + array.size * array.itemsize
        kind = {"float32": "F32", "uint16": "U16", "uint8": "U8"}[array.dtype.name]
        header[name] = {"dtype": kind, "shape": array.shape, "data_offsets": [start, end]}
    about = json.dumps(header, separators=(",", ":")).encode()
    return 8 + -(-len(about) // 8) * 8 + end


def _contents(pair: PackedModels) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays of a packed file by name, and its metadata with the digest left open."""
    arrays: dict[str, np.ndarray] = {}
    leaves: dict[str, Any] = {}
    joined: dict[str, list[np.ndarray]] = {
        _CODES: [],
        _OFFSETS: [],
        _SCALES: [],
        _CHANNEL_SCALES: [],
    }
    for part in PARTS:
        for name, leaf in _named_leaves(getattr(pair, part), part):
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
            elif leaf.dtype == np.float32:
                arrays[name] = np.asarray(leaf)
            else:
                raise ValueError(f"leaf {name!r} is {leaf.dtype}; those not quantised are float32")
    arrays |= {name: np.concatenate(some) for name, some in joined.items() if some}
    if _CHANNEL_SCALES in arrays:
        whole = arrays[_CHANNEL_SCALES].view(np.uint32)
        if not np.any(whole & 0xFFFF):
            arrays[_CHANNEL_SCALES] = (whole >> 16).astype(np.uint16)
    record = {
        "version": _VERSION,
        "config": pair.config,
        "alphabet": text.ALPHABET,
        "rules": {part: [asdict(rule) for rule in pair.rules[part]] for part in PARTS},
        "fine_tuned": pair.fine_tuned,
        "provenance": pair.provenance,
        "leaves": leaves,
    }
    about = json.dumps(record, separators=(",", ":"), allow_nan=False)
    return arrays, {_RECORD: about, _DIGEST: _NO_DIGEST}


def load(path: str | pathlib.Path) -> PackedModels:
    """Reads a packed file and validates all of it; nothing in it is ever run.

    Raises:
      UserError: it is missing, damaged or cut off, of another version, or no packed file.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        what = "is a folder, not a packed file" if path.is_dir() else "no such file"
        raise UserError(f"{path}: {what}; name one that quantize.py --out wrote")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{path}: cannot read it ({error.strerror}); see to its permissions"
        ) from error
    try:
        return _parse(content)
    except _Damaged as error:
        raise UserError(
            f"{path}: a damaged packed file ({error}); copy it again or quantise again"
        ) from error
    except _Foreign as error:
        raise UserError(f"{path}: {error}") from error


def is_packed_file(path: str | pathlib.Path) -> bool:
    """Whether `path` is a file whose header begins as a packed file's; it may yet be damaged."""
    path = pathlib.Path(path)
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return _looks_packed(stream.read(4096))


class _Damaged(Exception):
    """What is wrong in a packed file."""


class _Foreign(Exception):
    """What a file is that is none, and the mend."""


def _looks_packed(start: bytes) -> bool:
    return f'"{_RECORD}"'.encode() in start or f'"{_DIGEST}":"'.encode() in start


def _parse(content: bytes) -> PackedModels:
    try:
        header = _header(content)
    except _Damaged:
        if not _looks_packed(content[:4096]):
            kind = file_kinds.foreign(content[: file_kinds.LOOKED_AT])
            raise _Foreign(
                f"{f'{kind}; ' if kind else ''}not a packed file, or a damaged one; name one that "
                "quantize.py --out wrote"
            ) from None
        raise
    metadata = header.get("__metadata__")
    if not isinstance(metadata, dict) or _RECORD not in metadata:
        if _looks_packed(content[:4096]):
            raise _Damaged("its header cannot be read")
        raise _Foreign(
            "a safetensors file, but not a packed pair; models of one network are named in "
            "config.init, published ones are converted first (python -m textsr_jax.convert)"
        )
    written, start = _digest_field(content)
    if _digest(content, start) != written:
        raise _Damaged("it is not what was written")
    record = _record(metadata[_RECORD])
    try:
        arrays = deserialize(content)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise _Damaged(f"its arrays cannot be read: {error}") from error
    trees: dict[str, Any] = {part: {"params": {}, "stats": {}} for part in PARTS}
    for name in (*record["leaves"], *arrays):
        # Trees are walked by recursion, and messages are one line.
        if not name.isprintable() or name.count("/") > _MAX_DEPTH:
            raise _Damaged(f"there is no place for {name[:80]!r}")
    joined = _Joined(arrays)
    for name, about in record["leaves"].items():
        _insert(trees, name, _quantized(name, about, joined))
    joined.check_used()
    for name, array in arrays.items():
        if array.dtype != np.float32 or not np.isfinite(array).all():
            raise _Damaged(f"{name}: not an array of finite float32")
        _insert(trees, name, array)
    return PackedModels(
        config=record["config"],
        rules=record["rules"],
        fine_tuned=record["fine_tuned"],
        provenance=record["provenance"],
        # At once: arrays are many.
        **jax.device_put(trees),
    )


def _with_metadata(content: bytes, metadata: dict[str, str]) -> bytes:
    """A safetensors file with `metadata`, which the library would write in any order."""
    length = int.from_bytes(content[:8], "little")
    header = {"__metadata__": metadata, **json.loads(content[8 : 8 + length])}
    written = json.dumps(header, separators=(",", ":")).encode()
    # Arrays start at multiples of 8 bytes.
    written += b" " * (-len(written) % 8)
    return len(written).to_bytes(8, "little") + written + content[8 + length :]


def _header(content: bytes) -> dict[str, Any]:
    """The JSON header of a safetensors file: a length of 8 bytes, then as many bytes."""
    length = int.from_bytes(content[:8], "little")
    if len(content) < 10 or not 2 <= length <= len(content) - 8:
        raise _Damaged("it is cut off, or its header's length is wrong")
    header = _json(content[8 : 8 + length])
    if not isinstance(header, dict):
        raise _Damaged("its header cannot be read")
    return header


def _json(content: bytes | str) -> Any:
    def refuse(name: str) -> None:
        raise ValueError(f"{name} is no JSON")

    try:
        return json.loads(content, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise _Damaged(f"its header cannot be read: {error}") from error


def _digest_field(content: bytes | bytearray) -> tuple[str, int]:
    """The digest in a file's header, and where its 64 digits start."""
    length = int.from_bytes(content[:8], "little")
    # Quotes inside the record are escaped there, so that it cannot hold another such field.
    found = list(_DIGEST_FIELD.finditer(content, 8, 8 + length))
    if len(found) != 1:
        raise _Damaged("its digest is missing")
    return found[0][1].decode(), found[0].start(1)


def _digest(content: bytes | bytearray, start: int) -> str:
    view = memoryview(content)
    digest = hashlib.sha256(view[:start])
    digest.update(_NO_DIGEST.encode())
    digest.update(view[start + 64 :])
    return digest.hexdigest()


def _record(written: Any) -> dict[str, Any]:
    record = _json(written) if isinstance(written, str) else None
    if not isinstance(record, dict):
        raise _Damaged("its record cannot be read")
    if record.get("version") != _VERSION:
        raise _Foreign(
            f"a packed file of version {record.get('version')!r}, and this program reads version "
            f"{_VERSION}; update the older of the two"
        )
    if record.keys() != _FIELDS:
        raise _Damaged("its record has other fields than it should")
    if record["alphabet"] != text.ALPHABET:
        raise _Foreign(
            f"its alphabet is {record['alphabet']!r}, and this program reads {text.ALPHABET!r}; "
            "use the program that wrote it"
        )
    rules = record["rules"]
    sound = (
        all(isinstance(record[name], dict) for name in ("config", "rules", "provenance", "leaves"))
        and isinstance(record["fine_tuned"], bool)
        and rules.keys() == set(PARTS)
        and all(isinstance(listed, list) for listed in rules.values())
        and all(isinstance(about, dict) for about in record["leaves"].values())
    )
    if not sound:
        raise _Damaged("its record has values of a wrong kind")
    try:
        record["rules"] = {
            part: tuple(Rule(**rule) for rule in listed) for part, listed in rules.items()
        }
    except (TypeError, UserError) as error:
        raise _Damaged(f"its rules cannot be read: {error}") from error
    return record


class _Joined:
    """The codes, offsets and scales of a file's leaves, taken in the order of the leaves."""

    def __init__(self, arrays: dict[str, np.ndarray]):
        """Takes them out of `arrays`; raises `_Damaged` if one is of another kind."""
        codes = arrays.pop(_CODES, np.zeros(0, np.uint8))
        if codes.dtype != np.uint8 or codes.ndim != 1:
            raise _Damaged(f"{_CODES}: not a list of bytes")
        self._left = {_CODES: codes}
        for name in (_OFFSETS, _SCALES, _CHANNEL_SCALES):
            array = arrays.pop(name, np.zeros(0, np.float32))
            if name == _CHANNEL_SCALES and array.dtype == np.uint16:
                array = (array.astype(np.uint32) << 16).view(np.float32)
            if array.dtype != np.float32 or array.ndim != 1:
                raise _Damaged(f"{name}: not a list of float32")
            self._left[name] = array

    def codes(self, count: int) -> np.ndarray:
        """The next `count` bytes of codes."""
        return self._take(_CODES, count)

    def range(self, shape: tuple[int, ...], axis: int | None) -> tuple[np.ndarray, np.ndarray]:
        """The offset and scale of the next leaf, () or (shape[axis],)."""
        if axis is None:
            return self._take(_OFFSETS, 1).reshape(()), self._take(_SCALES, 1).reshape(())
        return self._take(_OFFSETS, shape[axis]), self._take(_CHANNEL_SCALES, shape[axis])

    def check_used(self) -> None:
        """Raises `_Damaged` if something is left."""
        for name, left in self._left.items():
            if left.size:
                raise _Damaged(f"{name}: {left.size} more than its leaves have")

    def _take(self, name: str, count: int) -> np.ndarray:
        if count > self._left[name].size:
            raise _Damaged(f"{name}: fewer than its leaves have")
        taken, self._left[name] = np.split(self._left[name], [count])
        return taken


def _quantized(name: str, about: Mapping[str, Any], joined: _Joined) -> QuantizedArray:
    """A leaf whose invariants all hold; checked before anything of its size is allocated."""

    def check(holds: bool, what: str) -> None:
        if not holds:
            raise _Damaged(f"{name}: {what}")

    def is_index(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**40

    check(about.keys() == _LEAF_FIELDS, "its record has other fields than it should")
    shape, dtype, bits, prior, axis = (
        about[field] for field in ("shape", "dtype", "bits", "prior", "axis")
    )
    check(
        isinstance(shape, list) and len(shape) <= 8 and all(map(is_index, shape)),
        f"its shape is {shape!r}",
    )
    check(isinstance(dtype, str) and dtype in _DTYPES, f"its dtype is {dtype!r}")
    check(isinstance(prior, str) and prior in aciq.PRIORS, f"its prior is {prior!r}")
    check(axis is None or (is_index(axis) and axis < len(shape)), f"its axis is {axis!r}")
    widths = range(aciq.MIN_BITS, aciq.MAX_BITS + 1)
    if isinstance(bits, str):
        check(axis is not None and len(bits) == shape[axis], "bits and channels differ in number")
        check(bool(re.fullmatch("[2-8]+", bits)), "its bits are not all 2 to 8")
        bits = tuple(map(int, bits))
    else:
        check(is_index(bits) and bits in widths, f"its bits are {bits!r}")
    offset, scale = joined.range(tuple(shape), axis)
    leaf = QuantizedArray(
        codes=np.zeros(0, np.uint8),
        offset=offset,
        scale=scale,
        shape=tuple(shape),
        dtype=_DTYPES[dtype],
        bits=bits,
        prior=prior,
        axis=axis,
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
    """Whether no value of a leaf overflows; only those that might are looked at."""
    with np.errstate(over="ignore"):
        last = leaf.offset + np.float32(2) ** np.asarray(leaf.bits, np.float32) * leaf.scale
        if np.isfinite(last.astype(leaf.dtype)).all():
            return True
        return bool(jnp.isfinite(dequantize(leaf)).all())


def _written_bits(bits: int | tuple[int, ...]) -> int | str:
    return "".join(map(str, bits)) if isinstance(bits, tuple) else bits


def _named_leaves(tree: Any, part: str) -> list[tuple[str, Any]]:
    """The leaves of a part and their names, such as `sr/params/edsr/head/kernel`."""
    leaves = jax.tree_util.tree_leaves_with_path(tree, is_leaf=is_quantized)
    return [
        (f"{part}/{jax.tree_util.keystr(keys, simple=True, separator='/')}", leaf)
        for keys, leaf in leaves
    ]


def _insert(trees: dict[str, Any], name: str, leaf: Any) -> None:
    part, kind, *folders, last = name.split("/") if name.count("/") >= 2 else ("", "", "")
    if part not in trees or kind not in trees[part] or not all((*folders, last)):
        raise _Damaged(f"there is no place for {name!r}")
    node = trees[part][kind]
    for folder in folders:
        node = node.setdefault(folder, {})
        if not isinstance(node, dict):
            raise _Damaged(f"{name}: lies below another leaf")
    if last in node:
        raise _Damaged(f"{name}: is there twice")
    node[last] = leaf
