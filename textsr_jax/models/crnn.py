"""CRNN, the recogniser of TextZoom's evaluation: convolutions, two bidirectional LSTMs, and CTC.

"An end-to-end trainable neural network for image-based sequence recognition" (Shi et al., 2015), as
TextZoom's evaluation runs it.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from textsr_jax.models.layers.convolution import Conv
from textsr_jax.models.layers.pixels import to_gray
from textsr_jax.models.layers.pooling import max_pool
from textsr_jax.models.layers.resizing import bicubic_matrix
from textsr_jax.models.recognizer import Loss, Losses, Search, Words
from textsr_jax.text import ALPHANUMERIC, Alphabet

# The size of the images that the network reads.
HEIGHT, WIDTH = 32, 100
# The frames that it makes of them.
FRAMES = 26

# The kernel size of each convolution, those with BatchNorm, and those with pooling after them.
_KERNELS = (3, 3, 3, 3, 3, 3, 2)
_NORMALIZED = (2, 4, 6)
_HALVED, _OVERLAPPED = (0, 1), (3, 5)

_CONV_INIT = nnx.initializers.he_normal()
# Three times the variance of PyTorch's default. With the default, CTC reads blanks alone for
# much longer.
_LINEAR_INIT = nnx.initializers.xavier_uniform()


def prepare(images: jax.Array) -> jax.Array:
    """Images as the network sees them: (batch, H, W, 3) to grey (batch, 32, 100, 1), float32.

    They are resized by PyTorch's bicubic interpolation. The published evaluation resizes the
    colours first. Both steps are linear, so their order does not matter.
    """
    highest = jax.lax.Precision.HIGHEST
    across = bicubic_matrix(images.shape[2], WIDTH)
    gray = jnp.einsum("bhwc,vw->bhvc", to_gray(images), across, precision=highest)
    if images.shape[1] == HEIGHT:
        return gray
    down = bicubic_matrix(images.shape[1], HEIGHT)
    return jnp.einsum("bhwc,gh->bgwc", gray, down, precision=highest)


class CRNN(nnx.Module):
    """Reads words from images: float32 (batch, 32, 128, 3) RGB in [0, 1], to classes of each frame.

    Classes are the character indices of `text.Alphabet.encode`; class 0 is CTC's blank. The
    defaults are the published network, 8,331,301 parameters and 37 classes.

    Args:
      alphabet: the characters that it writes.
      channels: channels of the seven convolutions.
      hidden: size of each direction of the LSTMs, and of the layer between them.
      dtype: compute dtype, None for float32. The LSTMs' cells and the output layer are always
        float32.
      rngs: draws the parameters.
    """

    def __init__(
        self,
        *,
        alphabet: Alphabet = ALPHANUMERIC,
        channels: Sequence[int] = (64, 128, 256, 256, 512, 512, 512),
        hidden: int = 256,
        dtype: jnp.dtype | None = None,
        rngs: nnx.Rngs,
    ):
        self.alphabet = alphabet
        self.convs = nnx.List(
            ConvBlock(inputs, outputs, kernel, index in _NORMALIZED, dtype=dtype, rngs=rngs)
            for index, (inputs, outputs, kernel) in enumerate(
                zip((1, *channels[:-1]), channels, _KERNELS, strict=True)
            )
        )
        self.rnn = nnx.List(
            [
                RecurrentLayer(channels[-1], hidden, hidden, dtype=dtype, rngs=rngs),
                RecurrentLayer(
                    hidden,
                    hidden,
                    alphabet.num_ctc_classes,
                    dtype=dtype,
                    output_dtype=jnp.float32,
                    rngs=rngs,
                ),
            ]
        )

    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Logits of every frame.

        Args:
          images: (batch, H, W, 3), RGB in [0, 1]; values outside are not clipped.
          train: normalise by the batch's statistics, and update the running ones.

        Returns:
          float32 (batch, 26, classes), frames from left to right; class 0 is the blank.
        """
        return self.classify(prepare(images), train=train)

    def loss(
        self,
        images: jax.Array,
        losses: Losses,
        *,
        train: bool = False,
        rngs: nnx.Rngs | None = None,
    ) -> Loss:
        """CTC of the frames (`Recognizer`)."""
        del rngs  # no dropout here
        return losses.ctc(self(images, train=train))

    def read(self, images: jax.Array, search: Search) -> Words:
        """The best path through the frames (`Recognizer`)."""
        return search.by_frame(self(images))

    def classify(self, gray: jax.Array, *, train: bool = False) -> jax.Array:
        """Logits (batch, 26, classes) of what `prepare` returns."""
        x = gray
        for index, conv in enumerate(self.convs):
            x = conv(x, train=train)
            if index in _HALVED:
                x = max_pool(x)
            elif index in _OVERLAPPED:
                x = _overlapping_pool(x)
        # Time goes first: the height is 1 by now.
        x = x[:, 0].swapaxes(0, 1)
        for layer in self.rnn:
            x = layer(x)
        return x.swapaxes(0, 1)


