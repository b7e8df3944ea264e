"""The container of packed files, and what is said about a file that is none."""

from collections.abc import Mapping

import numpy as np

from textsr_jax.quantization import sealed_files
from textsr_jax.quantization.sealed_files import Foreign
from textsr_jax.storage import file_kinds

# The key of the record in a file's header. It marks a packed file.
_MARK = "textsr_jax_packed"


def to_bytes(arrays: Mapping[str, np.ndarray], record: str) -> bytes:
    """Returns the content of a file with these arrays and this JSON record."""
    return sealed_files.to_bytes(arrays, record, _MARK)


def size(arrays: Mapping[str, np.ndarray], record: str) -> int:
    """Returns the length of `to_bytes(arrays, record)`, from shapes and dtypes alone."""
    return sealed_files.size(arrays, record, _MARK)


def read_record(content: bytes) -> object:
    """Returns the record of a file whose digest is right, read from JSON.

    Raises:
      Damaged: the content is not what was written.
      Foreign: the content is not that of a packed file.
    """
    try:
        return sealed_files.read_record(content, _MARK)
    except Foreign as error:
        if error.safetensors:
            raise Foreign(
                "a safetensors file, but not a packed file; models of one network are named in "
                "config.init, published ones are converted first (python -m textsr_jax.convert)"
            ) from None
        kind = file_kinds.foreign(content[: file_kinds.LOOKED_AT])
        raise Foreign(
            f"{f'{kind}; ' if kind else ''}not a packed file, or a damaged one; name one that "
            "quantize.py --out wrote"
        ) from None


def looks_packed(start: bytes) -> bool:
    """Whether the first bytes of a file, 4096 or more, are those of a packed file."""
    return sealed_files.looks_like(start, _MARK)
