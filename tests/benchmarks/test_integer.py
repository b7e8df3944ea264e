"""The benchmark of integer products: every side is timed, at 8 bits, in turns."""

import jax
import jax.numpy as jnp
from flax import nnx

from benchmarks import integer
from textsr_jax.models import Network
from textsr_jax.quantization import is_quantized


class Layer(nnx.Module):
    def __init__(self, dtype: str, rngs: nnx.Rngs):
        # A layer that asks for float32 is never multiplied as integers.
        between = None if dtype == "float32" else jnp.dtype(dtype)
        self.linear = nnx.Linear(3, 4, dtype=between, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        return self.linear(images)


def build(dtype: str) -> Network:
    return Network(lambda rngs: Layer(dtype, rngs))


def test_every_side_computes_the_packed_network():
    variables = integer.packed(build("float32"))
    kernel = variables["params"]["linear"]["kernel"]
    assert is_quantized(kernel) and kernel.bits == 8
    times = integer.measure(build, variables, jnp.ones((2, 4, 4, 3)), "__call__", 5)
    assert times.keys() == integer.SIDES.keys()
    assert min(times.values()) > 0
