"""Digests of arrays and records, kept beside them, so that damage on the disk is seen.

SHA-256, computed on the host by several threads; an array's digest depends on no layout of devices.
"""

import concurrent.futures
import hashlib
import json
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils


def of_arrays(tree: Any) -> dict[str, list[Any]]:
    """The dtype, shape and SHA-256 of each array of a tree, by its path such as `params/kernel`.

    Of arrays whose parts lie with several processes, all of these have to call it.
    """

    def entry(array: np.ndarray) -> list[Any]:
        # ascontiguousarray alone would give a scalar an axis.
        content = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        return [array.dtype.name, list(array.shape), hashlib.sha256(content).hexdigest()]

    with concurrent.futures.ThreadPoolExecutor() as threads:
        # One after the other: several processes put an array together at the same time.
        asked = {
            jax.tree_util.keystr(keys, simple=True, separator="/"): threads.submit(
                entry, _whole(leaf)
            )
            for keys, leaf in jax.tree_util.tree_leaves_with_path(tree)
        }
        return {path: future.result() for path, future in asked.items()}


def of_json(content: Any) -> str:
    """The SHA-256 of what JSON keeps of `content`."""
    plain = json.dumps(content, sort_keys=True)
    return hashlib.sha256(plain.encode()).hexdigest()


def _whole(leaf: Any) -> np.ndarray:
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        if leaf.is_fully_replicated:
            return np.asarray(leaf.addressable_data(0))
        leaf = multihost_utils.process_allgather(leaf, tiled=True)
    return np.asarray(leaf)
