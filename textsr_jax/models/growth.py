"""A recogniser of a larger size that begins as a smaller one left off.

After "Net2Net: Accelerating Learning via Knowledge Transfer" (Chen et al., 2016); here new channels
are drawn and nobody listens to them yet, rather than being copies of old ones.
"""

import re
from typing import Any

import jax
import jax.numpy as jnp

from textsr_jax.errors import UserError
from textsr_jax.models.network import Network, Variables

_BLOCK = re.compile(r"backbone/stages/\d+/\d+/")
_LAYER = re.compile(r"encoder/(\d+)/")


def grow(variables: Variables, network: Network, key: jax.Array) -> Variables:
    """The variables of a larger CDistNet that computes nearly what a smaller one does.

    Channels of the backbone and hidden units may be more: old ones read old ones alone, new ones,
    whose kernels are drawn, read all. Blocks of a stage may be more: they begin as the identity. If
    that is all, outside training the network computes the same. Layers of the encoder may be more:
    they begin as the identity but for normalising anew what is normalised already.

    Args:
      variables: of the smaller network.
      network: the larger one, of the same width.
      key: draws the new kernels.

    Raises:
      UserError: in some tensor the network is smaller, or it is no CDistNet.
    """
    old, fresh = (dict(_leaves(tree)) for tree in (variables, network.init(key)))
    if missing := sorted(old.keys() - fresh.keys()):
        raise UserError(f"{missing[0]}: the larger network has no such tensor; take a larger one")
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: _grown(_name(path), leaf, old), network.init(key)
    )


def _grown(name: str, leaf: jax.Array, old: dict[str, jax.Array]) -> jax.Array:
    kept = old.get(name)
    if kept is None:
        return _beginning(name, leaf, old)
    if kept.ndim != leaf.ndim or any(a > b for a, b in zip(kept.shape, leaf.shape, strict=True)):
        raise UserError(f"{name}: {kept.shape} does not fit into the larger network's {leaf.shape}")
    if name.endswith("/kernel") and kept.shape != leaf.shape:
        # What is old must not hear what is new.
        leaf = leaf.at[..., kept.shape[-2] :, : kept.shape[-1]].set(0)
    return leaf.at[tuple(slice(size) for size in kept.shape)].set(kept)


def _beginning(name: str, leaf: jax.Array, old: dict[str, jax.Array]) -> jax.Array:
    """What a tensor of a new block or layer begins with."""
    if _BLOCK.search(name):
        return jnp.zeros_like(leaf) if name.endswith("conv2/bn/scale") else leaf
    layer = _LAYER.search(name)
    if layer is None:
        raise UserError(f"{name}: only blocks of the backbone and layers of the encoder can be new")
    if re.search(r"(out_proj|linear2)/", name):
        return jnp.zeros_like(leaf)
    if "/norm" in name:
        # The layer before ends with a scale and a bias, which a normalisation would undo.
        last = max(int(n) for n in (m.group(1) for m in map(_LAYER.search, old) if m))
        before = name[: layer.start(1)] + f"{last}/norm2/"
        scale, bias = old[before + "scale"], old[before + "bias"]
        if name.endswith("/bias"):
            return jnp.full_like(leaf, bias.mean())
        return jnp.full_like(leaf, jnp.sqrt((scale**2).mean() + bias.var()))
    return leaf


def _leaves(tree: Any) -> list[tuple[str, jax.Array]]:
    return [(_name(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]


def _name(path: tuple[Any, ...]) -> str:
    return "/".join(str(key.key) for key in path)
