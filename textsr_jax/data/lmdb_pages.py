"""Checks an LMDB's pages before they are used: the library maps them, and a damaged one kills it.

The library does not check its pages. The format is that of LMDB 0.9 on 64 bits. A page begins with
its number, its flags and the bounds of its free space. A tree of pages leads from the newer of two
meta pages to the leaves. Long values have pages of their own.
"""

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from textsr_jax.errors import UserError

# The file in the folder of an LMDB.
FILE = "data.mdb"

_SUFFIXES = (".mdb", ".lmdb")
_HEAD = struct.Struct("<QHHHH")  # number, padding, flags, end of the pointers, begin of the nodes
_META = struct.Struct("<IIQQ48sIHHQQQQQQQ")  # magic, version, ..., the main tree, last page, change
_MAGIC = 0xBEEFC0DE
_BRANCH, _LEAF, _KIND = 1, 2, 0x6F
_NODE = struct.Struct("<HHHH")  # the value's length or the page, flags, the key's length
_LONG, _DUPLICATES = 1, 4  # flags of a node
_NO_PAGE = 2**64 - 1
_DEEPEST = 32


class _DamageError(Exception):
    """A page is damaged; the message is its number."""


class _CutError(Exception):
    """The file ends before its last page."""


class _Tree(NamedTuple):
    """The tree of pages: a page's bytes, the tree's levels and first page, the file's last page."""

    size: int
    depth: int
    root: int
    last: int


class Values:
    """The values of an LMDB by their keys. A page is checked when it is first used.

    `check` walks the whole tree, which takes minutes for millions of words. Threads may share it.

    Args:
      file: the LMDB's file; only read.

    Raises:
      UserError: it is no LMDB, is damaged, or is cut short.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        try:
            with file.open("rb") as stream:
                mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
            mapped.madvise(mmap.MADV_RANDOM)
        except (OSError, ValueError) as error:  # an empty file cannot be mapped
            reason = error.strerror if isinstance(error, OSError) else "it is empty"
            raise UserError(f"{file}: is not a readable LMDB ({reason}); name another") from error
        self._content = np.frombuffer(mapped, np.uint8)
        try:
            tree = _tree(self._content)
        except (_CutError, _DamageError) as error:
            raise _fault(file, error) from None
        if tree is None:
            raise UserError(f"{file}: is not a readable LMDB (no meta page); name another")
        self._tree = tree
        # The level on which a page was checked; 0 for not yet.
        self._levels = np.zeros(tree.last + 1, np.uint8)

    def get(self, key: bytes) -> bytes | None:
        """The value of a key, None where there is no such key; raises `UserError` if damaged."""
        size, depth, number, last = self._tree
        data = self._content.data
        for level in range(1, depth + 1 if number != _NO_PAGE else 1):
            leaf = level == depth
            if number > last:
                raise _fault(self._file, _DamageError(number))
            if self._levels[number] != level:
                try:
                    _children(self._content, number, size, last, leaf=leaf)
                except _DamageError as error:
                    raise _fault(self._file, error) from None
                self._levels[number] = level
            start = number * size
            lower = _HEAD.unpack_from(data, start)[3]
            # The last node whose key is not behind `key`. The first one of a branch has no key.
            low, high = 0 if leaf else 1, (lower - _HEAD.size) // 2
            while low < high:
                middle = (low + high) // 2
                if _node(data, start, middle)[0] <= key:
                    low = middle + 1
                else:
                    high = middle
            if low == 0:
                return None
            found, (first, second, flags), value = _node(data, start, low - 1)
            if leaf:
                if found != key:
                    return None
                if flags & _LONG:
                    value = struct.unpack_from("<Q", data, value)[0] * size + _HEAD.size
                return bytes(data[value : value + (first | second << 16)])
            number = first | second << 16 | flags << 32
        return None


def _node(data: memoryview, start: int, place: int) -> tuple[bytes, tuple[int, int, int], int]:
    """A node of the page that begins at `start`: its key, its words, where its value begins."""
    at = start + struct.unpack_from("<H", data, start + _HEAD.size + 2 * place)[0]
    *words, length = _NODE.unpack_from(data, at)
    at += _NODE.size
    first, second, flags = words
    return bytes(data[at : at + length]), (first, second, flags), at + length


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
    except (_CutError, _DamageError) as error:
        raise _fault(file, error) from None


def _fault(file: Path, error: Exception) -> UserError:
    what = "cut short" if isinstance(error, _CutError) else f"damaged at page {error}"
    return UserError(f"{file}: is {what}; copy the file again")


def _tree(content: np.ndarray) -> _Tree | None:
    """The tree of the newer meta page; None where the file is no LMDB."""
    metas = list(_metas(content))
    if not metas:
        return None
    size, flags, depth, root, last, _ = max(metas, key=lambda meta: meta[-1])
    if size not in {2**power for power in range(9, 17)} or flags or depth > _DEEPEST:
        raise _DamageError(0)
    if (last + 1) * size > len(content):
        raise _CutError
    return _Tree(size, depth, root, last)


def _check(content: np.ndarray) -> None:
    tree = _tree(content)
    if tree is None:
        return
    size, depth, root, last = tree
    seen = np.zeros(last + 1, bool)
    pending = [] if root == _NO_PAGE else [(root, 1)]
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
    if not np.all((upper <= places) & (places <= size - _NODE.size)):
        raise _DamageError(number)
    words = [_word(page, places + offset) for offset in range(0, _NODE.size, 2)]
    values = places + _NODE.size + words[3]  # behind the keys
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
