"""Published models that lie in several files: their names in one checkpoint, and the files again.

A network that a text prior guides has a file, and one for the recogniser of each stage:
NETWORK.pth,RECOGNIZER_0.pth,RECOGNIZER_1.pth and so on. The names of the recognisers' tensors begin
with `prior.0.`, `prior.1.`, ... ABINet has a file for each branch, VISION.pth,LANGUAGE.pth, whose
names begin with `vision.` and `language.`; one file may hold both.
"""

import re
from collections.abc import Sequence

import numpy as np

from textsr_jax.convert import checkpoint_files
from textsr_jax.convert.checkpoint_files import Checkpoint
from textsr_jax.errors import UserError
from textsr_jax.models import GUIDED

_PREFIX = re.compile(r"(prior\.\d+|vision|language)\.")


def split(model: str, paths: str) -> list[str]:
    """The files that a user named for a model: those between commas, if it may have several."""
    return paths.split(",") if model in GUIDED or model == "abinet" else [paths]


def read(
    model: str, sources: Sequence[str], entry: str | None
) -> tuple[Checkpoint, list[str | None]]:
    """Reads files as one checkpoint.

    Args:
      model: a key of `TABLES`.
      sources: the files, in the order above.
      entry: the entry of the first file; see `checkpoint_files.read`.

    Returns:
      The checkpoint, with the key of the first file, and the keys of the others.

    Raises:
      UserError: a file cannot be read, or ABINet's are more than two.
    """
    first, *others = [
        checkpoint_files.read(source, None if number else entry)
        for number, source in enumerate(sources)
    ]
    if not others:
        return first, []
    prefixes = _prefixes(model, len(sources))
    if len(prefixes) != len(sources):
        raise UserError(f"{','.join(sources)}: {len(sources)} files; {_wanted(model, prefixes)}")
    tensors = {
        prefix + name: tensor
        for prefix, part in zip(prefixes, (first, *others), strict=True)
        for name, tensor in part.tensors.items()
    }
    return Checkpoint(tensors, first.key, first.beside), [other.key for other in others]


def parts(
    model: str, checkpoint: Checkpoint, outs: Sequence[str], keys: Sequence[str | None] = ()
) -> list[Checkpoint]:
    """The checkpoint of each file to write: all in one, or one for each part.

    Args:
      model: a key of `TABLES`.
      checkpoint: a whole one.
      outs: the files.
      keys: the keys of the files after the first; None, the whole file, for those that are missing.

    Raises:
      UserError: there is neither one file nor one for each part.
    """
    if len(outs) == 1:
        return [checkpoint]
    found: dict[str, dict[str, np.ndarray]] = {}
    for name, tensor in checkpoint.tensors.items():
        match = _PREFIX.match(name)
        prefix = match[0] if match else ""
        found.setdefault(prefix, {})[name.removeprefix(prefix)] = tensor
    prefixes = _prefixes(model, len(found))
    if len(outs) != len(prefixes) or found.keys() != set(prefixes):
        raise UserError(f"--out={','.join(outs)}: {len(outs)} files; {_wanted(model, prefixes)}")
    all_keys = [checkpoint.key, *keys, *[None] * (len(outs) - 1 - len(keys))]
    return [Checkpoint(found[prefix], key) for prefix, key in zip(prefixes, all_keys, strict=True)]


def _prefixes(model: str, count: int) -> list[str]:
    """What the names of each file's tensors begin with, for a model of `count` files."""
    if model == "abinet":
        return ["vision.", "language."]
    return ["", *(f"prior.{stage}." for stage in range(count - 1))]


def _wanted(model: str, prefixes: Sequence[str]) -> str:
    parts = "the network's and one for each recogniser"
    parts = "one for each branch" if model == "abinet" else parts
    return f"name one, or {len(prefixes)}: {parts}"
