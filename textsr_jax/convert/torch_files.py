"""The two formats of PyTorch's `torch.save`, read with numpy alone: zip archives, and one stream.

A file's size bounds work and memory, whatever the file says about itself.
"""

from __future__ import annotations

import io
import os
import pathlib
import struct
import zipfile
import zlib
from collections.abc import Iterable
from typing import Literal, Protocol

import numpy as np

from textsr_jax.convert import pickles
from textsr_jax.convert.rebuilding import Damaged, Storage, Tensor

# Bytes of a zip archive's list. For 10,000 tensors it takes a megabyte.
_MAX_LIST = 1 << 24
# The first number of the older format, and its version.
_MAGIC, _VERSION = 0x1950A86A20F9469CFC6C, 1001
# What `zipfile` raises for damaged archives.
_ZIP_ERRORS = (
    *(zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError),
    *(ValueError, LookupError, OverflowError, NotImplementedError, RuntimeError),
)
# Tensors may share numbers: together they may take up to this many times the file's bytes.
_MOST_SHARED = 4


class Foreign(Exception):
    """The file is of another kind; the message says which."""


class TorchFile:
    """An open checkpoint file: what its pickle holds, and its tensors when they are asked for.

    Args:
      path: the file; it stays open until `close`.

    Attributes:
      content: what `pickles.load` returned.

    Raises:
      Refused: it asks for more than tensors and plain values.
      Damaged: it is not a checkpoint, is damaged, or says impossible things about itself.
      Foreign: it is a zip archive of another kind.
      OSError: it cannot be read.
    """

    def __init__(self, path: str | pathlib.Path):
        self._file = _Bounded(path)
        self._size = os.fstat(self._file.fileno()).st_size
        self._held: dict[str, np.ndarray] = {}
        self._records: _Records
        try:
            if self._file.read(2) == b"PK":
                self._records = _Zip(self._file, self._size)
            else:
                self._records = _Stream(self._file, self._size)
        except BaseException:
            self._file.close()
            raise
        self.content = self._records.content

    def close(self) -> None:
        self._file.close()

    def tensors(self, wanted: Iterable[Tensor]) -> list[np.ndarray]:
        """Tensors in PyTorch's layout, contiguous. Those that share numbers may share memory.

        Raises:
          Damaged: numbers are missing, or the tensors would take far more bytes than the file.
        """
        wanted = list(wanted)
        if sum(tensor.nbytes for tensor in wanted) > _MOST_SHARED * self._size + (1 << 20):
            raise Damaged("its tensors would be far larger than the file")
        return [self._array(tensor) for tensor in wanted]

    def _array(self, tensor: Tensor) -> np.ndarray:
        dtype = tensor.dtype.newbyteorder(self._records.byte_order)
        if 0 in tensor.shape:
            return np.empty(tensor.shape, tensor.dtype)
        start = tensor.storage.start * tensor.storage.width + tensor.offset * dtype.itemsize
        content = self._storage(tensor.storage)
        strides = [stride * dtype.itemsize for stride in tensor.strides]
        last = start + sum((n - 1) * s for n, s in zip(tensor.shape, strides, strict=True))
        if last + dtype.itemsize > len(content):
            raise Damaged(f"storage {tensor.storage.key!r} ends before its tensor does")
        view = np.ndarray(tensor.shape, dtype, content, start, strides)
        return np.ascontiguousarray(view, tensor.dtype).reshape(tensor.shape)

    def _storage(self, storage: Storage) -> np.ndarray:
        """The bytes of a storage, read once."""
        if storage.key not in self._held:
            content = self._records.read(storage)
            # Records of a sound file do not overlap.
            if sum(map(len, self._held.values())) + len(content) > self._size:
                raise Damaged("its storages overlap")
            self._held[storage.key] = np.frombuffer(content, np.uint8)
        return self._held[storage.key]


class _Records(Protocol):
    """What a format holds: a pickle, and storages by key, in a byte order with NumPy's sign."""

    content: object
    byte_order: Literal["<", ">"]

    def read(self, storage: Storage) -> bytes: ...


