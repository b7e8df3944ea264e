"""The container of packed files: a safetensors file with a JSON record and a digest in its header.

The digest is SHA-256 of the whole file, with 64 zeros in the place of the digest. It needs numpy
alone; the safetensors library reads the arrays too.
"""

import hashlib
import json
import math
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np

from textsr_jax.errors import UserError

_DIGEST = "sha256"
_NO_DIGEST = "0" * 64
_DIGEST_FIELD = re.compile(rb'"sha256":"([0-9a-f]{64})"')
# The names of safetensors.
_KINDS = {
    "BOOL": np.dtype(np.bool_),
    "U8": np.dtype(np.uint8),
    "I8": np.dtype(np.int8),
    "U16": np.dtype(np.uint16),
    "I16": np.dtype(np.int16),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "U32": np.dtype(np.uint32),
    "I32": np.dtype(np.int32),
    "F32": np.dtype(np.float32),
    "C64": np.dtype(np.complex64),
    "U64": np.dtype(np.uint64),
    "I64": np.dtype(np.int64),
    "F64": np.dtype(np.float64),
}
_NAMES = {dtype: name for name, dtype in _KINDS.items()}


class Damaged(Exception):
    """A file is damaged. The message says how."""


class Foreign(Exception):
    """A file is another one than asked for. The message says what it is and what to do.

    Attributes:
      safetensors: whether it is a safetensors file all the same.
    """

    def __init__(self, message: str, *, safetensors: bool = False):
        super().__init__(message)
        self.safetensors = safetensors


def holds(dtype: np.dtype) -> bool:
    """Whether a file can hold arrays of a dtype."""
    return dtype in _NAMES


def to_bytes(arrays: Mapping[str, np.ndarray], record: str, mark: str) -> bytes:
    """The content of a file with these arrays and this JSON record.

    Args:
      arrays: arrays of dtypes that `holds` accepts.
      record: JSON.
      mark: the key of the record in the header. It tells what kind of file it is.
    """
    content = bytearray(_header_bytes(arrays, record, mark))
    for name in _order(arrays):
        content += np.ascontiguousarray(arrays[name]).tobytes()
    _, start = _digest_field(content)
    content[start : start + 64] = _digest(content, start).encode()
    return bytes(content)


def size(arrays: Mapping[str, np.ndarray], record: str, mark: str) -> int:
    """The length of `to_bytes(arrays, record, mark)`, from shapes and dtypes alone."""
    taken = sum(array.size * array.itemsize for array in arrays.values())
    return len(_header_bytes(arrays, record, mark)) + taken


def read_content(path: pathlib.Path, kind: str, maker: str) -> bytes:
    """The bytes of a file.

    Args:
      path: the file.
      kind: what it should be, such as "a packed file".
      maker: what writes such files.

    Raises:
      UserError: the file is missing, a folder, or cannot be read.
    """
    if not path.is_file():
        what = f"is a folder, not {kind}" if path.is_dir() else "no such file"
        raise UserError(f"{path}: {what}; name one that {maker} wrote")
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{path}: cannot read it ({error.strerror}); see to its permissions"
        ) from error


def read_record(content: bytes, mark: str) -> object:
    """The record of a file whose digest is right, read from JSON.

    Raises:
      Damaged: the content is not what was written.
      Foreign: the content is not that of a file with this mark.
    """
    try:
        header = _header(content)
    except Damaged as error:
        if not looks_like(content[:4096], mark):
            raise Foreign(str(error)) from None
        raise
    metadata = header.get("__metadata__")
    if not isinstance(metadata, dict) or mark not in metadata:
        if looks_like(content[:4096], mark):
            raise Damaged("its header cannot be read")
        raise Foreign("a safetensors file of another kind", safetensors=True)
    written, start = _digest_field(content)
    if _digest(content, start) != written:
        raise Damaged("it is not what was written")
    record = metadata[mark]
    return _json(record) if isinstance(record, str) else None


