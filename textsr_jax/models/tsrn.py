"""TSRN, the super-resolution network published with TextZoom, and its bidirectional GRU.

"Scene text image super-resolution in the wild" (Wang et al., 2020), as its published code computes
it, without the STN in front.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from textsr_jax.errors import UserError
from textsr_jax.models.layers.convolution import KERNEL_INIT
from textsr_jax.models.srresnet import ConvPair, SRResNet


class TSRN(SRResNet):
    """TSRN for scale 2; any image size.

    The defaults are the published network, 816,260 parameters.

    Args:
      blocks: number of sequential residual blocks.
      channels: width of every block, even.
      dtype: compute dtype; the parameters stay float32.
      rngs: draws the parameters, as PyTorch does by default: uniform within 1 / sqrt(fan in), the
        GRU's within 1 / sqrt(state width); biases outside the GRU start at zero.

    Raises:
      UserError: `channels` is odd.
    """

    def __init__(
        self,
        blocks: int = 5,
        channels: int = 64,
        *,
        dtype: jnp.dtype | None = None,
        rngs: nnx.Rngs,
    ):
        if channels % 2:
            raise UserError(f"config.sr.tsrn.channels={channels}: must be even; take another width")

        def make_block() -> SequentialBlock:
            return SequentialBlock(channels, dtype=dtype, rngs=rngs)

        super().__init__(make_block, blocks, channels, dtype=dtype, rngs=rngs)


class SequentialBlock(nnx.Module):
    """Two convolutions, then a GRU along the columns, the input, and a GRU along the rows."""

    def __init__(self, channels: int, *, dtype: jnp.dtype | None, rngs: nnx.Rngs):
        self.convs = ConvPair(channels, dtype=dtype, rngs=rngs)
        self.gru1 = GRUBlock(channels, dtype=dtype, rngs=rngs)
        self.gru2 = GRUBlock(channels, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array, *, train: bool, rngs: nnx.Rngs | None = None) -> jax.Array:
        del rngs  # no dropout here
        residual = self.gru1(self.convs(x, train=train), axis=1)
        return self.gru2(x + residual, axis=2)


class GRUBlock(nnx.Module):
    """A linear layer and a bidirectional GRU.

    Args:
      channels: width of the result, even.
      inputs: width of the input; None for `channels`.
      dtype: compute dtype.
      rngs: draws the parameters.
    """

    def __init__(
        self,
        channels: int,
        inputs: int | None = None,
        *,
        dtype: jnp.dtype | None,
        rngs: nnx.Rngs,
    ):
        self.linear = nnx.Linear(
            inputs or channels, channels, kernel_init=KERNEL_INIT, dtype=dtype, rngs=rngs
        )
        self.gru = BidirectionalGRU(channels, channels // 2, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array, *, axis: int) -> jax.Array:
        """Runs along `axis` of `x` (batch, H, W, inputs): float32 (batch, H, W, channels)."""
        return jnp.moveaxis(self.gru(self.linear(jnp.moveaxis(x, axis, 0))), 0, axis)


class BidirectionalGRU(nnx.Module):
    """Reads sequences from both ends, with PyTorch's gates.

    Args:
      inputs: width of a sequence's elements.
      features: width of each direction's state.
      dtype: compute dtype of the products; the states are always float32.
      rngs: draws the parameters.
    """

    def __init__(
        self, inputs: int, features: int, *, dtype: jnp.dtype | None = None, rngs: nnx.Rngs
    ):
        self.features = features
        self.forward = GRUDirection(inputs, features, dtype=dtype, rngs=rngs)
        self.backward = GRUDirection(inputs, features, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Reads `x`, float (time, ..., inputs).

        Returns:
          float32 (time, ..., 2 features): for each element the state of the direction that comes
          from the start, then of the one that comes from the end.
        """

        def step(
            states: tuple[jax.Array, jax.Array], given: tuple[list[jax.Array], list[jax.Array]]
        ) -> tuple[tuple[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]:
            states = self.forward.step(states[0], given[0]), self.backward.step(states[1], given[1])
            return states, states

        given = self.forward.project(x), self.backward.project(x[::-1])
        start = jnp.zeros((*x.shape[1:-1], self.features))
        # Gates are cheap to compute again, and take much memory to keep for the gradient.
        step = jax.checkpoint(step, prevent_cse=False)
        _, (forward, backward) = jax.lax.scan(step, (start, start), given)
        return jnp.concatenate([forward, backward[::-1]], axis=-1)


class GRUDirection(nnx.Module):
    """One direction's parameters; its gates, side by side, are reset, update and candidate."""

    def __init__(self, inputs: int, features: int, *, dtype: jnp.dtype | None, rngs: nnx.Rngs):
        def init(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype) -> jax.Array:
            return jax.random.uniform(key, shape, dtype, -(features**-0.5), features**-0.5)

        def linear(inputs: int) -> nnx.Linear:
            return nnx.Linear(
                inputs, 3 * features, kernel_init=init, bias_init=init, dtype=dtype, rngs=rngs
            )

        self.input, self.recurrent = linear(inputs), linear(features)

    def project(self, x: jax.Array) -> list[jax.Array]:
        """What `x` adds to each gate: all that can be computed outside the loop, at once."""
        # One array for each gate, here and in `step`: slices inside the loop make it twice as slow.
        return jnp.split(self.input(x), 3, axis=-1)

    def step(self, state: jax.Array, given: list[jax.Array]) -> jax.Array:
        """The state after the element that `given` belongs to; float32."""
        kernels = jnp.split(self.recurrent.kernel[...].astype(given[0].dtype), 3, axis=-1)
        bias = self.recurrent.bias
        assert bias is not None
        biases = jnp.split(bias[...], 3)
        from_state = [
            jnp.dot(state.astype(kernel.dtype), kernel, preferred_element_type=jnp.float32) + shift
            for kernel, shift in zip(kernels, biases, strict=True)
        ]
        reset = nnx.sigmoid(given[0] + from_state[0])
        update = nnx.sigmoid(given[1] + from_state[1])
        # The state's bias is inside the reset gate; so the two biases cannot be added up.
        candidate = jnp.tanh(given[2] + reset * from_state[2])
        return candidate + update * (state - candidate)
