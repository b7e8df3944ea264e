"""ACIQ as a transform of parameter trees: leaves become packed arrays, and plain arrays again.

Models see plain arrays only. Dequantise inside jit to keep the packed weights in memory.
"""

import collections
import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeGuard, cast

import jax
import jax.numpy as jnp
import numpy as np

from textsr_jax.errors import UserError
from textsr_jax.quantization import aciq, groups, packing
from textsr_jax.quantization.rules import Rule, first_match

# The dtypes of the tensors that can be quantised.
DTYPES = tuple(np.dtype(kind) for kind in (np.float32, jnp.bfloat16, np.float16))

_LEAVE_OUT = "leave it out by a rule before the others that has bits=None"

# Any pytree whose leaves are arrays or `QuantizedArray`s; inside jit, tracers.
Tree = Any
Leaf = Any
# JAX's keys on the way to a leaf.
Keys = tuple[Any, ...]


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=("codes", "offset", "scale"),
    meta_fields=("shape", "dtype", "bits", "prior", "axis", "group_size"),
)
@dataclasses.dataclass(frozen=True)
class QuantizedArray:
    """A tensor as codes of few bits: value = offset + code x scale.

    Invariants:
      - `shape` and `dtype`, one of `DTYPES`, are those of the tensor.
      - `bits` is 2 to 8, or a tuple of shape[axis] such numbers, one for each channel.
      - `codes` is uint8, packed by `packing.pack` into ceil(size x bits / 8) bytes, or by
        `packing.pack_channels` if `bits` is a tuple.
      - `offset` and `scale` are finite float32, () if `axis` is None, else (shape[axis],).
        scale >= 0, and where it is 0 every code is 0. 0 <= axis < len(shape).
      - `group_size` is None, or the rows of a group (`groups`). Then `axis` is the last one, `bits`
        is a number, and `offset` and `scale` are (groups, shape[-1]).
      - `prior` is what set the range, one of `aciq.RANGES`, never "auto".
    It is a pytree. Its leaves are codes, offset and scale; the rest is static.
    """

    codes: packing.Array
    offset: packing.Array
    scale: packing.Array
    shape: tuple[int, ...]
    dtype: np.dtype
    bits: int | tuple[int, ...]
    prior: str
    axis: int | None
    group_size: int | None = None

    @property
    def size(self) -> int:
        """The number of elements of the tensor."""
        return math.prod(self.shape)

    @property
    def code_bits(self) -> int:
        """The bits of all codes together, without ranges and without the padding of a last byte."""
        if isinstance(self.bits, tuple):
            return sum(self.bits) * (self.size // max(1, len(self.bits)))
        return self.bits * self.size

    @property
    def range_bits(self) -> int:
        """The bits of the ranges of all groups, as packed files hold them; 0 without groups."""
        return 0 if self.group_size is None else range_bits(self.shape, self.group_size)

    @property
    def mean_bits(self) -> float:
        """The bits for each element: its code's, and its part of a group's range."""
        if isinstance(self.bits, int) and self.group_size is None:
            return self.bits
        return (self.code_bits + self.range_bits) / max(1, self.size)

    @property
    def packed_size(self) -> int:
        """The bytes that `codes` must have."""
        if isinstance(self.bits, tuple):
            return packing.channels_size(self.bits, self.size // max(1, len(self.bits)))
        return packing.packed_size(self.size, self.bits)


def quantize(tree: Tree, rules: Sequence[Rule]) -> Tree:
    """Turns every leaf that `rules` select into a `QuantizedArray`; other leaves stay the same.

    The first rule that matches a leaf's path decides. An array that several places share is
    quantised once and stays shared; a rule matches it by any of its paths. Does not work inside
    jit, since it checks values.

    Args:
      tree: any pytree: nested dicts, lists and tuples, variables of Flax, modules of Equinox.
      rules: looked at in their order.

    Raises:
      UserError: the rules select no leaf although they ask for bits; or a selected leaf is no
        array of one of `DTYPES`, is quantised already, or has values that are not finite or
        overflow its range.
    """
    return _map_selected(tree, rules, _quantize_leaf)


def simulate(tree: Tree, rules: Sequence[Rule]) -> Tree:
    """The values that `dequantize(quantize(tree, rules))` gives, without packing; works inside jit.

    Gradients pass as if nothing were rounded or clipped, so that training with these values changes
    the tree ("straight-through estimator", Bengio et al., 2013). Outside jit, one compilation
    serves every number of bits.

    Raises:
      UserError: as in `quantize`, except that values are not checked.
    """
    return _map_selected(tree, rules, _simulate_leaf)


def dequantize(tree: Tree) -> Tree:
    """Turns every `QuantizedArray` into an array of its shape and dtype; other leaves are the same.

    Works inside jit, so that only the packed weights stay in memory between calls. Outside jit, a
    leaf that several places share stays shared.
    """
    plain = {
        id(leaf): _dequantize_leaf(leaf) for _, leaf in distinct_leaves(tree) if is_quantized(leaf)
    }
    return jax.tree.map(lambda leaf: plain.get(id(leaf), leaf), tree, is_leaf=is_quantized)


def is_quantized(leaf: Leaf) -> TypeGuard[QuantizedArray]:
    """Whether a node of a tree is a `QuantizedArray`; serves as `is_leaf` of JAX's functions."""
    return isinstance(leaf, QuantizedArray)


def summary(tree: Tree) -> str:
    """What is quantised in a tree, and how, such as "65 kernels: 65 minmax at 8 bits".

    A leaf's prior is the one that set its range, even if a rule asked for "auto". Bits by channel
    are shown as their mean, and the ranges of groups are added to those of codes. Leaves of several
    names are called "arrays".
    """
    names: set[str] = set()
    ways: collections.Counter[str] = collections.Counter()
    for places, leaf in distinct_leaves(tree):
        if is_quantized(leaf):
            names.add(leaf_path(places[0]).rpartition("/")[2])
            ways[f"{leaf.prior} at {leaf.mean_bits:.3g} bits"] += 1
    what = names.pop() if len(names) == 1 else "array"
    how = ", ".join(f"{count} {way}" for way, count in ways.most_common())
    return f"{ways.total()} {what}{'' if ways.total() == 1 else 's'}{how and f': {how}'}"


def leaf_path(keys: Keys) -> str:
    """The path that rules see: JAX's keys joined by "/", below a top-level `params` or `stats`.

    The attribute `value`, in which a variable of Flax NNX holds its array, is no part of it.
    """
    if len(keys) > 1 and leaf_kind(keys) is not None:
        keys = keys[1:]
    if len(keys) > 1 and keys[-1] == jax.tree_util.GetAttrKey("value"):
        keys = keys[:-1]
    return jax.tree_util.keystr(keys, simple=True, separator="/")


def leaf_kind(keys: Keys) -> str | None:
    """The top-level key of a leaf if it is `params` or `stats`, else None."""
    top = jax.tree_util.keystr(keys[:1], simple=True)
    return top if top in ("params", "stats") else None


def ranges_of(shape: tuple[int, ...], rule: Rule) -> tuple[int | None, int | None]:
    """The `axis` and the `group_size` of a tensor of `shape`, before any correction."""
    if rule.granularity == "tensor" or len(shape) < 2 or not math.prod(shape):
        return None, None
    last = len(shape) - 1
    if rule.granularity == "group":
        return last, rule.group_size
    # Layers of vectors have one range each, as any vector has.
    if rule.granularity == "layer" or (rule.granularity == "layer-channel" and last == 1):
        return 0, None
    return last, math.prod(shape[1:-1]) if rule.granularity == "layer-channel" else None


def range_bits(shape: tuple[int, ...], group_size: int) -> int:
    """The bits of the ranges of groups: a float32 offset and a bfloat16 step each."""
    return 48 * groups.group_count(shape, group_size) * shape[-1]


def distinct_leaves(tree: Tree) -> list[tuple[list[Keys], Leaf]]:
    """The leaves of a tree, each with the keys of all places that share it.

    Places share a leaf where they hold the very same array, as tied weights do. Shapes without
    values (`jax.ShapeDtypeStruct`) are never shared.

    Raises:
      UserError: the keys of a dict cannot be sorted, as JAX does.
    """
    found: dict[int, tuple[list[Keys], Leaf]] = {}
    try:
        places = jax.tree_util.tree_leaves_with_path(tree, is_leaf=is_quantized)
    except ValueError as error:
        fix = "Use keys of one type in a dict"
        raise UserError(f"JAX takes no such tree: {error} {fix}") from error
    for number, (keys, leaf) in enumerate(places):
        shares = is_quantized(leaf) or isinstance(leaf, np.ndarray | jax.Array)
        # No address of an object is negative.
        found.setdefault(id(leaf) if shares else -1 - number, ([], leaf))[0].append(keys)
    return list(found.values())


def _map_selected(
    tree: Tree, rules: Sequence[Rule], change: Callable[[jax.Array, Rule, str], Leaf]
) -> Tree:
    changed: dict[Keys, Leaf] = {}
    selected, example, count = False, "", 0
    for places, leaf in distinct_leaves(tree):
        paths = [leaf_path(keys) for keys in places]
        example, count = example or f", such as {paths[0]!r}", count + len(paths)
        if (rule := first_match(rules, *paths)) is not None:
            selected = True
            changed |= dict.fromkeys(places, change(leaf, rule, paths[0]))
    if not selected and any(rule.bits is not None for rule in rules):
        patterns = ", ".join(repr(rule.pattern) for rule in rules)
        raise UserError(f"rules {patterns} match none of the {count} leaves{example}; correct them")
    return jax.tree_util.tree_map_with_path(
        lambda keys, leaf: changed.get(keys, leaf), tree, is_leaf=is_quantized
    )


@dataclasses.dataclass(frozen=True)
class _Scheme:
    """A rule as it applies to one leaf; the static arguments of `aciq.quantize_array`."""

    prior: str
    axis: int | None
    allocate: bool
    correct: int | bool | None
    group_size: int | None

    @property
    def along(self) -> int | None:
        """The axis of the ranges."""
        return self.axis if self.correct is False else self.correct


def _scheme(leaf: Leaf, rule: Rule, path: str) -> tuple[_Scheme, float]:
    """How a rule applies to a leaf, and with how many bits."""
    if is_quantized(leaf):
        raise UserError(f"{path}: is quantised already; dequantize the tree first")
    if not isinstance(leaf, np.ndarray | jax.Array):
        kind = type(leaf).__name__
        raise UserError(f"{path}: a {kind} cannot be quantised, only an array; {_LEAVE_OUT}")
    if leaf.dtype not in DTYPES:
        real = jnp.issubdtype(leaf.dtype, jnp.integer) or jnp.issubdtype(leaf.dtype, jnp.floating)
        fix = "convert it to float32, or " if real else ""
        raise UserError(f"{path}: {leaf.dtype} cannot be quantised; {fix}{_LEAVE_OUT}")
    axis, group_size = ranges_of(leaf.shape, rule)
    allocate = axis is not None and rule.granularity == "channel-bits"
    channels = leaf.ndim - 1 if leaf.ndim > 1 and leaf.size else None
    scheme = _Scheme(rule.prior, axis, allocate, channels if rule.correct else False, group_size)
    assert rule.bits is not None, "first_match gives rules with bits"
    return scheme, float(rule.bits) if allocate else int(rule.bits)


def _quantize_leaf(leaf: jax.Array, rule: Rule, path: str) -> QuantizedArray:
    scheme, width = _scheme(leaf, rule, path)
    if not bool(jnp.isfinite(leaf).all()):
        raise UserError(
            f"{path}: not all values are finite; take a checkpoint from before they grew"
        )
    found = _quantize(leaf, jnp.asarray(width), scheme)
    if not _decodes(leaf, found, scheme):
        raise UserError(f"{path}: values too large for a {rule.prior} range; rescale the tensor")
    # Packed on the host, since jit would compile every shape again for every number of bits.
    codes = np.asarray(found.codes)
    bits: int | tuple[int, ...]
    if scheme.allocate and scheme.axis is not None:
        bits = tuple(int(channel) for channel in np.asarray(found.bits))
        packed = packing.pack_channels(codes, bits, scheme.axis)
    else:
        bits = int(width)
        packed = packing.pack(codes, bits)
    return QuantizedArray(
        jnp.asarray(packed),
        found.offset,
        found.scale,
        tuple(leaf.shape),
        np.dtype(leaf.dtype),
        bits,
        aciq.RANGES[int(found.prior)],
        scheme.along,
        scheme.group_size,
    )


def _decodes(leaf: jax.Array, found: aciq.Quantized, scheme: _Scheme) -> bool:
    """Whether all values are finite; computes them only where the largest might not be."""
    if not bool(jnp.isfinite(found.offset).all() & jnp.isfinite(found.scale).all()):
        return False
    with np.errstate(over="ignore"):
        steps = np.float32(2) ** np.asarray(found.bits, np.float32) * np.asarray(found.scale)
        last = (np.asarray(found.offset) + steps).astype(leaf.dtype)
    return bool(np.isfinite(last).all() or jnp.isfinite(_simulated(leaf, found, scheme)).all())


def _simulate_leaf(leaf: jax.Array, rule: Rule, path: str) -> jax.Array:
    scheme, width = _scheme(leaf, rule, path)
    return _simulated(leaf, _quantize(leaf, jnp.asarray(width), scheme), scheme)


# One compilation serves every number of bits, and both `quantize` and `simulate`.
@functools.partial(jax.jit, static_argnums=2)
def _quantize(leaf: jax.Array, bits: jax.Array, scheme: _Scheme) -> aciq.Quantized:
    return aciq.quantize_array(
        jax.lax.stop_gradient(leaf),
        bits,
        scheme.prior,
        scheme.axis,
        allocate=scheme.allocate,
        correct=scheme.correct,
        group_size=scheme.group_size,
    )


@functools.partial(jax.jit, static_argnums=2)
def _simulated(leaf: jax.Array, found: aciq.Quantized, scheme: _Scheme) -> jax.Array:
    values = aciq.from_codes(
        found.codes, found.offset, found.scale, scheme.along, scheme.group_size
    )
    # The difference is zero, so the values stay exact. Its gradient is that of the leaf.
    return values.astype(leaf.dtype) + (leaf - jax.lax.stop_gradient(leaf))


def unpacked_codes(leaf: QuantizedArray) -> jax.Array:
    """The codes of a quantised tensor: uint8, of its shape. Works inside jit."""
    if isinstance(leaf.bits, tuple):
        assert leaf.axis is not None, "bits by channel have an axis"
        return packing.unpack_channels(leaf.codes, leaf.bits, leaf.shape, leaf.axis)
    return packing.unpack(leaf.codes, leaf.bits, leaf.size).reshape(leaf.shape)


@jax.jit
def _dequantize_leaf(leaf: QuantizedArray) -> jax.Array:
    offset, scale = cast(jax.Array, leaf.offset), cast(jax.Array, leaf.scale)
    values = aciq.from_codes(unpacked_codes(leaf), offset, scale, leaf.axis, leaf.group_size)
    return values.astype(leaf.dtype)
