"""ACIQ as a transform of parameter trees: leaves become packed arrays, and plain arrays again.

Models never see it: dequantise the tree, inside jit if the packed weights shall stay in memory.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from textsr_jax.errors import UserError
from textsr_jax.quantization import aciq
from textsr_jax.quantization.rules import Rule, first_match

# A tree is a nested dict whose leaves are arrays or, once quantised, `QuantizedArray`.
Tree = Any


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=("codes", "offset", "scale"),
    meta_fields=("shape", "dtype", "bits", "prior", "axis"),
)
@dataclasses.dataclass(frozen=True)
class QuantizedArray:
    """A tensor as codes of `bits` bits: value = offset + code x scale.

    Invariants:
      - `codes` is uint8 (ceil(size x bits / 8),): the codes in C order as one stream of bits, the
        lowest bit of a code and of a byte first, zeros behind the last code (see `pack`).
      - `offset` and `scale` are finite float32, () if `axis` is None, else (shape[axis],);
        scale >= 0, and where it is 0 every code is 0.
      - `shape` and `dtype` (float32 or bfloat16) are those of the tensor; 2 <= bits <= 8;
        0 <= axis < len(shape).
      - `prior` is the one that set the range, one of `aciq.PRIORS`, and never "auto".
    It is a pytree: codes, offset and scale are its leaves, the rest is static.
    """

    codes: jax.Array
    offset: jax.Array
    scale: jax.Array
    shape: tuple[int, ...]
    dtype: np.dtype
    bits: int
    prior: str
    axis: int | None

    @property
    def size(self) -> int:
        """The number of elements of the tensor."""
        return math.prod(self.shape)


def pack(codes: jax.Array, bits: int) -> jax.Array:
    """Packs uint8 `codes` below 2^bits, of any shape, to uint8 (ceil(codes.size x bits / 8),).

    A stream of bits, lowest first. Eight codes fill exactly `bits` bytes, so that each byte of such
    a group is a fixed mix of shifted codes. Works inside jit.
    """
    groups = _in_groups(codes.reshape(-1), 8)
    columns = []
    for byte in range(bits):
        parts = [
            _shift(groups[:, code], code * bits - byte * 8)
            for code in range(byte * 8 // bits, -(-(byte + 1) * 8 // bits))
        ]
        columns.append(functools.reduce(jnp.bitwise_or, parts))
    return jnp.stack(columns, axis=1).reshape(-1)[: packed_size(codes.size, bits)]


def unpack(buffer: jax.Array, bits: int, count: int) -> jax.Array:
    """The `count` codes that `pack` put into `buffer`; uint8 (count,). Works inside jit.

    Raises:
      ValueError: the buffer is not of the size that `count` codes take.
    """
    if buffer.shape != (packed_size(count, bits),):
        size = packed_size(count, bits)
        raise ValueError(f"{count} codes of {bits} bits take ({size},) bytes, not {buffer.shape}")
    groups = _in_groups(buffer, bits)
    columns = []
    for code in range(8):
        parts = [
            _shift(groups[:, byte], byte * 8 - code * bits)
            for byte in range(code * bits // 8, -(-(code + 1) * bits // 8))
        ]
        columns.append(functools.reduce(jnp.bitwise_or, parts) & (2**bits - 1))
    return jnp.stack(columns, axis=1).reshape(-1)[:count]


def packed_size(count: int, bits: int) -> int:
    """The bytes that `count` codes of `bits` bits take."""
    return -(-count * bits // 8)


def quantize(tree: Tree, rules: Sequence[Rule]) -> Tree:
    """Turns every leaf that `rules` select into a `QuantizedArray`; other leaves stay the same.

    The first rule that matches a leaf's path decides. Not for use inside jit: it checks values.

    Raises:
      UserError: rules that ask for bits but select no leaf; a selected leaf that is not float32 or
        bfloat16, or is quantised already, or has values that are not finite or overflow its range.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(tree, is_leaf=is_quantized)
    paths = [leaf_path(keys) for keys, _ in leaves]
    chosen = [first_match(rules, path) for path in paths]
    if not any(chosen) and any(rule.bits is not None for rule in rules):
        patterns = ", ".join(repr(rule.pattern) for rule in rules)
        example = f", such as {paths[0]!r}" if paths else ""
        raise UserError(
            f"rules {patterns} match none of the {len(paths)} leaves{example}; mend them"
        )
    quantized = [
        leaf if rule is None else _quantize_leaf(leaf, rule, path)
        for (_, leaf), rule, path in zip(leaves, chosen, paths, strict=True)
    ]
    return structure.unflatten(quantized)


