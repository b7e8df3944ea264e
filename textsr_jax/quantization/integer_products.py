"""Quantised networks in integer arithmetic, through Qwix: ACIQ's codes times int8 activations.

Values are tested on CPUs. The speed on an accelerator has not been measured.
"""

import dataclasses
import functools
import types
from collections.abc import Callable, Sequence
from types import EllipsisType
from typing import Any, Protocol, Self, TypeGuard, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from flax.nnx.nn.dtypes import promote_dtype
from jax.typing import DTypeLike

from textsr_jax.errors import needs
from textsr_jax.quantization import packing
from textsr_jax.quantization.tree import (
    Keys,
    Leaf,
    QuantizedArray,
    Tree,
    dequantize,
    is_quantized,
    leaf_path,
    unpacked_codes,
)


class LayeredNetwork(Protocol):
    """What `accelerated` needs of a network, such as `models.Network`."""

    def with_layers(self, change: Callable[[nnx.Module], None]) -> Self:
        """Returns this network after `change` has set functions of its layers."""
        ...

    def through(self, expand: Callable[[Tree], Tree]) -> Self:
        """Returns this network for variables that `expand` turns into plain ones."""
        ...


# Qwix's quantised array. The package is optional and has no types.
QArray = Any
NetworkT = TypeVar("NetworkT", bound=LayeredNetwork)


def accelerated(network: NetworkT) -> NetworkT:
    """A network for quantised variables that multiplies their codes by int8 activations.

    Each convolution and linear layer with a quantised kernel runs in Qwix's own `dot_general` or
    `conv_general_dilated`, int8 by int8 into int32. Biases and sums are float32. Codes c of M bits
    become signed, q = c - 2^(M - 1), so that with ACIQ's offset and step

        value = q x step + base,    base = offset + 2^(M - 1) x step.

    Qwix's zero points are whole numbers, and its convolution takes none for kernels. `base` is
    therefore added as base x (the sum of the codes that the kernel covers), one number for each
    window. Both parts are exact in int32, so the only error besides float32 rounding is that of the
    activations. These get 255 symmetric levels, computed anew in each call: one range for each
    image of a convolution and for each row of a linear layer.

    The weights stay packed in memory, with any bits. Inside jit they become Qwix's `QArray`. Layers
    that always compute in float32, such as CDistNet's control points, kernels with ranges of groups
    or layers, and all other parameters are expanded as by `quantization.dequantize`. Only for
    evaluation.

    Args:
      network: takes plain variables.

    Returns:
      The network for variables of `quantization.quantize`, for use inside jit like any other.

    Raises:
      UserError: Qwix is not installed.
    """
    _qwix()
    layers: set[str] = set()

    def change(module: nnx.Module) -> None:
        for path, layer in nnx.iter_modules(module):
            if _suits(layer):
                layers.add("/".join(map(str, (*path, "kernel"))))
                # Flax declares the type of the very tuple; ours may hold a `_Kernel`.
                layer.promote_dtype = _promote  # type: ignore[assignment]
                if isinstance(layer, nnx.Conv):
                    layer.conv_general_dilated = _convolve
                else:
                    layer.dot_general = _multiply

    def expand(variables: Tree) -> Tree:
        def expand_leaf(keys: Keys, leaf: Leaf) -> Leaf:
            if not is_quantized(leaf):
                return leaf
            whole = leaf.group_size is None and leaf.axis in (None, len(leaf.shape) - 1)
            integer = leaf_path(keys) in layers and whole
            return _kernel(leaf) if integer else dequantize(leaf)

        return jax.tree_util.tree_map_with_path(expand_leaf, variables, is_leaf=is_quantized)

    return network.with_layers(change).through(expand)


@functools.partial(jax.tree_util.register_dataclass, data_fields=("array", "base"), meta_fields=())
@dataclasses.dataclass(frozen=True)
class _Kernel:
    """A kernel whose values are those of a `QArray` plus `base`, float32 () or (outputs,).

    For everything but the layers' own products it is the array of its values.
    """

    array: QArray
    base: packing.Array

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    def __jax_array__(self) -> jax.Array:
        return _qwix().dequantize(self.array) + self.base

    def __getitem__(self, index: EllipsisType | slice) -> "_Kernel | jax.Array":
        return self if index is ... else self.__jax_array__()[index]

    def astype(self, dtype: DTypeLike) -> jax.Array:
        return self.__jax_array__().astype(dtype)


