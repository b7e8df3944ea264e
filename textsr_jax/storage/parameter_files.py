"""Parameter files: the trained variables of one network in a file, as `textsr_jax.convert` writes.

They are safetensors files: arrays by name and a JSON record in the header, no pickles.
"""

import json
import pathlib
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as serialize

from textsr_jax.config import checks
from textsr_jax.errors import UserError
from textsr_jax.runtime import atomic, paths
from textsr_jax.runtime.atomic import JSON
from textsr_jax.storage import file_kinds

# "prior" is a recogniser that only guides an SR network.
PARTS = ("sr", "ocr", "focus", "resampler", "prior")

_RECORD = "textsr_jax"
_VERSION = 1
_TREE = ("params", "stats")
_DROPPED = "dropped/"


@dataclass(frozen=True)
class Origin:
    """What a published file holds besides the tree, so that it can be written again exactly.

    Attributes:
      record: the containers around its tensors; JSON-able.
      tensors: those that the tree does not hold, or does not hold to the last bit, by name.
    """

    record: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class ParameterFile:
    """The content of a parameter file.

    Attributes:
      model: the network's name in `textsr_jax.convert`, such as "edsr".
      part: the part of the config that describes the network; one of `PARTS`.
      settings: the fields of that part that rebuild the network: `name`, and under it the
        constructor's arguments that differ from its defaults.
      variables: {"params": nested dicts, "stats": nested dicts} of float32 numpy arrays. Only these
        two dicts may be empty.
    """

    model: str
    part: str
    settings: dict[str, Any]
    variables: dict[str, Any]


def save(path: str | pathlib.Path, file: ParameterFile, origin: Origin | None = None) -> None:
    """Writes a parameter file, whole or not at all.

    Args:
      path: the file; its folder must exist.
      file: the content.
      origin: stored with it; only `load_origin` reads it.

    Raises:
      UserError: the folder is missing or cannot be written, or its disk is full; or an array has
        values that are not finite.
      ValueError: a leaf is not float32, a key is empty or holds a slash, or there is no such part.
    """
    if file.part not in PARTS:
        raise ValueError(f"there is no part {file.part!r}; take one of {', '.join(PARTS)}")
    arrays = dict(_leaves(file.variables))
    for name, array in arrays.items():
        if array.dtype != np.float32 or name.split("/")[0] not in _TREE:
            raise ValueError(f"leaf {name!r} is {array.dtype}; params and stats are float32")
        if not np.isfinite(array).all():
            raise UserError(f"{name}: not all values are finite; take another checkpoint")
    record: dict[str, Any] = {
        "version": _VERSION,
        "model": file.model,
        "part": file.part,
        "settings": file.settings,
    }
    record["checksum"] = _checksum(arrays, [file.model, file.part, file.settings])
    if origin is not None:
        aside = {f"{_DROPPED}{name}": np.asarray(a) for name, a in origin.tensors.items()}
        record["origin"] = {"record": origin.record, "checksum": _checksum(aside, origin.record)}
        arrays |= aside
    contiguous = {name: np.ascontiguousarray(a).reshape(a.shape) for name, a in arrays.items()}
    atomic.write_bytes(path, serialize(contiguous, {_RECORD: json.dumps(record)}))


def load(path: str | pathlib.Path) -> ParameterFile:
    """Reads a parameter file.

    Raises:
      UserError: the file is missing, damaged, or not a parameter file; or an array is not float32
        or not finite; or the settings are of no network.
    """
    opened = _Opened(path)
    record = opened.record
    about = [record["model"], record["part"], record["settings"]]
    arrays = opened.arrays(lambda name: not name.startswith(_DROPPED))
    opened.check(_checksum(arrays, about), record["checksum"])
    settings = dict(record["settings"])
    if settings.get("name") == record["part"]:
        # In a config, a part with only one network has no field `name`.
        del settings["name"]
    settings = checks.checked_part(settings, record["part"], f"{path}: its ")
    variables: dict[str, Any] = {name: {} for name in _TREE}
    for name, array in arrays.items():
        if array.dtype != np.float32:
            raise UserError(
                f"{path}: {name!r} is {array.dtype}, and parameters are float32; convert the "
                "published file again"
            )
        if not np.isfinite(array).all():
            raise UserError(
                f"{path}: {name!r} has values that are not finite; take another checkpoint"
            )
        *folders, leaf = name.split("/")
        node = variables
        for folder in folders:
            node = node.setdefault(folder, {})
        node[leaf] = array
    return ParameterFile(record["model"], record["part"], settings, variables)


