"""Checks an LMDB's pages before the library maps them: a damaged page would kill the process.

The library does not check its pages. The format is that of LMDB 0.9 on 64 bits. A page begins with
its number, its flags and the bounds of its free space. A tree of pages leads from the newer of two
meta pages to the leaves. Long values have pages of their own.
"""

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from textsr_jax.errors import UserError

# The file in the folder of an LMDB.
FILE = "data.mdb"

_SUFFIXES = (".mdb", ".lmdb")
_HEAD = struct.Struct("<QHHHH")  # number, padding, flags, end of the pointers, begin of the nodes
_META = struct.Struct("<IIQQ48sIHHQQQQQQQ")  # magic, version, ..., the main tree, last page, change
_MAGIC = 0xBEEFC0DE
_BRANCH, _LEAF, _KIND = 1, 2, 0x6F
_NODE = 8  # bytes before a node's key
_LONG, _DUPLICATES = 1, 4  # flags of a node
_NO_PAGE = 2**64 - 1
_DEEPEST = 32


class _DamageError(Exception):
    """A page is damaged; the message is its number."""


class _CutError(Exception):
    """The file ends before its last page."""


def is_lmdb(path: Path) -> bool:
    """Whether a path is a folder that holds `FILE`, or a file with the name of an LMDB."""
    return (path / FILE).is_file() or (path.suffix in _SUFFIXES and path.is_file())


def check(file: Path) -> None:
    """Walks the tree; raises `UserError` where a page is damaged or lies beyond the file's end.

    Files that are no LMDB pass, since the library itself refuses them.
    """
    if not file.stat().st_size:
        return
    try:
        _check(np.memmap(file, np.uint8, "r"))
    except _CutError:
        raise UserError(f"{file}: is cut short; copy the file again") from None
    except _DamageError as error:
        raise UserError(f"{file}: is damaged at page {error}; copy the file again") from None


def _check(content: np.ndarray) -> None:
    metas = list(_metas(content))
    if not metas:
        return
    size, flags, depth, root, last, _ = max(metas, key=lambda meta: meta[-1])
    if size not in {2**power for power in range(9, 17)} or flags:
        raise _DamageError(0)
    if (last + 1) * size > len(content):
        raise _CutError
    seen = np.zeros(last + 1, bool)
    pending = [] if root == _NO_PAGE else [(root, 1)]
    if depth > _DEEPEST:
        raise _DamageError(0)
    while pending:
        number, level = pending.pop()
        if number > last or level > depth or seen[number]:
            raise _DamageError(number)
        seen[number] = True
        children = _children(content, number, size, last, leaf=level == depth)
        pending += [(child, level + 1) for child in children]


def _metas(content: np.ndarray) -> Iterator[tuple[int, ...]]:
    """For each meta page: page size, the tree's flags, depth and root, last page, change number."""
    size = 0
    for number in range(2):
        start = number * size + _HEAD.size
        if len(content) < start + _META.size:
            return
        magic, _, _, _, free, _, flags, depth, *_, root, last, change = _META.unpack_from(
            content.data, start
        )
        if magic != _MAGIC:
            return
        size = struct.unpack_from("<I", free)[0]
        yield size, flags, depth, root, last, change


def _children(content: np.ndarray, number: int, size: int, last: int, *, leaf: bool) -> list[int]:
    """The pages below a branch; none below a leaf. Raises `_DamageError`."""
    start = number * size
    own, _, flags, lower, upper = _HEAD.unpack_from(content.data, start)
    count = (lower - _HEAD.size) // 2
    whole = own == number and flags & _KIND == (_LEAF if leaf else _BRANCH)
    # The library stops at a branch with one child.
    if not whole or lower % 2 or not _HEAD.size <= lower <= upper <= size or count < 2 - leaf:
        raise _DamageError(number)
    page = content[start : start + size]
    places = _word(page, np.arange(_HEAD.size, lower, 2))
    if not np.all((upper <= places) & (places <= size - _NODE)):
        raise _DamageError(number)
    words = [_word(page, places + offset) for offset in range(0, _NODE, 2)]
    values = places + _NODE + words[3]  # behind the keys
    if not leaf:
        if np.any(values > size):
            raise _DamageError(number)
        return (words[0] | words[1] << 16 | words[2] << 32).tolist()
    lengths, kinds = words[0] | words[1] << 16, words[2]
    ends = values + np.where(kinds & _LONG, 8, lengths)
    if np.any(ends > size) or np.any(kinds & _DUPLICATES):
        raise _DamageError(number)
    long = np.flatnonzero(kinds & _LONG)
    for value, length in zip(values[long].tolist(), lengths[long].tolist(), strict=True):
        first = struct.unpack_from("<Q", content.data, start + value)[0]
        if first + (_HEAD.size + length - 1) // size > last:
            raise _DamageError(number)
    return []


def _word(page: np.ndarray, places: np.ndarray) -> np.ndarray:
    return page[places].astype(np.int64) | page[places + 1].astype(np.int64) << 8