# The operands of a layer: inputs, kernel and bias.
Kernel = _Kernel | jax.Array
Operands = tuple[jax.Array, Kernel, jax.Array | None]
# The axes that `jax.lax.dot_general` contracts, and those of batches.
DotNumbers = tuple[
    tuple[Sequence[int], Sequence[int]],
    tuple[Sequence[int], Sequence[int]],
]


def _qwix() -> types.ModuleType:
    with needs("qwix"):
        import qwix
    return qwix


def _suits(layer: object) -> TypeGuard[nnx.Conv | nnx.Linear]:
    """Whether a layer is one plain product or convolution of its input and its kernel."""
    if isinstance(layer, nnx.Conv):
        plain = layer.feature_group_count == 1 and layer.input_dilation in (None, 1)
        return plain and layer.mask is None and layer.dtype != jnp.float32
    return isinstance(layer, nnx.Linear) and layer.dtype != jnp.float32


def _kernel(leaf: QuantizedArray) -> _Kernel:
    half = 2 ** (np.asarray(leaf.bits) - 1)
    signed = (unpacked_codes(leaf).astype(jnp.int16) - half.astype(np.int16)).astype(jnp.int8)
    scale = leaf.scale.reshape((1,) * (len(leaf.shape) - 1) + (-1,))
    return _Kernel(
        _qwix().QArray(signed, scale), leaf.offset + half.astype(np.float32) * leaf.scale
    )


def _promote(
    arrays: Operands, /, *, dtype: DTypeLike | None = None, inexact: bool = True
) -> Operands:
    """Flax's `promote_dtype` for (inputs, kernel, bias), which leaves a `_Kernel` as it is."""
    inputs, kernel, bias = arrays
    if not isinstance(kernel, _Kernel):
        return promote_dtype(arrays, dtype=dtype, inexact=inexact)
    dtype = jnp.result_type(inputs, jnp.float32) if dtype is None else dtype
    inputs, bias = promote_dtype((inputs, bias), dtype=dtype, inexact=inexact)
    return inputs, kernel, bias


def _multiply(
    inputs: jax.Array, kernel: Kernel, dimension_numbers: DotNumbers, **options: Any
) -> jax.Array:
    """`jax.lax.dot_general` of (..., inputs) with a kernel (inputs, outputs)."""
    if not isinstance(kernel, _Kernel):
        return jax.lax.dot_general(inputs, kernel, dimension_numbers, **options)
    codes = _codes(inputs, range(inputs.ndim - 1))
    product = _qwix().dot_general(codes, kernel.array, dimension_numbers)
    sums = codes.qvalue.sum(-1, keepdims=True, dtype=jnp.int32) * codes.scale
    return (product + sums * kernel.base).astype(inputs.dtype)


def _convolve(
    inputs: jax.Array,
    kernel: Kernel,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    **options: Any,
) -> jax.Array:
    """`jax.lax.conv_general_dilated` of images, channels last, with a kernel (..., outputs)."""
    if not isinstance(kernel, _Kernel):
        return jax.lax.conv_general_dilated(inputs, kernel, window_strides, padding, **options)
    codes = _codes(inputs, (0,))
    product = _qwix().conv_general_dilated(codes, kernel.array, window_strides, padding, **options)
    sums = jax.lax.reduce_window(
        codes.qvalue.sum(-1, keepdims=True, dtype=jnp.int32),
        np.int32(0),
        jax.lax.add,
        (1, *kernel.shape[:-2], 1),
        (1, *window_strides, 1),
        padding if isinstance(padding, str) else ((0, 0), *padding, (0, 0)),
        window_dilation=(1, *options["rhs_dilation"], 1),
    )
    return (product + sums * codes.scale * kernel.base).astype(inputs.dtype)


def _codes(inputs: jax.Array, apart: Sequence[int]) -> QArray:
    """Activations as a `QArray` of int8, one symmetric range for each index of the axes `apart`."""
    return _qwix().quantize(inputs.astype(jnp.float32), jnp.int8, channelwise_axes=tuple(apart))