class _Bounded(io.BufferedReader):
    """A file that refuses to read more than it may hold, before memory is taken."""

    def __init__(self, path: str | pathlib.Path):
        super().__init__(io.FileIO(path))
        self.most = _MAX_LIST

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > self.most:
            raise Damaged("what it lists is longer than any checkpoint's list")
        return super().read(size)


class _Zip:
    """The format of PyTorch 1.6 and later: a zip archive without compression."""

    def __init__(self, file: _Bounded, size: int):
        try:
            self._archive = zipfile.ZipFile(file)
        except _ZIP_ERRORS as error:
            raise Damaged(f"its zip archive cannot be read: {error}") from error
        file.most, self._size = size, size
        self._infos = {info.filename: info for info in self._archive.infolist()}
        pickled = [name for name in self._infos if name.split("/")[1:] == ["data.pkl"]]
        if len(pickled) != 1:
            first = next(iter(self._infos), None)
            inside = "nothing" if first is None else repr(first)
            raise Foreign(f"a zip archive of something else: {inside} is in it, and no data.pkl")
        self._top = pickled[0].removesuffix("data.pkl")
        if f"{self._top}constants.pkl" in self._infos:
            raise Foreign(
                "a TorchScript archive: save the state dict alone, "
                "torch.save(torch.jit.load(FILE).state_dict(), OTHER)"
            )
        order = self._record("byteorder", 16) if f"{self._top}byteorder" in self._infos else b""
        self.byte_order: Literal["<", ">"] = ">" if order == b"big" else "<"
        self.content, _ = pickles.load(io.BytesIO(self._record("data.pkl", pickles.MAX_BYTES)))

    def read(self, storage: Storage) -> bytes:
        return self._record(f"data/{storage.key}", self._size)

    def _record(self, name: str, most: int) -> bytes:
        info = self._infos.get(self._top + name)
        if info is None:
            raise Damaged(f"its {name!r} is missing")
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            raise Damaged(
                f"its {name!r} is compressed, which torch.save does not do: save it again"
            )
        if info.file_size > most or info.header_offset + info.file_size > self._size:
            raise Damaged(f"its {name!r} says that it has {info.file_size:,} bytes")
        try:
            content = self._archive.read(info)
        except _ZIP_ERRORS as error:
            raise Damaged(f"its {name!r} cannot be read: {error}") from error
        if len(content) != info.file_size:
            raise Damaged(f"its {name!r} is cut short")
        return content


class _Stream:
    """The older format: pickles one after another, then the storages."""

    byte_order: Literal["<", ">"] = "<"

    def __init__(self, file: _Bounded, size: int):
        file.most, self._file, self._size = size, file, size
        file.seek(0)
        start = io.BytesIO(file.read(min(size, pickles.MAX_BYTES)))
        try:
            numbers = [pickles.load(start, 100)[0] for _ in range(2)]
        except Damaged as error:
            raise Damaged(f"it does not begin as a checkpoint does: {error}") from error
        if numbers != [_MAGIC, _VERSION]:
            raise Damaged("it does not begin as a checkpoint does")
        # It describes the machine that wrote the file.
        pickles.load(start, 1000)
        self.content, storages = pickles.load(start)
        keys, _ = pickles.load(start)
        self._places = self._find(keys, {s.key: s.width for s in storages}, start.tell())

    def _find(self, keys: object, widths: dict[str, int], place: int) -> dict[str, tuple[int, int]]:
        """Where each storage starts, and how many bytes it takes."""
        if not isinstance(keys, list):
            raise Damaged("its list of storages is none")
        places = {}
        for key in map(str, keys):
            self._file.seek(place)
            count = int.from_bytes(self._file.read(8), "little")
            size, place = count * widths.get(key, 0), place + 8
            if key not in widths or place + size > self._size:
                raise Damaged("its storages are cut short")
            places[key] = place, size
            place += size
        return places

    def read(self, storage: Storage) -> bytes:
        if storage.key not in self._places:
            raise Damaged(f"storage {storage.key!r} is missing")
        place, size = self._places[storage.key]
        self._file.seek(place)
        return self._file.read(size)
