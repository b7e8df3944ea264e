"""The container of a packed file: a safetensors file with a JSON record and a digest in its header.

The digest is SHA-256 of the whole file, with 64 zeros in the place of the digest.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as deserialize
from safetensors.numpy import save as serialize

from textsr_jax.storage import file_kinds

# Keys of the header's metadata. The first one marks a packed file.
_RECORD, _DIGEST = "textsr_jax_packed", "sha256"
_NO_DIGEST = "0" * 64
_DIGEST_FIELD = re.compile(rb'"sha256":"([0-9a-f]{64})"')


class Damaged(Exception):
    """A packed file is damaged. The message says how."""


class Foreign(Exception):
    """A file is not a packed file of this version. The message says what it is and what to do."""


def to_bytes(arrays: Mapping[str, np.ndarray], record: str) -> bytes:
    """Returns the content of a file with these arrays and this JSON record."""
    # ascontiguousarray alone would give a scalar an axis.
    contiguous = {name: np.ascontiguousarray(a).reshape(a.shape) for name, a in arrays.items()}
    content = bytearray(_with_metadata(serialize(contiguous), _metadata(record)))
    _, start = _digest_field(content)
    content[start : start + 64] = _digest(content, start).encode()
    return bytes(content)


def size(arrays: Mapping[str, np.ndarray], record: str) -> int:
    """Returns the length of `to_bytes(arrays, record)`, from shapes and dtypes alone."""
    header: dict[str, Any] = {"__metadata__": _metadata(record)}
    end = 0
    # The order in which safetensors lays arrays out.
    for name in sorted(arrays, key=lambda name: (-arrays[name].itemsize, name)):
        array = arrays[name]
        start, end = end, end + array.size * array.itemsize
        kind = {"float32": "F32", "uint16": "U16", "uint8": "U8"}[array.dtype.name]
        header[name] = {"dtype": kind, "shape": array.shape, "data_offsets": [start, end]}
    about = json.dumps(header, separators=(",", ":")).encode()
    return 8 + -(-len(about) // 8) * 8 + end


def read_record(content: bytes) -> object:
    """Returns the record of a file whose digest is right, read from JSON.

    Raises:
      Damaged: the content is not what was written.
      Foreign: the content is not that of a packed file.
    """
    try:
        header = _header(content)
    except Damaged:
        if not looks_packed(content[:4096]):
            kind = file_kinds.foreign(content[: file_kinds.LOOKED_AT])
            raise Foreign(
                f"{f'{kind}; ' if kind else ''}not a packed file, or a damaged one; name one that "
                "quantize.py --out wrote"
            ) from None
        raise
    metadata = header.get("__metadata__")
    if not isinstance(metadata, dict) or _RECORD not in metadata:
        if looks_packed(content[:4096]):
            raise Damaged("its header cannot be read")
        raise Foreign(
            "a safetensors file, but not a packed file; models of one network are named in "
            "config.init, published ones are converted first (python -m textsr_jax.convert)"
        )
    written, start = _digest_field(content)
    if _digest(content, start) != written:
        raise Damaged("it is not what was written")
    written_record = metadata[_RECORD]
    return _json(written_record) if isinstance(written_record, str) else None


def read_arrays(content: bytes) -> dict[str, np.ndarray]:
    """Returns the arrays of a file by name.

    Raises:
      Damaged: they cannot be read.
    """
    try:
        return deserialize(content)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise Damaged(f"its arrays cannot be read: {error}") from error


def looks_packed(start: bytes) -> bool:
    """Whether the first bytes of a file, 4096 or more, are those of a packed file."""
    return f'"{_RECORD}"'.encode() in start or f'"{_DIGEST}":"'.encode() in start


def _metadata(record: str) -> dict[str, str]:
    """Returns the metadata of a header, with zeros for the digest."""
    return {_RECORD: record, _DIGEST: _NO_DIGEST}


def _with_metadata(content: bytes, metadata: dict[str, str]) -> bytes:
    """Adds `metadata` to a safetensors file; the library would write it in any order."""
    length = int.from_bytes(content[:8], "little")
    header = {"__metadata__": metadata, **json.loads(content[8 : 8 + length])}
    written = json.dumps(header, separators=(",", ":")).encode()
    # Arrays start at multiples of 8 bytes.
    written += b" " * (-len(written) % 8)
    return len(written).to_bytes(8, "little") + written + content[8 + length :]


def _header(content: bytes) -> dict[str, Any]:
    """Returns the JSON header of a safetensors file: a length of 8 bytes, then the header."""
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
    """Returns the digest in a file's header, and where its 64 digits start."""
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
