"""Packed files: quantised models and all that is needed to run them, in one safetensors file.

Codes of M bits take M bits each; the header holds a JSON record. No pickles, no code.
"""

import json
import pathlib
from dataclasses import asdict, dataclass
from typing import Any

import jax
import numpy as np

from textsr_jax import text
from textsr_jax.config.portable import from_packed
from textsr_jax.config.settings import Experiment
from textsr_jax.errors import UserError
from textsr_jax.models.network import Variables
from textsr_jax.quantization import Rule, sealed_files, summary
from textsr_jax.quantization.sealed_files import Damaged, Foreign
from textsr_jax.runtime import atomic, paths
from textsr_jax.storage import packed_header, packed_leaves
from textsr_jax.storage.packed_leaves import PARTS

_VERSION = 3
_FIELDS = {"version", "config", "alphabet", "rules", "fine_tuned", "provenance", "leaves"}


@dataclass(frozen=True, repr=False)
class PackedModels:
    """The content of a packed file.

    Attributes:
      config: the experiment as nested dicts, without places and settings of the machine that made
        it. Its `quantization` asks for `rules`.
      rules: the rules that quantised each part, "sr" and "ocr". Each leaf has the prior that "auto"
        chose, and its bits; `repr` counts them.
      fine_tuned: whether the recogniser was fine-tuned on SR images.
      provenance: the origin of the models: commit, data set, scores; JSON-able.
      sr, ocr: {"params": nested dicts, "stats": nested dicts}; leaves are `QuantizedArray` or
        float32 arrays.
    """

    config: dict[str, Any]
    rules: dict[str, tuple[Rule, ...]]
    fine_tuned: bool
    provenance: dict[str, Any]
    sr: Variables
    ocr: Variables

    def __repr__(self) -> str:
        networks = (self.config.get(part, {}).get("name") for part in PARTS)
        return f"PackedModels({' + '.join(map(str, networks))}, {summary((self.sr, self.ocr))})"

    def experiment(self, place: str | pathlib.Path) -> Experiment:
        """Returns the config as this machine uses it; raises `UserError` as `from_packed`."""
        leaves = len(jax.tree.leaves((self.sr, self.ocr)))
        return from_packed(self.config, leaves, str(place))


def save(path: str | pathlib.Path, models: PackedModels) -> int:
    """Writes a packed file, whole or not at all; returns its size in bytes.

    Raises:
      UserError: the folder is missing or cannot be written, or its disk is full; or an array has
        values that are not finite.
      ValueError: a leaf is neither float32 nor quantised.
    """
    content = to_bytes(models)
    atomic.write_bytes(path, content)
    return len(content)


def to_bytes(models: PackedModels) -> bytes:
    """Returns the content of a packed file; the same models always give the same bytes.

    The record's `leaves` have the record of each quantised leaf, such as `sr/params/.../kernel`.
    `quantization.leaf_arrays` says what a record holds, and which arrays hold the values. A leaf
    that is not quantised is an array of its own name.

    Raises:
      UserError: an array has values that are not finite.
      ValueError: a leaf is neither float32 nor quantised.
    """
    arrays, record = _contents(models)
    for name, array in arrays.items():
        if array.dtype == np.float32 and not np.isfinite(array).all():
            raise UserError(
                f"{name}: not all values are finite; take a checkpoint from before they grew"
            )
    return packed_header.to_bytes(arrays, record)


def size(models: PackedModels) -> int:
    """Returns the length of `to_bytes(models)`, from shapes and dtypes alone."""
    return packed_header.size(*_contents(models))


def load(path: str | pathlib.Path) -> PackedModels:
    """Reads a packed file and checks all of it; nothing in it is ever run.

    Raises:
      UserError: the file is missing, damaged, of another version, or not a packed file.
    """
    path = paths.named(path)
    content = sealed_files.read_content(path, "a packed file", "quantize.py --out")
    try:
        return _parse(content)
    except Damaged as error:
        raise UserError(
            f"{path}: a damaged packed file ({error}); copy it again or quantise again"
        ) from error
    except Foreign as error:
        raise UserError(f"{path}: {error}") from error


def is_packed_file(path: str | pathlib.Path) -> bool:
    """Whether the header of `path` begins as a packed file's; the rest may be damaged."""
    path = paths.named(path)
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return packed_header.looks_packed(stream.read(4096))


def _contents(models: PackedModels) -> tuple[dict[str, np.ndarray], str]:
    """Returns the arrays of a packed file by name, and its record as JSON."""
    arrays, leaves = packed_leaves.arrays_of({"sr": models.sr, "ocr": models.ocr})
    record = {
        "version": _VERSION,
        "config": models.config,
        "alphabet": _alphabet(models.config).characters,
        "rules": {part: [asdict(rule) for rule in models.rules[part]] for part in PARTS},
        "fine_tuned": models.fine_tuned,
        "provenance": models.provenance,
        "leaves": leaves,
    }
    return arrays, json.dumps(record, separators=(",", ":"), allow_nan=False)


def _alphabet(config: dict[str, Any]) -> text.Alphabet:
    """The alphabet of a config, which need not be sound; one without the field has 0-9a-z."""
    name = config.get("alphabet", text.ALPHANUMERIC.name)
    return text.ALPHABETS.get(str(name), text.ALPHANUMERIC)


def _parse(content: bytes) -> PackedModels:
    record = _checked(packed_header.read_record(content))
    trees = packed_leaves.trees_of(record["leaves"], sealed_files.read_arrays(content))
    return PackedModels(
        config=record["config"],
        rules=record["rules"],
        fine_tuned=record["fine_tuned"],
        provenance=record["provenance"],
        # All arrays in one transfer: there are many.
        **jax.device_put(trees),
    )


def _checked(record: object) -> dict[str, Any]:
    """Returns a record whose fields are all sound, with its rules as `Rule`."""
    if not isinstance(record, dict):
        raise Damaged("its record cannot be read")
    if record.get("version") != _VERSION:
        raise Foreign(
            f"a packed file of version {record.get('version')!r}, and this program reads version "
            f"{_VERSION}; update the older of the two"
        )
    if record.keys() != _FIELDS:
        raise Damaged("its record has other fields than it should")
    if record["alphabet"] not in [known.characters for known in text.ALPHABETS.values()]:
        raise Foreign(
            f"its alphabet is {record['alphabet']!r}, and this program reads "
            f"{text.ALPHANUMERIC.characters!r} or all of printable ASCII; use the program that "
            "wrote it"
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
        raise Damaged("its record has values of a wrong kind")
    if record["alphabet"] != _alphabet(record["config"]).characters:
        raise Damaged("its alphabet is not that of its config")
    try:
        record["rules"] = {
            part: tuple(Rule(**rule) for rule in listed) for part, listed in rules.items()
        }
    except (TypeError, UserError) as error:
        raise Damaged(f"its rules cannot be read: {error}") from error
    return record
