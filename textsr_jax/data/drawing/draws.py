"""The random numbers of one word or of a part of it, drawn in one call and handed out in turn.

Every call of `jax.random` takes its time to compile; hundreds would take minutes.
"""

import math

import jax
import jax.numpy as jnp

# The next float32 above -1: the normal distribution has no number at -1 itself.
_LOWEST = -1 + 2.0**-24


class Draws:
    """A source of random numbers, for use while a function is traced.

    Its methods are those of `numpy.random.Generator` that are needed here; results are float32.
    """

    def __init__(self, key: jax.Array, count: int) -> None:
        """Draws `count` numbers; more cannot be asked for."""
        self._numbers = jax.random.uniform(key, (count,))
        self._used = 0

    def uniform(
        self, low: float = 0.0, high: float = 1.0, shape: tuple[int, ...] = ()
    ) -> jax.Array:
        """Numbers from `low` up to `high`, which is left out but for rounding."""
        start, self._used = self._used, self._used + math.prod(shape)
        if self._used > len(self._numbers):
            raise ValueError(
                f"Draws: {self._used} numbers are used, but count is {len(self._numbers)}"
            )
        return low + (high - low) * self._numbers[start : self._used].reshape(shape)

    def normal(self, scale: float = 1.0, shape: tuple[int, ...] = ()) -> jax.Array:
        """Numbers of a normal distribution with mean 0 and standard deviation `scale`."""
        evenly = jnp.maximum(self.uniform(-1, 1, shape), _LOWEST)
        return scale * math.sqrt(2) * jax.lax.erf_inv(evenly)

    def integers(self, low: int, high: int, shape: tuple[int, ...] = ()) -> jax.Array:
        """Whole numbers from `low` to `high` - 1, int32."""
        return jnp.floor(self.uniform(low, high, shape)).astype(jnp.int32)
