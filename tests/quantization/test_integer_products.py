"""Integer arithmetic through Qwix: layers against float64, and whole networks."""

import sys

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from configs import tiny
from textsr_jax import decoding
from textsr_jax.errors import UserError
from textsr_jax.models import Network, build_ocr, build_sr
from textsr_jax.models.layers.convolution import Conv
from textsr_jax.quantization import dequantize, quantize, rule_set
from textsr_jax.quantization.integer_products import accelerated

pytestmark = pytest.mark.slow


class Layer(nnx.Module):
    """One layer and its input's shape, as a network."""

    def __init__(self, layer: nnx.Module):
        self.layer = layer

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.layer(x)


def convolution(padding, strides, size=3, inputs=5, outputs=7):
    def build(rngs):
        kernel = (size, size)
        return Layer(Conv(inputs, outputs, kernel, strides=strides, padding=padding, rngs=rngs))

    return Network(build), (2, 6, 9, inputs)


def linear(dtype=None):
    return Network(lambda rngs: Layer(nnx.Linear(6, 4, dtype=dtype, rngs=rngs))), (2, 3, 6)


LAYERS = {
    "same": lambda: convolution("SAME", 1),
    "strided": lambda: convolution(1, 2),
    "valid": lambda: convolution("VALID", (1, 2)),
    "1x1": lambda: convolution(0, 1, size=1),
    # As wide as those that Winograd's algorithm takes in float32.
    "wide": lambda: convolution(1, 1, inputs=128, outputs=128),
    "linear": linear,
}
SETTINGS = {
    "tensor": {"bits": 8},
    "channel": {"bits": 8, "granularity": "channel"},
    "6 bits": {"bits": 6, "granularity": "channel", "prior": "gaussian"},
    "4 bits": {"bits": 4, "granularity": "tensor"},
    "mixed": {"bits": 4.5, "granularity": "channel-bits"},
    "corrected": {"bits": 3, "granularity": "tensor", "correct": True},
}


def rounded(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """Activations with 255 symmetric levels, the range of each slice along `axes` its own."""
    step = np.abs(x).max(axes, keepdims=True) / np.float32(127.5)
    return np.clip(np.round(x / step), -128, 127).astype(np.float64) * step


def random_variables(network: Network) -> dict:
    """Variables of a spread as after training, shifted so that no range is symmetric."""
    leaves, structure = jax.tree.flatten(network.template)
    rng = np.random.default_rng(0)
    return structure.unflatten(
        [jnp.asarray(rng.laplace(0.1, 1, leaf.shape), jnp.float32) for leaf in leaves]
    )


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        *((name, setting) for name in ("same", "linear") for setting in SETTINGS),
        *((name, "channel") for name in ("strided", "valid", "1x1", "wide")),
    ],
)
def test_a_layer_is_exact_but_for_its_activations(name, setting):
    network, shape = LAYERS[name]()
    variables = quantize(random_variables(network), rule_set("all", **SETTINGS[setting]))
    x = np.random.default_rng(1).normal(0.5, 1, shape).astype(np.float32)
    axes = (-1,) if name == "linear" else (1, 2, 3)
    # The largest value of a range is half a level outside; below 0 it may round either way.
    x *= np.where(x.max(axes, keepdims=True) > -x.min(axes, keepdims=True), 1, -1)
    found = jax.jit(accelerated(network).__call__)(variables, x)
    with jax.enable_x64(True):
        exact = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), dequantize(variables))
        expected = np.asarray(network(exact, rounded(x, axes)))
    largest = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=3e-6 * largest)


def part(name: str) -> tuple[Network, tuple[int, ...], str]:
    """A small network, its input's shape and its method."""
    config = tiny.get_config()
    if name == "sr":
        config.sr.edsr.blocks, config.sr.edsr.channels = 2, 16
        return build_sr(config.sr), (2, 16, 64, 3), "__call__"
    sizes = config.ocr.cdistnet
    sizes.width, sizes.heads, sizes.depths = 32, 2, (1, 1, 1, 1, 1)
    sizes.encoder_hidden = sizes.decoder_hidden = sizes.positional_hidden = 32
    return build_ocr(config.ocr), (2, 32, 128, 3), "encode"


# What the rounding of activations leaves of a network's output, of its deviation: measured 0.7 %
# and 0.6 % to 0.9 % whatever the weights' bits.
@pytest.mark.parametrize(
    ("name", "setting"), [("sr", "4 bits"), ("sr", "mixed"), ("ocr", "channel")]
)
def test_a_network_is_its_expanded_one_but_for_its_activations(name, setting):
    network, shape, method = part(name)
    variables = quantize(network.init(jax.random.key(0)), rule_set("all", **SETTINGS[setting]))
    x = jax.random.uniform(jax.random.key(1), shape)
    integer, expanded = (
        jax.jit(lambda variables, x, net=net: net(variables, x, method=method))(variables, x)
        for net in (accelerated(network), network.through(dequantize))
    )
    error = float(jnp.sqrt(jnp.square(integer - expanded).mean()) / expanded.std())
    assert 0 < error < 0.02