def load_origin(path: str | pathlib.Path) -> Origin | None:
    """Returns what a parameter file keeps of the published file; None if it was not converted.

    Raises:
      UserError: as `load` does.
    """
    opened = _Opened(path)
    if "origin" not in opened.record:
        return None
    origin = opened.record["origin"]
    arrays = opened.arrays(lambda name: name.startswith(_DROPPED))
    opened.check(_checksum(arrays, origin["record"]), origin["checksum"])
    tensors = {name.removeprefix(_DROPPED): array for name, array in arrays.items()}
    return Origin(origin["record"], tensors)


def is_parameter_file(path: str | pathlib.Path) -> bool:
    """Whether the header of `path` is that of a parameter file; the rest may be damaged."""
    try:
        _Opened(path)
    except UserError:
        return False
    return True


def variables_for(
    file: ParameterFile, part: str, name: str, template: Mapping[str, Any], place: str
) -> dict[str, Any]:
    """Returns the variables of a file for the network that a config names.

    Only one of the two may have an STN. If the file lacks it, the result lacks it too. If the
    template lacks it, the one of the file is ignored.

    Args:
      file: what `load` returned.
      part: the part of the config; one of `PARTS`.
      name: the network's name there; the part's name if the part has only one network.
      template: the network's tree of shapes (`Network.template`).
      place: how the user named the file, for messages.

    Returns:
      A tree like `template` of float32 numpy arrays.

    Raises:
      UserError: the file holds another network, or a network of another size.
    """
    found = file.settings.get("name", file.part)
    if file.part != part:
        raise UserError(
            f"{place}: holds {found!r}, a network for config.init.{file.part}; name a file for "
            f"config.{part}"
        )
    if found != name:
        raise UserError(
            f"{place}: holds {found!r}, but config.{part}.name is {name!r}; set one to the other"
        )
    if "stn" not in file.variables["params"]:
        template = {top: _without_stn(tree) for top, tree in template.items()}
    arrays = dict(_leaves(file.variables))

    def fill(keys: tuple[jax.tree_util.DictKey, ...], leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        leaf_path = "/".join(key.key for key in keys)
        fix = f"use a file of the sizes in config.{part}, or set those to the file's"
        if leaf_path not in arrays:
            raise UserError(f"{place}: has no {leaf_path!r}; {fix}")
        array = arrays.pop(leaf_path)
        if array.shape != leaf.shape:
            raise UserError(
                f"{place}: {leaf_path!r} has shape {array.shape}, but the network's has "
                f"{leaf.shape}; {fix}"
            )
        return array

    filled = jax.tree_util.tree_map_with_path(fill, dict(template))
    spare = [left for left in arrays if left.split("/")[1] != "stn" or "stn" in filled["params"]]
    if spare:
        raise UserError(
            f"{place}: holds {spare[0]!r}, which the network does not have; use a file of the "
            f"sizes in config.{part}, or set those to the file's"
        )
    return filled


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, np.ndarray]]:
    """Yields paths, such as `params/edsr/head/kernel`, and leaves of nested dicts."""
    for key, value in tree.items():
        if not key or "/" in key:
            raise ValueError(f"{prefix}{key!r}: a key must be a name without slashes")
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}/")
        else:
            yield prefix + key, np.asarray(value)


