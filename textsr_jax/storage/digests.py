"""Digests of arrays and records, which are saved with them to detect damage on the disk.

They are SHA-256, computed on the host by several threads. How an array lies on devices does not
change its digest.
"""

import concurrent.futures
import functools
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.typing import ArrayLike

from textsr_jax.runtime.atomic import JSON


def of_arrays(tree: object) -> dict[str, list[Any]]:
    """Returns [dtype, shape, SHA-256] of each array of a tree, by paths such as `params/kernel`.

    If processes hold parts of the same array, all of them must call it.
    """

    def entry(array: np.ndarray) -> list[Any]:
        # ascontiguousarray alone would give a scalar an axis.
        content = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        return [array.dtype.name, list(array.shape), hashlib.sha256(content.data).hexdigest()]

    with concurrent.futures.ThreadPoolExecutor() as threads:
        # In the same order everywhere: several processes assemble an array together.
        asked = {
            jax.tree_util.keystr(keys, simple=True, separator="/"): threads.submit(
                entry, _whole(leaf)
            )
            for keys, leaf in jax.tree_util.tree_leaves_with_path(tree)
        }
        return {path: future.result() for path, future in asked.items()}


def shapes(arrays: Mapping[str, list[Any]]) -> dict[str, Any]:
    """Returns the tree of shapes and dtypes that `of_arrays` was called with."""
    tree: dict[str, Any] = {}
    for path, (dtype, shape, _) in arrays.items():
        *above, name = path.split("/")
        branch = functools.reduce(lambda branch, key: branch.setdefault(key, {}), above, tree)
        branch[name] = jax.ShapeDtypeStruct(tuple(shape), jnp.dtype(dtype))
    return tree


def of_json(content: JSON) -> str:
    """Returns the SHA-256 of `content` as JSON with sorted keys."""
    plain = json.dumps(content, sort_keys=True)
    return hashlib.sha256(plain.encode()).hexdigest()


def _whole(leaf: ArrayLike) -> np.ndarray:
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        if leaf.is_fully_replicated:
            return np.asarray(leaf.addressable_data(0))
        leaf = multihost_utils.process_allgather(leaf, tiled=True)
    return np.asarray(leaf)
