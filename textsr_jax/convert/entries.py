"""Which entry of a checkpoint file holds the tensors: published code keeps more than them in it.

Entries are named by the path to them, such as `model.sr`.
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from textsr_jax.convert.pickles import Key
from textsr_jax.convert.rebuilding import Other, Tensor
from textsr_jax.errors import UserError, escaped

# Where published code keeps the state dict, beside epochs, scores and optimisers. The first one
# there is taken.
_KEYS = ("state_dict_G", "state_dict", "model", "net")
# How deep entries are looked for, how long their names may be, and how many a message lists.
_DEEPEST, _LONGEST, _MOST_LISTED = 8, 64, 12


@dataclass(frozen=True)
class StateDict:
    """The tensors of a file, by name; an `Other` is a tensor that is not plain.

    Attributes:
      tensors: in the file's order.
      key: the entry that holds them; None where they are the whole file.
      beside: the paths to everything else in the file.
    """

    tensors: dict[str, Tensor | Other]
    key: str | None
    beside: tuple[str, ...]


def choose(path: pathlib.Path, content: object, entry: str | None) -> StateDict:
    """Finds the state dict in what a file holds.

    Args:
      path: the file, for messages.
      content: what `pickles.load` returned.
      entry: the entry that the user names; None to take the only one.

    Raises:
      UserError: no entry holds tensors, or several do and the user names none of them.
    """
    if not isinstance(content, dict):
        kind = content.kind if isinstance(content, Other) else f"a {type(content).__name__}"
        raise UserError(f"{path}: holds {kind}, not a dict of tensors; save a state dict in it")
    holding: dict[int, bool] = {}
    nodes = {}
    for node in _nodes(content):
        # A dict that has many names is searched once.
        if id(node.content) not in holding:
            holding[id(node.content)] = bool(node.tensors())
        if holding[id(node.content)]:
            nodes[node.way] = node
    if entry is not None:
        if entry not in nodes:
            raise UserError(
                f"{path}: --entry={escaped(entry, 200)} holds no tensors; its entries that do: "
                f"{_listed(filter(None, nodes))}"
            )
        return nodes[entry].state_dict()
    for known in _KEYS:
        if known in nodes:
            return nodes[known].state_dict()
    for depth in range(_DEEPEST + 1):
        level = [node for node in nodes.values() if node.depth == depth]
        if len(level) == 1:
            return level[0].state_dict()
        if level:
            raise UserError(
                f"{path}: tensors are in several of its entries: "
                f"{_listed(node.way for node in level)}; choose one, --entry="
                f"{escaped(level[0].way, 200)}"
            )
    raise UserError(
        f"{path}: no state dict under any of {', '.join(_KEYS)}, nor tensors at its top; its "
        f"entries: {_listed(map(_name, content))}"
    )


@dataclass(frozen=True, eq=False)
class _Node:
    """A dict in a file, and the path to it."""

    content: dict[str | Key, Any]
    name: str = ""
    parent: _Node | None = None
    depth: int = 0

    @property
    def way(self) -> str:
        if self.parent is None:
            return ""
        return f"{self.parent.way}.{self.name}" if self.parent.name else self.name

    def tensors(self) -> dict[str, Tensor | Other]:
        return {
            name: value
            for name, value in self.content.items()
            if isinstance(name, str) and _is_tensor(value)
        }

    def state_dict(self) -> StateDict:
        tensors = self.tensors()
        beside = [name for name in map(_name, self.content) if name not in tensors]
        node = self
        while node.parent is not None:
            beside = [f"{node.name}.{name}" for name in beside]
            beside = [n for n in map(_name, node.parent.content) if n != node.name] + beside
            node = node.parent
        return StateDict(tensors, self.way or None, tuple(beside))


def _nodes(content: dict[str | Key, Any]) -> Iterator[_Node]:
    """Yields every dict under each of its names, those nearer to the top first."""
    opened, level = set(), [_Node(content)]
    while level:
        yield from level
        below = []
        for node in level:
            # A dict with several names is opened once: there may be 2 ** 8 paths to it.
            if id(node.content) in opened or node.depth == _DEEPEST:
                continue
            opened.add(id(node.content))
            for key, value in node.content.items():
                name = _name(key)
                if isinstance(value, dict) and 0 < len(name) <= _LONGEST:
                    below.append(_Node(value, name, node, node.depth + 1))
        level = below


def _name(key: str | Key) -> str:
    return key if isinstance(key, str) else key.text


def _is_tensor(value: object) -> bool:
    return isinstance(value, Tensor) or (isinstance(value, Other) and value.tensor)


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    told = ", ".join(escaped(name, _LONGEST) for name in names[:_MOST_LISTED])
    more = len(names) - _MOST_LISTED
    return (f"{told} and {more:,} more" if more > 0 else told) or "none"
