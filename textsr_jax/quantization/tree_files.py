"""Saves trees of quantised and plain arrays, each in one file, and loads them.

Codes of M bits take M bits each. The file is a safetensors file with a JSON record and a digest
(`sealed_files`). No pickles, no code.
"""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from textsr_jax.errors import UserError
from textsr_jax.quantization import leaf_arrays, sealed_files
from textsr_jax.quantization.sealed_files import Damaged, Foreign
from textsr_jax.quantization.tree import Keys, Leaf, Tree, distinct_leaves, is_quantized
from textsr_jax.runtime import atomic

# The key of the record in a file's header. It marks a saved tree.
_MARK = "textsr_jax_tree"
_VERSION = 1
_FIELDS = {"version", "structure", "foreign", "leaves", "paths"}
# Trees are walked by recursion.
_MAX_DEPTH = 100


def save(path: str | pathlib.Path, tree: Tree) -> int:
    """Writes a tree, whole or not at all; returns the size of the file in bytes.

    The file keeps the structure of dicts whose keys are texts or whole numbers, of lists, tuples
    and None. Other nodes, such as modules and states of Flax or Equinox, are classes, which a file
    does not name: `load` then needs a tree `like` it. A leaf that several places share is written
    once.

    Args:
      path: the file.
      tree: any pytree of `QuantizedArray`, arrays (of bool, whole, real or complex numbers of 8 to
        64 bits, with bfloat16 and float16) and Python's numbers, which become arrays.

    Raises:
      UserError: a leaf is no such array, or the file cannot be written.
    """
    leaves = distinct_leaves(tree)
    packed = [leaf for _, leaf in leaves if is_quantized(leaf)]
    arrays, records = leaf_arrays.to_arrays(packed)
    waiting = iter(records)
    written: list[dict[str, Any] | None] = []
    numbers: dict[Keys, int] = {}
    for number, (places, leaf) in enumerate(leaves):
        numbers |= dict.fromkeys(places, number)
        if is_quantized(leaf):
            written.append(next(waiting))
        else:
            written.append(None)
            arrays[str(number)] = _array(leaf, _path(places[0]))
    foreign: list[str] = []
    structure = _structure(tree, (), numbers, foreign)
    record = {
        "version": _VERSION,
        "structure": None if foreign else structure,
        "foreign": foreign[0] if foreign else None,
        "leaves": written,
        "paths": [
            [_path(keys), numbers[keys]]
            for keys, _ in jax.tree_util.tree_leaves_with_path(tree, is_leaf=is_quantized)
        ],
    }
    content = sealed_files.to_bytes(arrays, json.dumps(record, separators=(",", ":")), _MARK)
    atomic.write_bytes(path, content)
    return len(content)


def load(path: str | pathlib.Path, like: Tree = None) -> Tree:
    """Reads a tree that `save` wrote, and checks all of it; nothing in it is ever run.

    Args:
      path: the file.
      like: a tree of the same structure, whose leaves are arrays, `jax.ShapeDtypeStruct` or
        `QuantizedArray` of the same shapes, such as a freshly made module. None where the tree
        holds only dicts, lists, tuples and None.

    Returns:
      The tree. Its arrays are on JAX's default device. Those of 64 bits, which JAX would round, are
      numpy arrays. Places that shared a leaf share it again.

    Raises:
      UserError: the file is missing, damaged or no saved tree; `like` is missing or does not fit.
    """
    path = pathlib.Path(path)
    content = sealed_files.read_content(path, "a saved tree", "quantization.save")
    try:
        record = _checked(path, sealed_files.read_record(content, _MARK))
        leaves = _leaves(record, sealed_files.read_arrays(content))
        if like is not None:
            return _filled(path, like, [(name, leaves[number]) for name, number in record["paths"]])
        if record["foreign"] is not None:
            raise UserError(
                f"{path}: holds {record['foreign']}, a class that a file does not make; give a "
                "tree of the same structure: load(path, like=tree)"
            )
        return _tree(record["structure"], leaves)
    except Damaged as error:
        raise UserError(
            f"{path}: a damaged saved tree ({error}); copy it again or save it again"
        ) from error
    except Foreign as error:
        what = "no saved tree, or a damaged one; name one that quantization.save wrote"
        if error.safetensors:
            what = (
                "a safetensors file, but not a saved tree; name one that quantization.save wrote, "
                "or read packed models with textsr_jax.load"
            )
        raise UserError(f"{path}: {what}") from error


def _path(keys: Keys) -> str:
    return jax.tree_util.keystr(keys, simple=True, separator="/")


def _array(leaf: Leaf, path: str) -> np.ndarray:
    """A leaf that is not quantised as a file holds it."""
    if isinstance(leaf, bool | int | float | complex | np.generic):
        leaf = np.asarray(leaf)
    if not isinstance(leaf, np.ndarray | jax.Array):
        raise UserError(
            f"{path}: a {type(leaf).__name__} cannot be saved, only arrays; save a tree of arrays"
        )
    if not isinstance(leaf.dtype, np.dtype) or not sealed_files.holds(leaf.dtype):
        raise UserError(f"{path}: an array of {leaf.dtype} cannot be saved; convert it")
    return np.asarray(leaf)