class ConvBlock(nnx.Module):
    """Convolution, BatchNorm where `normalized`, ReLU; a 2x2 kernel has no padding."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        normalized: bool,
        *,
        dtype: jnp.dtype | None,
        rngs: nnx.Rngs,
    ):
        self.conv = Conv(
            inputs,
            outputs,
            (kernel, kernel),
            padding="SAME" if kernel == 3 else "VALID",
            kernel_init=_CONV_INIT,
            dtype=dtype,
            rngs=rngs,
        )
        self.bn = (
            nnx.BatchNorm(outputs, momentum=0.9, epsilon=1e-5, dtype=dtype, rngs=rngs)
            if normalized
            else None
        )

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = self.conv(x)
        return nnx.relu(x if self.bn is None else self.bn(x, use_running_average=not train))


class RecurrentLayer(nnx.Module):
    """A bidirectional LSTM and a linear layer on both directions' states.

    Args:
      inputs, hidden, outputs: sizes of the input, of one direction's state, and of the output.
      dtype: compute dtype of the LSTMs.
      output_dtype: that of the linear layer; None for `dtype`.
      rngs: draws the parameters.
    """

    def __init__(
        self,
        inputs: int,
        hidden: int,
        outputs: int,
        *,
        dtype: jnp.dtype | None,
        output_dtype: jnp.dtype | None = None,
        rngs: nnx.Rngs,
    ):
        self.forward = LSTM(inputs, hidden, dtype=dtype, rngs=rngs)
        self.backward = LSTM(inputs, hidden, reverse=True, dtype=dtype, rngs=rngs)
        self.output = _linear(2 * hidden, outputs, output_dtype or dtype, rngs)

    def __call__(self, sequence: jax.Array) -> jax.Array:
        """Maps (time, batch, inputs) to (time, batch, outputs)."""
        states = [self.forward(sequence), self.backward(sequence)]
        return self.output(jnp.concatenate(states, axis=-1))


class LSTM(nnx.Module):
    """One direction of PyTorch's LSTM: gates i, f, g, o, and a bias with each of its two products.

    Args:
      inputs: size of each frame.
      hidden: size of the state.
      reverse: runs from the last frame to the first.
      dtype: compute dtype of the products; the cell is always float32.
      rngs: draws the parameters.
    """

    def __init__(
        self,
        inputs: int,
        hidden: int,
        *,
        reverse: bool = False,
        dtype: jnp.dtype | None,
        rngs: nnx.Rngs,
    ):
        self.reverse = reverse
        self.input = _linear(inputs, 4 * hidden, dtype, rngs)
        self.recurrent = _linear(hidden, 4 * hidden, dtype, rngs)

    def __call__(self, sequence: jax.Array) -> jax.Array:
        """The state after each frame: (time, batch, inputs) to (time, batch, hidden)."""
        # One product for the inputs of all frames: only the states depend on each other.
        given = self.input(sequence)
        kernel = self.recurrent.kernel[...].astype(given.dtype)
        bias = self.recurrent.bias
        assert bias is not None
        given = given.astype(jnp.float32) + bias[...]

        def step(
            carry: tuple[jax.Array, jax.Array], given: jax.Array
        ) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
            state, cell = carry
            product = jnp.dot(state, kernel, preferred_element_type=jnp.float32)
            input_, forget, new, output = jnp.split(given + product, 4, axis=-1)
            cell = nnx.sigmoid(forget) * cell + nnx.sigmoid(input_) * jnp.tanh(new)
            state = (nnx.sigmoid(output) * jnp.tanh(cell)).astype(kernel.dtype)
            return (state, cell), state

        shape = (sequence.shape[1], kernel.shape[0])
        start = (jnp.zeros(shape, kernel.dtype), jnp.zeros(shape, jnp.float32))
        if not self.reverse:
            return jax.lax.scan(step, start, given)[1]
        # jax2onnx (0.13) takes no scan with `reverse=True`.
        return jax.lax.scan(step, start, given[::-1])[1][::-1]


def _linear(inputs: int, outputs: int, dtype: jnp.dtype | None, rngs: nnx.Rngs) -> nnx.Linear:
    return nnx.Linear(inputs, outputs, kernel_init=_LINEAR_INIT, dtype=dtype, rngs=rngs)


def _overlapping_pool(x: jax.Array) -> jax.Array:
    """2x2 max pooling with stride (2, 1) and one column of padding at either side: W to W + 1."""
    x = max_pool(x, (2, 1))
    # Zeros pad as well as minus infinity does: after a ReLU nothing is smaller.
    x = jnp.pad(x, ((0, 0), (0, 0), (1, 1), (0, 0)))
    return jnp.maximum(x[:, :, :-1], x[:, :, 1:])
