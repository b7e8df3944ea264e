"""Published models that lie in several files: a network, and a recogniser for each of its stages.

They are named as NETWORK.pth,RECOGNIZER_0.pth,RECOGNIZER_1.pth and so on. Together they are one
checkpoint, in which the names of the recognisers' tensors begin with `prior.0.`, `prior.1.`, ...
"""

from collections.abc import Sequence

from textsr_jax.convert import checkpoint_files
from textsr_jax.convert.checkpoint_files import Checkpoint
from textsr_jax.errors import UserError
from textsr_jax.models import GUIDED


def split(model: str, paths: str) -> list[str]:
    """The files that a user named for a model: those between commas, if it may have several."""
    return paths.split(",") if model in GUIDED else [paths]


def read(sources: Sequence[str], entry: str | None) -> tuple[Checkpoint, list[str | None]]:
    """Reads files as one checkpoint.

    Args:
      sources: the network's file, then the recognisers'.
      entry: the entry of the network's file; see `checkpoint_files.read`.

    Returns:
      The checkpoint, with the key of the network's file, and the recognisers' keys.

    Raises:
      UserError: a file cannot be read.
    """
    first, *others = sources
    whole = checkpoint_files.read(first, entry)
    tensors, keys = dict(whole.tensors), []
    for stage, source in enumerate(others):
        recognizer = checkpoint_files.read(source)
        keys.append(recognizer.key)
        tensors |= {_prefix(stage) + name: t for name, t in recognizer.tensors.items()}
    return Checkpoint(tensors, whole.key, whole.beside), keys


def parts(
    checkpoint: Checkpoint, outs: Sequence[str], keys: Sequence[str | None] = ()
) -> list[Checkpoint]:
    """The checkpoint of each file to write: all in one, or the network's and the recognisers'.

    Args:
      checkpoint: a whole one.
      outs: the files.
      keys: the recognisers' keys; None, the whole file, for those that are not in it.

    Raises:
      UserError: there is neither one file nor one for each part.
    """
    if len(outs) == 1:
        return [checkpoint]
    found: list[Checkpoint] = []
    rest = dict(checkpoint.tensors)
    while inside := {name: t for name, t in rest.items() if name.startswith(_prefix(len(found)))}:
        rest = {name: t for name, t in rest.items() if name not in inside}
        stage = len(found)
        key = keys[stage] if stage < len(keys) else None
        named = {name.removeprefix(_prefix(stage)): t for name, t in inside.items()}
        found.append(Checkpoint(named, key))
    if len(outs) != len(found) + 1:
        raise UserError(
            f"--out={','.join(outs)}: {len(outs)} files; name one, or {len(found) + 1}: the "
            "network's and one for each recogniser"
        )
    return [Checkpoint(rest, checkpoint.key), *found]


def _prefix(stage: int) -> str:
    return f"prior.{stage}."