def read_arrays(content: bytes) -> dict[str, np.ndarray]:
    """The arrays of a file by name; they share the memory of `content`.

    Raises:
      Damaged: they cannot be read, or do not fill the file.
    """
    header = _header(content)
    header.pop("__metadata__", None)
    start = 8 + int.from_bytes(content[:8], "little")
    found: dict[str, np.ndarray] = {}
    end = 0
    for name, about in sorted(header.items(), key=lambda item: _place(item[1])):
        first, last = _place(about)
        kind, shape = about["dtype"], about["shape"]
        sound = isinstance(kind, str) and kind in _KINDS and isinstance(shape, list)
        if not sound or len(shape) > 32 or not all(type(n) is int and n >= 0 for n in shape):
            raise Damaged(f"its arrays cannot be read: {name!r} has no dtype or shape")
        if first != end or last - first != math.prod(shape) * _KINDS[kind].itemsize:
            raise Damaged(f"its arrays cannot be read: {name!r} is at another place")
        end = last
        if end > len(content) - start:
            raise Damaged(f"its arrays cannot be read: {name!r} is cut off")
        try:
            array = np.frombuffer(content, _KINDS[kind], math.prod(shape), start + first)
            found[name] = array.reshape(shape)
        except (ValueError, OverflowError) as error:
            raise Damaged(f"its arrays cannot be read: {error}") from error
    if end != len(content) - start:
        raise Damaged("its arrays cannot be read: they do not fill it")
    return found


def looks_like(start: bytes, mark: str) -> bool:
    """Whether the first bytes of a file, 4096 or more, are those of a file with this mark."""
    return f'"{mark}"'.encode() in start or f'"{_DIGEST}":"'.encode() in start


def _order(arrays: Mapping[str, np.ndarray]) -> list[str]:
    """The order in which arrays lie: every one starts at a multiple of its elements' size."""
    return sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))


def _header_bytes(arrays: Mapping[str, np.ndarray], record: str, mark: str) -> bytes:
    """The length of the header and the header, with zeros for the digest."""
    header: dict[str, Any] = {"__metadata__": {mark: record, _DIGEST: _NO_DIGEST}}
    end = 0
    for name in _order(arrays):
        array = arrays[name]
        start, end = end, end + array.size * array.itemsize
        kind = _NAMES[array.dtype]
        header[name] = {"dtype": kind, "shape": array.shape, "data_offsets": [start, end]}
    written = json.dumps(header, separators=(",", ":")).encode()
    # Arrays start at multiples of 8 bytes.
    written += b" " * (-len(written) % 8)
    return len(written).to_bytes(8, "little") + written


def _place(about: object) -> tuple[int, int]:
    """Where an array of the header lies."""
    if isinstance(about, dict) and about.keys() == {"dtype", "shape", "data_offsets"}:
        place = about["data_offsets"]
        if isinstance(place, list) and len(place) == 2 and all(type(n) is int for n in place):
            return place[0], place[1]
    raise Damaged("its arrays cannot be read: one has no place")


def _header(content: bytes) -> dict[str, Any]:
    """The JSON header of a safetensors file: a length of 8 bytes, then the header."""
    length = int.from_bytes(content[:8], "little")
    if len(content) < 10 or not 2 <= length <= len(content) - 8:
        raise Damaged("it is cut off, or its header's length is wrong")
    header = _json(content[8 : 8 + length])
    if not isinstance(header, dict):
        raise Damaged("its header cannot be read")
    return header


def _json(content: bytes | str) -> object:
    def refuse(name: str) -> None:
        raise ValueError(f"{name} is no JSON")

    try:
        return json.loads(content, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise Damaged(f"its header cannot be read: {error}") from error


def _digest_field(content: bytes | bytearray) -> tuple[str, int]:
    """The digest in a file's header, and where its 64 digits start."""
    length = int.from_bytes(content[:8], "little")
    # Quotes inside the record are escaped there, so that it cannot hold another such field.
    found = list(_DIGEST_FIELD.finditer(content, 8, 8 + length))
    if len(found) != 1:
        raise Damaged("its digest is missing")
    return found[0][1].decode(), found[0].start(1)


def _digest(content: bytes | bytearray, start: int) -> str:
    view = memoryview(content)
    digest = hashlib.sha256(view[:start])
    digest.update(_NO_DIGEST.encode())
    digest.update(view[start + 64 :])
    return digest.hexdigest()