def _structure(node: Tree, keys: Keys, numbers: Mapping[Keys, int], foreign: list[str]) -> Any:
    """The structure of a tree as JSON holds it; nodes of other classes are added to `foreign`."""
    if keys in numbers:
        return numbers[keys]
    if len(keys) > _MAX_DEPTH:
        raise UserError(f"{_path(keys[:3])}: its tree is more than {_MAX_DEPTH} deep; flatten it")
    if node is None:
        return None
    if type(node) is dict and all(type(key) in (str, int) for key in node):
        return {
            "dict": [
                [key, _structure(child, (*keys, jax.tree_util.DictKey(key)), numbers, foreign)]
                for key, child in node.items()
            ]
        }
    if type(node) in (list, tuple):
        return {
            type(node).__name__: [
                _structure(child, (*keys, jax.tree_util.SequenceKey(place)), numbers, foreign)
                for place, child in enumerate(node)
            ]
        }
    place = f"at {_path(keys)!r}" if keys else "at its top"
    foreign.append(f"{type(node).__module__}.{type(node).__qualname__} {place}")
    return None


def _checked(path: pathlib.Path, record: object) -> dict[str, Any]:
    """A record whose fields are of the right kinds."""
    if not isinstance(record, dict):
        raise Damaged("its record cannot be read")
    if record.get("version") != _VERSION:
        raise UserError(
            f"{path}: a saved tree of version {record.get('version')!r}, and this program reads "
            f"version {_VERSION}; update the older of the two"
        )
    leaves, paths = record.get("leaves"), record.get("paths")
    foreign = record.get("foreign")
    if (
        record.keys() != _FIELDS
        or not isinstance(leaves, list)
        or not all(about is None or isinstance(about, dict) for about in leaves)
        or not isinstance(paths, list)
        or not (foreign is None or (isinstance(foreign, str) and foreign.isprintable()))
    ):
        raise Damaged("its record has values of a wrong kind")
    for place in paths:
        sound = isinstance(place, list) and len(place) == 2 and isinstance(place[0], str)
        if not sound or type(place[1]) is not int or not 0 <= place[1] < len(leaves):
            raise Damaged("its paths cannot be read")
    return record


def _leaves(record: Mapping[str, Any], arrays: dict[str, np.ndarray]) -> list[Leaf]:
    """All leaves of a file, checked."""
    reader = leaf_arrays.LeafReader(arrays)
    found: list[Leaf] = []
    for number, about in enumerate(record["leaves"]):
        if about is not None:
            found.append(reader.next(f"leaf {number}", about))
        elif str(number) in arrays:
            found.append(arrays.pop(str(number)))
        else:
            raise Damaged(f"leaf {number} has no array")
    reader.check_used()
    if arrays:
        raise Damaged(f"{min(arrays)!r} is no leaf")
    # All arrays in one transfer: there may be many.
    put = iter(jax.device_put([leaf for leaf in found if _is_exact(leaf)]))
    return [next(put) if _is_exact(leaf) else leaf for leaf in found]


def _is_exact(leaf: Leaf) -> bool:
    """Whether JAX holds the leaf as it is, and does not round it to 32 bits."""
    return is_quantized(leaf) or jax.dtypes.canonicalize_dtype(leaf.dtype) == leaf.dtype


def _tree(structure: Any, leaves: list[Leaf], depth: int = 0) -> Tree:
    if structure is None:
        return None
    if type(structure) is int and 0 <= structure < len(leaves):
        return leaves[structure]
    if isinstance(structure, dict) and len(structure) == 1 and depth <= _MAX_DEPTH:
        ((kind, children),) = structure.items()
        if kind in ("list", "tuple") and isinstance(children, list):
            nodes = [_tree(child, leaves, depth + 1) for child in children]
            return nodes if kind == "list" else tuple(nodes)
        if kind == "dict" and isinstance(children, list):
            made: dict[str | int, Tree] = {}
            for child in children:
                pair = isinstance(child, list) and len(child) == 2
                if not pair or type(child[0]) not in (str, int) or child[0] in made:
                    raise Damaged("its structure cannot be read")
                made[child[0]] = _tree(child[1], leaves, depth + 1)
            return made
    raise Damaged("its structure cannot be read")


def _filled(path: pathlib.Path, like: Tree, named: list[tuple[str, Leaf]]) -> Tree:
    """The tree `like` with the leaves of a file, which come in the order of JAX."""
    places, structure = jax.tree_util.tree_flatten_with_path(like, is_leaf=is_quantized)
    for number in range(max(len(places), len(named))):
        wanted = _path(places[number][0]) if number < len(places) else None
        name = named[number][0] if number < len(named) else None
        if wanted != name:
            raise UserError(
                f"{path}: its leaf {number} is {name!r}, and that of `like` {wanted!r}; give a "
                "tree of the same structure"
            )
        shape, given = named[number][1].shape, getattr(places[number][1], "shape", None)
        if given is not None and tuple(given) != tuple(shape):
            raise UserError(
                f"{path}: {name!r} has shape {tuple(shape)}, and that of `like` {tuple(given)}; "
                "give a tree of the same shapes"
            )
    return jax.tree.unflatten(structure, [leaf for _, leaf in named])