def _without_stn(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {name: branch for name, branch in tree.items() if name != "stn"}


def _checksum(arrays: Mapping[str, np.ndarray], about: JSON) -> int:
    """Returns a CRC-32 of arrays, their names, and JSON about them; safetensors has no checksum."""
    checksum = zlib.crc32(json.dumps(about, sort_keys=True).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        title = f"{name} {array.dtype.name} {np.shape(arrays[name])}"
        checksum = zlib.crc32(
            array.reshape(-1).view(np.uint8).data, zlib.crc32(title.encode(), checksum)
        )
    return checksum


class _Opened:
    """A parameter file whose header was read; its arrays are read on request.

    Raises:
      UserError: the file is missing, damaged, or not a parameter file.
    """

    def __init__(self, path: str | pathlib.Path):
        self.path = paths.named(path)
        if not self.path.is_file():
            what = "is a folder, not a parameter file" if self.path.is_dir() else "no such file"
            raise UserError(f"{path}: {what}; name one that `python -m textsr_jax.convert` wrote")
        try:
            with paths.on_disk(self.path) as file:
                self._file = safe_open(file, framework="np")
            header = self._file.metadata() or {}
        except OSError as error:
            raise UserError(f"{path}: cannot read it ({error}); see to its permissions") from error
        except SafetensorError as error:
            raise self._foreign(error) from error
        if _RECORD not in header:
            raise UserError(
                f"{path}: a safetensors file, but not one of ours; if it is a published "
                f"checkpoint, convert it: python -m textsr_jax.convert MODEL {path} --out FILE"
            )
        self.record = self._checked(header[_RECORD])

    def arrays(self, wanted: Callable[[str], bool]) -> dict[str, np.ndarray]:
        """Returns the arrays whose names are wanted, sorted by name."""
        try:
            names = sorted(name for name in self._file.keys() if wanted(name))  # noqa: SIM118
            return {name: self._file.get_tensor(name) for name in names}
        except (SafetensorError, OSError) as error:
            raise self.damaged(str(error)) from error

    def check(self, found: int, written: int) -> None:
        """Raises `UserError` where the checksum that was found is not the one that was written."""
        if found != written:
            raise self.damaged("it is not what was written")

    def damaged(self, reason: str) -> UserError:
        """Returns the error that says the file is damaged."""
        return UserError(
            f"{self.path}: a damaged parameter file ({reason}); copy it again or convert again"
        )

    def _foreign(self, error: SafetensorError) -> UserError:
        with self.path.open("rb") as stream:
            start = stream.read(file_kinds.LOOKED_AT)
        if start[:2] in (b"PK", b"\x80\x02"):
            return UserError(
                f"{self.path}: a PyTorch checkpoint, not a parameter file; convert it: python -m "
                f"textsr_jax.convert MODEL {self.path} --out FILE"
            )
        if f'"{_RECORD}"'.encode() in start:
            return self.damaged(str(error))
        kind = file_kinds.foreign(start, self.path.suffix)
        return UserError(
            f"{self.path}: {f'{kind}; ' if kind else ''}not a parameter file, or a damaged one "
            f"({error}); name one that `python -m textsr_jax.convert` wrote"
        )

    def _checked(self, text: str) -> dict[str, Any]:
        try:
            record = json.loads(text)
            version = record["version"]
            if version != _VERSION:
                raise UserError(
                    f"{self.path}: a parameter file of version {version}, and this program reads "
                    f"version {_VERSION}; update the older of the two"
                )
            sound = (
                record["part"] in PARTS
                and isinstance(record["model"], str)
                and isinstance(record["settings"], dict)
                and isinstance(record["checksum"], int)
                and {"record", "checksum"}
                == record.get("origin", {"record": 0, "checksum": 0}).keys()
            )
        except (ValueError, KeyError, TypeError) as error:
            raise self.damaged(f"its header cannot be read: {error!r}") from error
        if not sound:
            raise self.damaged("its header cannot be read")
        return record
