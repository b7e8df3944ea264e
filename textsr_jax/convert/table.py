"""Name tables: how the tensors of a published PyTorch checkpoint fill a parameter tree of ours.

A table maps our paths to published names, one to one, so it works in both directions.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from textsr_jax.errors import UserError, escaped

# PyTorch's names for the leaves of Flax's layers. Any other leaf keeps its name.
_LEAF_NAMES = {
    "kernel": "weight",
    "scale": "weight",
    "embedding": "weight",
    "mean": "running_mean",
    "var": "running_var",
}

# Why a published tensor has no leaf.
UNUSED, COMPUTED = "never used", "computed"

# Prefixes that wrappers put before every name: data-parallel and sharded training,
# `torch.compile`, checkpointing of activations, averages of weights. Lightning modules and others
# hold the network as an attribute. No published network has a part with such a name.
_WRAPPERS = (
    "module|_orig_mod|_forward_module|_fsdp_wrapped_module|_checkpoint_wrapped_module|ema_model"
)
_OWNERS = "model|net|network|generator|netG|net_g"
_PREFIX = re.compile(rf"(?:(?:{_WRAPPERS}|{_OWNERS})\.)+")
# A part of the network may have been wrapped too.
_INNER = re.compile(rf"(?<=\.)(?:{_WRAPPERS})\.")
_COUNTERS = r"(.*\.)?num_batches_tracked|n_averaged"
_SUM = re.compile(r"\{(\w+)\+(\d+)\}")


@dataclass(frozen=True)
class PublishedOnly:
    """Parameters of a published checkpoint that our network does not have, to count sizes.

    Attributes:
      names: a regular expression of their whole published names.
      shape: the shape of each tensor.
      count: how many tensors there are.
      quantized: whether the paper quantises them.
    """

    names: str
    shape: tuple[int, ...]
    count: int = 1
    quantized: bool = False

    @property
    def size(self) -> int:
        """The number of parameters of all tensors."""
        return self.count * math.prod(self.shape)


@dataclass(frozen=True)
class NameTable:
    """Where the tensors of one published checkpoint go. All patterns are regular expressions.

    Attributes:
      renames: patterns with their replacements, which turn our names into published ones. They are
        applied one after another with `re.sub`. Our name is the leaf's path joined by dots, with
        PyTorch's word for the leaf: `convs/0/bn/mean` enters as `convs.0.bn.running_mean`; any
        `kernel`, `scale` or `embedding` enters as `weight`. Sums in braces are computed last:
        `block{3+2}`, or `block{blocks+2}` with the number of blocks. No two leaves may get the same
        published name.
      pointwise: published kernels (whole names) that are 1x1 convolutions (out, in, 1, 1) where
        ours are linear layers (in, out).
      unused: published tensors (whole names) that the forward pass never uses; they are dropped.
      constants: published tensors (whole names) that our network computes itself; they are dropped
        too.
      blocks: how many blocks the network has, where published names go on counting after them.
    """

    renames: tuple[tuple[str, str], ...] = ()
    pointwise: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    constants: tuple[str, ...] = ()
    blocks: int = 0

    def published_name(self, path: str) -> str:
        """The published name of our leaf at `path`, such as `body/0/conv1/kernel`."""
        *modules, leaf = path.split("/")
        name = ".".join([*modules, _LEAF_NAMES.get(leaf, leaf)])
        for pattern, replacement in self.renames:
            name = re.sub(pattern, replacement, name)
        return _SUM.sub(lambda found: str(self._number(found[1]) + int(found[2])), name)

    def _number(self, word: str) -> int:
        return self.blocks if word == "blocks" else int(word)

    def axes(self, path: str, rank: int) -> tuple[int, ...]:
        """The transposition from the published tensor to our leaf of `rank` axes at `path`.

        A `pointwise` tensor is taken without its two last axes of length 1.
        """
        if path.split("/")[-1] != "kernel":
            return tuple(range(rank))
        # Convolutions go from (out, in, height, width) to (height, width, in, out), linear layers
        # from (out, in) to (in, out).
        return (*range(2, rank), 1, 0)

    def published_shape(self, path: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape that the published tensor for our leaf of `shape` at `path` must have."""
        published = tuple(shape[axis] for axis in np.argsort(self.axes(path, len(shape))))
        return (*published, 1, 1) if self.is_pointwise(self.published_name(path)) else published

    def is_pointwise(self, name: str) -> bool:
        """Whether the published kernel `name` is a 1x1 convolution where ours is linear."""
        return _matches(self.pointwise, name)

    def published(self, template: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
        """The published tensors that fill a tree, and their shapes."""
        return {
            self.published_name(path): self.published_shape(path, leaf.shape)
            for path, leaf in leaves(template)
        }

    def why_dropped(self, name: str) -> str | None:
        """`UNUSED` or `COMPUTED` for a published tensor that may have no leaf, otherwise None.

        BatchNorm's `num_batches_tracked` is unused too.
        """
        if _matches((_COUNTERS, *self.unused), name):
            return UNUSED
        return COMPUTED if _matches(self.constants, name) else None


def leaves(tree: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yields every leaf of {"params": ..., "stats": ...}, after its path below these two."""
    for keys, leaf in jax.tree_util.tree_leaves_with_path(tree):
        yield "/".join(key.key for key in keys[1:]), leaf


def bare_name(name: str) -> str:
    """A published name without what wrappers have added, such as `module._orig_mod.`."""
    return _INNER.sub("", name[len(prefix(name)) :])


def prefix(name: str) -> str:
    """The prefix that wrappers have put before a name."""
    found = _PREFIX.match(name)
    # A name that is all prefix keeps its last part.
    return found[0] if found and found.end() < len(name) else ""


def to_tree(
    table: NameTable, state_dict: Mapping[str, np.ndarray], template: Mapping[str, Any]
) -> dict[str, Any]:
    """Fills the parameter tree that `template` describes from a published checkpoint.

    Names may hold what wrappers add: see `bare_name`.

    Args:
      table: the name table of the network.
      state_dict: published tensors by name, in PyTorch's layout.
      template: {"params": nested dicts, "stats": nested dicts} with string keys whose leaves have
        `shape` and `dtype` (arrays or `jax.ShapeDtypeStruct`).

    Returns:
      A tree like `template` of numpy arrays in its dtypes.

    Raises:
      UserError: a tensor is missing, unknown, not finite, or there twice, or has another shape or
        is not of floating point. The message names the tensor alone.
      ValueError: the table gives two leaves the same published name.
    """
    tensors: dict[str, np.ndarray] = {}
    full: dict[str, str] = {}
    for published, tensor in state_dict.items():
        name = bare_name(published)
        if name in tensors:
            raise UserError(
                f"tensor {_quoted(name)} is there twice, as {_quoted(full[name])} and "
                f"{_quoted(published)}; save one of them"
            )
        tensors[name], full[name] = tensor, published
    used = set()

    def fill(keys: tuple[jax.tree_util.DictKey, ...], leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        path = "/".join(key.key for key in keys[1:])
        name = table.published_name(path)
        if name in used:
            raise ValueError(f"the name table sends two leaves to {name!r}, one of them {path!r}")
        if name not in tensors:
            raise UserError(f"tensor {name!r} is missing (it fills {path!r})")
        used.add(name)
        tensor = np.asarray(tensors[name])
        expected = table.published_shape(path, leaf.shape)
        if tensor.shape != expected:
            raise UserError(
                f"tensor {name!r} has shape {tensor.shape}, but the network needs {expected} (for "
                f"{path!r})"
            )
        if not jnp.issubdtype(tensor.dtype, jnp.floating):
            raise UserError(f"tensor {name!r} is {tensor.dtype}, not of floating point")
        if table.is_pointwise(name):
            tensor = tensor[:, :, 0, 0]
        with np.errstate(over="ignore"):
            tensor = tensor.transpose(table.axes(path, len(leaf.shape))).astype(leaf.dtype)
        if not np.isfinite(tensor).all():
            raise UserError(
                f"tensor {name!r} holds NaN, infinite or too large numbers; use a sound checkpoint"
            )
        return np.ascontiguousarray(tensor)

    tree = jax.tree_util.tree_map_with_path(fill, template)
    for name in tensors:
        if name not in used and table.why_dropped(name) is None:
            raise UserError(
                f"tensor {_quoted(full[name])} {np.shape(tensors[name])} is unknown to the network"
            )
    return tree


def to_state_dict(table: NameTable, variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Returns the tensors of a tree by their published names, in PyTorch's layout."""
    tensors = {}
    for path, leaf in leaves(variables):
        array = np.asarray(leaf)
        back = array.transpose(np.argsort(table.axes(path, array.ndim)))
        shape = table.published_shape(path, array.shape)
        tensors[table.published_name(path)] = back.copy(order="C").reshape(shape)
    return tensors


def _quoted(name: str) -> str:
    """A name from a file, for messages."""
    return f"'{escaped(name, 200)}'"


def _matches(patterns: tuple[str, ...], name: str) -> bool:
    return any(re.fullmatch(pattern, name) for pattern in patterns)