def dequantize(tree: Tree) -> Tree:
    """Turns every `QuantizedArray` into an array of its shape and dtype; other leaves are the same.

    Works inside jit, so that only the packed weights need to lie in memory between calls.
    """
    return jax.tree.map(
        lambda leaf: _dequantize_leaf(leaf) if is_quantized(leaf) else leaf,
        tree,
        is_leaf=is_quantized,
    )


def is_quantized(leaf: Any) -> bool:
    """Whether a node of a tree is a `QuantizedArray`: the `is_leaf` of walks over such trees."""
    return isinstance(leaf, QuantizedArray)


def leaf_path(keys: tuple[Any, ...]) -> str:
    """The path that rules see: JAX's keys joined by "/", below a top-level `params` or `stats`."""
    if len(keys) > 1 and leaf_kind(keys) is not None:
        keys = keys[1:]
    return jax.tree_util.keystr(keys, simple=True, separator="/")


def leaf_kind(keys: tuple[Any, ...]) -> str | None:
    """The top-level key of a leaf if it is `params` or `stats`, else None."""
    top = jax.tree_util.keystr(keys[:1], simple=True)
    return top if top in ("params", "stats") else None


def _quantize_leaf(leaf: jax.Array, rule: Rule, path: str) -> QuantizedArray:
    if is_quantized(leaf):
        raise UserError(f"{path}: quantised to {leaf.bits} bits already; dequantize the tree first")
    dtype = np.dtype(leaf.dtype)
    if dtype not in (np.dtype(jnp.float32), np.dtype(jnp.bfloat16)):
        raise UserError(f"{path}: {dtype.name} cannot be quantised; convert it to float32")
    if not bool(jnp.isfinite(leaf).all()):
        raise UserError(
            f"{path}: not all values are finite; take a checkpoint from before they grew"
        )
    axis = leaf.ndim - 1 if rule.per_channel and leaf.ndim > 1 else None
    prior = rule.prior
    if prior == "auto":
        errors = {p: float(_squared_error(leaf, rule.bits, p, axis)) for p in aciq.PRIORS}
        prior = min(aciq.PRIORS, key=lambda p: math.inf if math.isnan(errors[p]) else errors[p])
    codes, offset, scale = _encode_packed(leaf, rule.bits, prior, axis)
    if not bool(jnp.isfinite(offset).all() & jnp.isfinite(scale).all()):
        raise UserError(f"{path}: values too large for a {prior} range; rescale the tensor")
    return QuantizedArray(codes, offset, scale, leaf.shape, dtype, rule.bits, prior, axis)


_squared_error = jax.jit(aciq.squared_error, static_argnums=(1, 2, 3))


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def _encode_packed(
    x: jax.Array, bits: int, prior: str, axis: int | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    offset, scale = aciq.fit_range(x, bits, prior, axis)
    return pack(aciq.encode(x, offset, scale, bits, axis), bits), offset, scale


@jax.jit
def _dequantize_leaf(leaf: QuantizedArray) -> jax.Array:
    codes = unpack(leaf.codes, leaf.bits, leaf.size).reshape(leaf.shape)
    return aciq.decode(codes, leaf.offset, leaf.scale, leaf.axis).astype(leaf.dtype)


def _in_groups(values: jax.Array, size: int) -> jax.Array:
    """Reshapes (count,) to (groups, size), with zeros behind the last value."""
    return jnp.pad(values, (0, -values.size % size)).reshape(-1, size)


def _shift(values: jax.Array, left: int) -> jax.Array:
    """Shifts uint8 values left, or right if `left` is negative; bits beyond the byte are lost."""
    return values << left if left >= 0 else values >> -left
