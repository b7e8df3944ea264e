"""Flax NNX modules whose parameters stay packed in memory: `nnx(module, rules)`.

A packed parameter is a variable of another type, so that NNX's own functions know what to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from textsr_jax.quantization.rules import Rule
from textsr_jax.quantization.tree import is_quantized, quantize

if TYPE_CHECKING:
    from flax.nnx import Module

ModuleT = TypeVar("ModuleT", bound="Module")


def nnx(module: ModuleT, rules: Sequence[Rule]) -> ModuleT:
    """Returns a module like `module` whose parameters are packed where `rules` select them.

    Every layer works as before, in any of the module's methods. It gets the values when it asks for
    them: inside jit they exist for the moment of their use, and outside it in each call. So only
    codes and ranges stay in memory between calls, and in `nnx.state`. The outputs under jit are
    those of the same module with the values of `dequantize`, bit for bit if XLA fuses both alike.

    A packed parameter is a `packed_variables.PackedParam`, which is no `nnx.Param`. So `nnx.grad`
    and `nnx.Optimizer` with `wrt=nnx.Param` train the other parameters and leave this one alone.
    `nnx.jit`, `split`, `merge` and `update` work. A parameter that several layers share is
    quantised once and stays shared.

    Args:
      module: any Flax NNX module; it stays as it is. Its other variables are shared with it.
      rules: the paths are attribute names and positions, such as "layers/0/kernel". A shared
        parameter has the first of its paths.

    Raises:
      UserError: as of `quantize`.
    """
    from flax import nnx as flax_nnx

    from textsr_jax.quantization.packed_variables import PackedParam

    packed = quantize(flax_nnx.to_pure_dict(flax_nnx.state(module, flax_nnx.Param)), rules)
    by_path = flax_nnx.traversals.flatten_mapping(packed)

    def packed_if_selected(path: tuple[Any, ...], variable: Any) -> Any:
        found = by_path.get(path)
        return PackedParam(found) if is_quantized(found) else variable

    # Flax would recreate every variable with the type that it had.
    changed: ModuleT = flax_nnx.map(packed_if_selected, module, recreate_variables=False)
    return changed
