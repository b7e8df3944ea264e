"""Checkpoint files as PyTorch's users publish them: tensors by name in .pth and .safetensors.

Both are read with numpy alone. PyTorch is imported only to write a .pth.
"""

import collections
import contextlib
import io
import pathlib
import types
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as serialize

from textsr_jax.convert import entries
from textsr_jax.convert.rebuilding import Damaged, Other, Refused, Tensor
from textsr_jax.convert.torch_files import Foreign, TorchFile
from textsr_jax.errors import UserError, escaped, installing
from textsr_jax.storage import file_kinds

SAFETENSORS = ".safetensors"

# Far more than any network with a table has. So work on names stays short.
_MAX_TENSORS, _MAX_NAME = 5_000, 256
# Bytes of a safetensors file's header.
_MAX_HEADER = 1 << 23


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a checkpoint file.

    Attributes:
      tensors: by their full names, in the file's order and dtypes and PyTorch's layout.
      key: the entry of the file that holds them; None where they are the whole file.
      beside: names of the other entries, which are not read.
    """

    tensors: dict[str, np.ndarray]
    key: str | None = None
    beside: tuple[str, ...] = ()


def read(path: str | pathlib.Path, entry: str | None = None) -> Checkpoint:
    """Reads a checkpoint file, whose content tells its format.

    Nothing that a pickle names is run or made: see `textsr_jax.convert.pickles`.

    Args:
      path: the file.
      entry: which entry of it holds the tensors, such as `params_ema` or `model.sr`; None where
        there is one such entry.

    Raises:
      UserError: there is no such file, or it is damaged or of another kind, would run code, or has
        no tensors, or has tensors in several entries.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        what = "is a folder, not a checkpoint file" if path.is_dir() else "no such file"
        raise UserError(f"{path}: {what}; name a .pth or {SAFETENSORS} file")
    try:
        with path.open("rb") as stream:
            start = stream.read(file_kinds.LOOKED_AT)
    except OSError as error:
        raise UserError(f"{path}: cannot read it ({error.strerror})") from error
    kind = file_kinds.foreign(start, path.suffix)
    if start[8:9] == b"{":
        return _read_safetensors(path, entry)
    if path.suffix == SAFETENSORS and not start.startswith((b"PK", b"\x80")):
        if kind is not None:
            raise _foreign(path, kind)
        return _read_safetensors(path, entry)
    try:
        return _read_torch(path, entry)
    except (Damaged, MemoryError) as error:
        raise _damaged(path, error) if kind is None else _foreign(path, kind) from error


def to_bytes(checkpoint: Checkpoint, suffix: str) -> bytes:
    """The content of a checkpoint file: safetensors for that suffix, otherwise PyTorch's format.

    A safetensors file has no entries, so `key` is left out. PyTorch's own is written in the older
    format, which every version reads: the published code asks for PyTorch 1.2.

    Raises:
      UserError: PyTorch is needed and not installed.
    """
    if suffix == SAFETENSORS:
        tensors = {name: np.ascontiguousarray(t) for name, t in checkpoint.tensors.items()}
        shaped = {name: t.reshape(checkpoint.tensors[name].shape) for name, t in tensors.items()}
        return serialize(shaped, {"format": "pt"})
    torch = _torch("writing a .pth file")

    def tensor(array: np.ndarray) -> Any:
        if array.dtype == ml_dtypes.bfloat16:
            return torch.from_numpy(array.view(np.int16).copy()).view(torch.bfloat16)
        return torch.from_numpy(array.copy())

    state = collections.OrderedDict((name, tensor(a)) for name, a in checkpoint.tensors.items())
    content = io.BytesIO()
    torch.save(
        state if checkpoint.key is None else {checkpoint.key: state},
        content,
        _use_new_zipfile_serialization=False,
    )
    return content.getvalue()


def _read_safetensors(path: pathlib.Path, entry: str | None) -> Checkpoint:
    if entry is not None:
        raise UserError(f"{path}: a {SAFETENSORS} file has no entries; leave --entry away")
    try:
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
        if length > _MAX_HEADER:
            raise _damaged(path, f"its header would be {length:,} bytes long")
        with safe_open(path, framework="np") as file:
            names = _checked_names(path, list(file.keys()))
            tensors = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, TypeError, AttributeError, ValueError) as error:
        raise _damaged(path, error) from error
    if not tensors:
        raise UserError(f"{path}: holds no tensors; name a published checkpoint")
    return Checkpoint(tensors)


def _read_torch(path: pathlib.Path, entry: str | None) -> Checkpoint:
    try:
        with contextlib.closing(TorchFile(path)) as file:
            found = entries.choose(path, file.content, entry)
            names = _checked_names(path, list(found.tensors))
            for name, tensor in found.tensors.items():
                if isinstance(tensor, Other):
                    raise UserError(
                        f"{path}: tensor '{escaped(name)}' is not a plain one ({tensor.kind}); "
                        "save it as float32"
                    )
            plain = [tensor for tensor in found.tensors.values() if isinstance(tensor, Tensor)]
            arrays = file.tensors(plain)
    except Refused as error:
        raise UserError(
            f"{path}: refused, and nothing in it was run: it asks for {escaped(str(error), 200)}; "
            "only tensors and plain values are read, so save those alone: "
            "torch.save(model.state_dict(), FILE)"
        ) from error
    except Foreign as error:
        raise UserError(f"{path}: {escaped(str(error), 200)}") from error
    except OSError as error:
        raise _damaged(path, error) from error
    return Checkpoint(dict(zip(names, arrays, strict=True)), found.key, found.beside)


def _checked_names(path: pathlib.Path, names: list[str]) -> list[str]:
    """Returns the names of tensors, or refuses names that no network has."""
    if len(names) > _MAX_TENSORS:
        raise UserError(
            f"{path}: holds {len(names):,} tensors; no network here has more than {_MAX_TENSORS:,}"
        )
    for name in names:
        if len(name) > _MAX_NAME:
            raise UserError(
                f"{path}: a tensor's name has {len(name):,} characters ('{escaped(name, 40)}'); "
                "name a published checkpoint"
            )
        if not name.isprintable():
            raise UserError(
                f"{path}: tensor '{escaped(name, 200)}' has a name with control characters; name a "
                "published checkpoint"
            )
    return names


def _torch(purpose: str) -> types.ModuleType:
    try:
        import torch
    except ImportError as error:
        raise UserError(
            f"{purpose} needs PyTorch: {installing('convert')}; {SAFETENSORS} files go without"
        ) from error
    return torch


def _damaged(path: pathlib.Path, error: Exception | str) -> UserError:
    reason = escaped(" ".join(str(error).split()) or repr(error), 160)
    return UserError(
        f"{path}: not a checkpoint, or a damaged one ({reason}); copy or download it again"
    )


def _foreign(path: pathlib.Path, kind: str) -> UserError:
    return UserError(
        f"{path}: {kind}; it is no checkpoint, or a damaged one: name a .pth or {SAFETENSORS} file"
    )
