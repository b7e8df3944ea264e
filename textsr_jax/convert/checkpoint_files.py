"""Checkpoint files as PyTorch's users publish them: tensors by name from .pth and .safetensors.

PyTorch is imported where a .pth is read or written, and nowhere else in the package.
"""

import collections
import io
import pathlib
import pickle
import re
import types
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as serialize

from textsr_jax.errors import UserError, installing

SAFETENSORS = ".safetensors"

# Where published code keeps the state dict beside epochs, scores and optimisers; the first that
# is there is taken.
_KEYS = ("state_dict_G", "state_dict", "model", "net")


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a checkpoint file.

    Attributes:
      tensors: by their full names, in the file's order and dtypes, in PyTorch's layout.
      key: the entry of the file that holds them; None where they are the whole file.
      beside: names of the other entries, which are not read.
    """

    tensors: dict[str, np.ndarray]
    key: str | None = None
    beside: tuple[str, ...] = ()


def read(path: str | pathlib.Path) -> Checkpoint:
    """Reads a checkpoint file; what it is is seen from its content.

    Of a pickle nothing but tensors and plain values is ever built (`weights_only`).

    Raises:
      UserError: no such file, damaged, one that would run code, one without tensors, or a .pth
        where PyTorch is not installed.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        what = "is a folder, not a checkpoint file" if path.is_dir() else "no such file"
        raise UserError(f"{path}: {what}; name a .pth or {SAFETENSORS} file")
    try:
        with path.open("rb") as stream:
            start = stream.read(9)
    except OSError as error:
        raise UserError(f"{path}: cannot read it ({error.strerror})") from error
    if start[8:] == b"{" or path.suffix == SAFETENSORS:
        return _read_safetensors(path)
    return _read_torch(path)


def encode(checkpoint: Checkpoint, suffix: str) -> bytes:
    """The content of a checkpoint file: safetensors for that suffix, otherwise PyTorch's own.

    Safetensors has no entries, so `key` is left out of it. PyTorch's own is written in the format
    that every version reads, since the published code asks for 1.2.

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


def _read_safetensors(path: pathlib.Path) -> Checkpoint:
    try:
        with safe_open(path, framework="np") as file:
            names = file.keys()
            tensors = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, TypeError, AttributeError) as error:
        raise _damaged(path, error) from error
    if not tensors:
        raise UserError(f"{path}: holds no tensors; name a published checkpoint")
    return Checkpoint(tensors)


def _read_torch(path: pathlib.Path) -> Checkpoint:
    torch = _torch(f"{path}: reading a .pth file")
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_plain_numpy()):
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL ([\w.]+)", str(error))
        reason = f"it asks for {asked[1]}" if asked else "it is no checkpoint, or a damaged one"
        raise UserError(
            f"{path}: refused, and nothing in it was run: {reason}; only tensors and plain values "
            "are read, so save those alone: torch.save(model.state_dict(), FILE)"
        ) from error
    except Exception as error:  # a damaged file can raise almost anything in there
        raise _damaged(path, error) from error
    state, key, beside = _state_dict(path, content, torch)
    tensors = {name: _array(path, name, tensor, torch) for name, tensor in state.items()}
    return Checkpoint(tensors, key, beside)


def _state_dict(
    path: pathlib.Path, content: Any, torch: types.ModuleType
) -> tuple[dict[str, Any], str | None, tuple[str, ...]]:
    """The tensors, the entry that they stand in, and the names of everything else."""
    if not isinstance(content, Mapping):
        raise UserError(
            f"{path}: holds a {type(content).__name__}, not a dict of tensors; save a state dict "
            "in it"
        )

    def tensors(entries: Any) -> dict[str, Any]:
        if not isinstance(entries, Mapping):
            return {}
        return {
            name: value
            for name, value in entries.items()
            if isinstance(name, str) and isinstance(value, torch.Tensor)
        }

    inside = {key: tensors(entries) for key, entries in content.items()}
    found = [key for key, state in inside.items() if state]
    named = [key for key in _KEYS if key in found]
    key = None
    state = tensors(content)
    if named or (not state and len(found) == 1):
        key = (named or found)[0]
        state = inside[key]
    if not state:
        entries = ", ".join(map(str, content)) or "none"
        raise UserError(
            f"{path}: no state dict under any of {', '.join(_KEYS)}, nor tensors at its top; its "
            f"entries: {entries}"
        )
    others = [name for name in content if name not in (state if key is None else (key,))]
    if key is not None:
        others += [f"{key}.{name}" for name in content[key] if name not in state]
    return state, key, tuple(map(str, others))


def _array(path: pathlib.Path, name: str, tensor: Any, torch: types.ModuleType) -> np.ndarray:
    try:
        plain = tensor.detach().contiguous()
        if plain.dtype == torch.bfloat16:
            return plain.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
        return plain.numpy()
    except (TypeError, RuntimeError, NotImplementedError) as error:
        raise UserError(
            f"{path}: tensor {name!r} is not a plain one ({tensor.dtype}, {tensor.layout}); save "
            "it as float32"
        ) from error


def _plain_numpy() -> list[Any]:
    """What rebuilds numpy's numbers and arrays, which TextZoom's files hold beside the tensors."""
    multiarray = np._core.multiarray
    allowed: list[Any] = [np.dtype, np.ndarray, multiarray.scalar, multiarray._reconstruct]
    # The module's name before numpy 2.
    for name in ("scalar", "_reconstruct"):
        allowed.append((getattr(multiarray, name), f"numpy.core.multiarray.{name}"))
    return allowed + [type(np.dtype(code)) for code in "?bBhHiIlLqQefd"]


def _torch(purpose: str) -> types.ModuleType:
    try:
        import torch
    except ImportError as error:
        raise UserError(
            f"{purpose} needs PyTorch: {installing('convert')}; {SAFETENSORS} files go without"
        ) from error
    return torch


def _damaged(path: pathlib.Path, error: Exception) -> UserError:
    reason = (str(error).strip() or repr(error)).splitlines()[0][:160]
    return UserError(
        f"{path}: not a checkpoint, or a damaged one ({reason}); copy or download it again"
    )
