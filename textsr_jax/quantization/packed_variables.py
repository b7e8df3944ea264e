"""The variable of Flax NNX that holds a packed parameter; `flax_modules.nnx` makes it."""

from collections.abc import Iterator
from typing import Any

import jax
from flax import nnx
from flax.nnx import reprlib

from textsr_jax.errors import UserError
from textsr_jax.quantization.tree import QuantizedArray, dequantize, is_quantized


class PackedParam(nnx.Variable[Any]):
    """A `QuantizedArray`, which layers read as the array of its values.

    It is no `nnx.Param`: what trains parameters does not see it. `get_raw_value` gives the
    `QuantizedArray`.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        return self._packed.shape

    def get_value(self, *, index: Any = ...) -> jax.Array:
        """The values, or some of them; they are computed in each call."""
        values: jax.Array = dequantize(self._packed)
        return values if index is ... else values[index]

    def set_value(self, value: Any, *, index: Any = ...) -> None:
        """Puts another `QuantizedArray` in place of this one.

        Raises:
          UserError: the value is no `QuantizedArray`.
        """
        if not is_quantized(value):
            raise UserError(
                "a packed parameter takes no values; change them before quantization.nnx packs "
                "them, or train with quantization.straight_through"
            )
        self.set_raw_value(value)

    def __nnx_repr__(self) -> Iterator[reprlib.Object | reprlib.Attr]:
        # Flax prints a module with shapes in place of arrays, which have no values.
        yield reprlib.Object(type=type(self))
        yield reprlib.Attr("value", self._packed)

    @property
    def _packed(self) -> QuantizedArray:
        packed: QuantizedArray = self.get_raw_value()
        return packed