def test_every_convolution_and_linear_layer_multiplies_integers():
    network, shape, method = part("ocr")
    variables = quantize(network.init(jax.random.key(0)), rule_set("all", 8))
    fast = accelerated(network)
    jaxpr = jax.make_jaxpr(lambda variables, x: fast(variables, x, method=method))(
        variables, jnp.zeros(shape)
    )
    products = [each for each in equations(jaxpr.jaxpr) if each.primitive.name in PRODUCTS]
    kinds = [tuple(str(value.aval.dtype) for value in each.invars) for each in products]
    integers = [kind for kind in kinds if kind == ("int8", "int8")]
    # Convolutions: 4 of the rectifier, the stem, the last, 5 blocks of 2 and 4 shortcuts (the first
    # stage has one where its width changes). Linear layers: fc1, and 4 in each encoder layer.
    convolutions = sum(path.endswith("conv/kernel") for path in encoding_paths(network))
    linear_layers = sum(path.startswith("encoder/") for path in encoding_paths(network)) + 1
    assert len(integers) == convolutions + linear_layers
    # The rest are attention's, the spline and the control points.
    assert all(kind == ("float32", "float32") for kind in kinds if kind not in integers)
    images = [each for each in products if each.primitive.name == "conv_general_dilated"]
    assert len(images) == convolutions


PRODUCTS = ("dot_general", "conv_general_dilated")


def equations(jaxpr):
    """All equations of a jaxpr, those of inner ones too."""
    for each in jaxpr.eqns:
        yield each
        for value in jax.tree.leaves(list(each.params.values()), is_leaf=is_jaxpr):
            if is_jaxpr(value):
                yield from equations(getattr(value, "jaxpr", value))


def is_jaxpr(value) -> bool:
    return isinstance(value, jax.extend.core.Jaxpr | jax.extend.core.ClosedJaxpr)


def encoding_paths(network: Network) -> list[str]:
    """The kernels that encoding uses, as paths."""
    leaves = jax.tree_util.tree_leaves_with_path(network.template["params"])
    paths = [jax.tree_util.keystr(keys, simple=True, separator="/") for keys, _ in leaves]
    used = ("rectifier/", "backbone/", "encoder/")
    return [path for path in paths if path.endswith("kernel") and path.startswith(used)]


def test_a_recogniser_reads_with_it():
    network, shape, _ = part("ocr")
    variables = quantize(network.init(jax.random.key(0)), rule_set("all", 8))
    images = jax.random.uniform(jax.random.key(1), shape)
    read = decoding.recognizer(accelerated(network), beam=2, steps=4)(variables, images)
    expected = decoding.recognizer(network.through(dequantize), beam=2, steps=4)(variables, images)
    difference = np.abs(read.log_probability - expected.log_probability)
    assert read.tokens.shape == expected.tokens.shape
    assert 0 < difference.max() < 0.1


def test_layers_that_ask_for_float32_are_expanded():
    network, shape = linear(jnp.float32)
    variables = quantize(random_variables(network), rule_set("all", 8))
    x = jnp.ones(shape)
    np.testing.assert_array_equal(
        accelerated(network)(variables, x), network(dequantize(variables), x)
    )


def test_kernels_with_ranges_of_groups_are_expanded():
    network, shape = linear()
    rules = rule_set("kernels", 8, granularity="group")
    variables = quantize(random_variables(network), rules)
    assert variables["params"]["layer"]["kernel"].group_size == 64
    x = jnp.ones(shape)
    np.testing.assert_array_equal(
        accelerated(network)(variables, x), network(dequantize(variables), x)
    )


def test_plain_variables_give_the_plain_network():
    network, shape, method = part("sr")
    variables = network.init(jax.random.key(0))
    x = jax.random.uniform(jax.random.key(1), shape)
    fast = jax.jit(lambda variables, x: accelerated(network)(variables, x, method=method))
    np.testing.assert_allclose(
        fast(variables, x), jax.jit(network.__call__)(variables, x), rtol=0, atol=1e-5
    )


def test_bfloat16_layers_round_only_their_results():
    network, shape = linear(jnp.bfloat16)
    variables = quantize(random_variables(network), rule_set("all", 8))
    x = jnp.asarray(np.random.default_rng(1).normal(size=shape), jnp.bfloat16)
    found = accelerated(network)(variables, x)
    expected = accelerated(linear()[0])(variables, x.astype(jnp.float32))
    assert found.dtype == jnp.bfloat16
    np.testing.assert_allclose(
        found.astype(jnp.float32), expected, rtol=0, atol=0.02 * float(jnp.abs(expected).max())
    )


def test_without_qwix_it_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "qwix", None)
    with pytest.raises(UserError, match=r"pip install -e '\.\[qwix\]'"):
        accelerated(linear()[0])
