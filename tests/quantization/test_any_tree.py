"""Checks trees of anybody: of Flax, Equinox and plain containers; shared and odd leaves."""

import subprocess
import sys

import equinox
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

import textsr_jax.quantization as quant
from tests.conftest import same
from textsr_jax.errors import UserError
from textsr_jax.quantization import Rule

# All that we depend on, except JAX and what JAX depends on: jaxlib, numpy, scipy, ml_dtypes.
OTHERS = (
    "absl,flatbuffers,flax,ml_collections,optax,orbax,PIL,rich,safetensors,tqdm,wordfreq,grain,"
    "lmdb,array_record,tensorboard,matplotlib,onnx*,torch,qwix,gguf,equinox,chex,etils,msgpack"
)
WITHOUT_THEM = """
import sys
import textsr_jax.quantization as quant
import jax.numpy as jnp
ours = sorted(name for name in sys.modules if name.startswith("textsr_jax."))
rooms = {name.split(".")[1] for name in ours}
assert rooms == {"errors", "quantization", "runtime"}, rooms
assert "textsr_jax.quantization.integer_products" not in ours
tree = {"a": [jnp.arange(12.0).reshape(4, 3)]}
packed = quant.quantize(tree, [quant.Rule("a/0", 4, "minmax", "channel")])
quant.save(sys.argv[-1], packed)
print(quant.error(tree, quant.dequantize(quant.load(sys.argv[-1]))).sqnr_db > 25)
"""


@pytest.mark.slow
def test_it_needs_jax_and_numpy_alone(tmp_path):
    code = WITHOUT_THEM.replace("sys.argv[-1]", repr(str(tmp_path / "file")))
    done = subprocess.run(
        [sys.executable, "tests/without.py", OTHERS, "-c", code],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "True\n", done.stderr


class Tower(nnx.Module):
    def __init__(self, rngs):
        self.layers = nnx.List([nnx.Linear(8, 8, rngs=rngs) for _ in range(2)])
        self.drop = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


@pytest.mark.slow
def test_states_of_flax_nnx(tmp_path):
    module, x = Tower(nnx.Rngs(0)), jnp.ones((1, 8))
    graph, state = nnx.split(module)
    rules = [Rule("layers/1/kernel", 8, "minmax"), Rule("layers/.*/bias", None), Rule(".*l", 6)]
    packed = quant.quantize(state, rules)
    bits = {leaf.path: leaf.bits for leaf in quant.error(state, packed).leaves}
    assert bits == {"layers/0/kernel": 6, "layers/1/kernel": 8}

    @jax.jit
    def apply(packed, x):
        return nnx.merge(graph, quant.dequantize(packed))(x)

    close = apply(packed, x)
    assert 0 < np.abs(close - module(x)).max() < 0.3
    params = nnx.state(module, nnx.Param)
    quant.save(tmp_path / "file", quant.quantize(params, rules))
    found = quant.load(tmp_path / "file", like=nnx.state(Tower(nnx.Rngs(1)), nnx.Param))
    assert same(quant.dequantize(found), quant.dequantize(quant.quantize(params, rules)))


class Dense(linen.Module):
    @linen.compact
    def __call__(self, x):
        x, _ = linen.scan(
            lambda module, x, _: (linen.Dense(8, name="dense")(x), None),
            variable_axes={"params": 0},
            split_rngs={"params": True},
            length=3,
        )(self, x, None)
        return x


@pytest.mark.slow
def test_variables_of_flax_linen_with_scanned_layers():
    variables = Dense().init(jax.random.key(0), jnp.ones((1, 8)))
    assert variables["params"]["dense"]["kernel"].shape == (3, 8, 8)
    packed = quant.quantize(variables, [Rule(".*kernel", 8, "minmax", "layer-channel")])
    kernel = packed["params"]["dense"]["kernel"]
    assert kernel.offset.shape == (3, 8)
    out = jax.jit(lambda packed, x: Dense().apply(quant.dequantize(packed), x))
    x = jax.random.normal(jax.random.key(1), (4, 8))
    np.testing.assert_allclose(out(packed, x), Dense().apply(variables, x), atol=0.05)


@pytest.mark.slow
def test_modules_of_equinox():
    module = equinox.nn.MLP(8, 4, 16, 2, key=jax.random.key(0))
    # Its weights have their outputs first, and functions are leaves.
    packed = quant.quantize(module, [Rule(r"layers/\d/weight", 8, "minmax", "layer")])
    assert [layer.weight.axis for layer in packed.layers] == [0, 0, 0]
    assert packed.activation is module.activation
    x = jax.random.normal(jax.random.key(1), (8,))
    out = equinox.filter_jit(lambda packed, x: quant.dequantize(packed)(x))(packed, x)
    np.testing.assert_allclose(out, module(x), atol=0.02)
    # Floats besides arrays count nothing.
    assert quant.size(packed).values == sum(
        leaf.size for leaf in jax.tree.leaves(equinox.filter(module, equinox.is_array))
    )


def test_shared_leaves_are_quantised_once_and_stay_shared():
    x = jax.random.normal(jax.random.key(0), (40, 8))
    tree = {"embed": {"table": x}, "out": [{"kernel": x}], "twin": jnp.array(x)}
    # A rule matches by any of the paths, and the first rule decides.
    packed = quant.quantize(tree, [Rule("out/.*", 5), Rule("embed/.*", 8)])
    assert packed["embed"]["table"] is packed["out"][0]["kernel"]
    assert packed["embed"]["table"].bits == 5
    assert packed["twin"] is tree["twin"]
    values = quant.dequantize(packed)
    assert values["embed"]["table"] is values["out"][0]["kernel"]
    assert quant.quantize(tree, [Rule("embed/.*", None), Rule("t.*", 4)])["out"][0]["kernel"] is x
    simulated = quant.simulate(tree, [Rule("out/.*", 5)])
    assert simulated["embed"]["table"] is simulated["out"][0]["kernel"]
    # One tied array and its twin: 320 values each.
    assert quant.size(tree).values == 640
    assert quant.size_mbit(tree, [Rule("out/.*", 5)]) == (320 * 5 + 320 * 32) / 1e6
    assert quant.held_bytes(packed) == 320 * 5 // 8 + 8 + 320 * 4
    assert quant.summary(packed) == "1 table: 1 laplace at 5 bits"
    # Equal shapes are no shared arrays.
    shape = jax.ShapeDtypeStruct((40, 8), jnp.float32)
    assert quant.size_mbit({"a": shape, "b": shape}) == 640 * 32 / 1e6


@pytest.mark.slow
def test_float16_comes_back_as_such_and_does_not_overflow():
    x = jnp.array([[0.0, -3.0], [65504, 5]], jnp.float16)
    packed = quant.quantize({"x": x}, [Rule("x", 8, "minmax")])
    values = quant.dequantize(packed)["x"]
    assert values.dtype == jnp.float16
    np.testing.assert_allclose(values, x, atol=65507 / 255 / 2 + 40)
    # The step of a channel is rounded up to bfloat16, which float16 cannot hold here.
    with pytest.raises(UserError, match=r"^x: values too large for a minmax range; rescale"):
        quant.quantize({"x": x}, [Rule("x", 8, "minmax", "channel")])


@pytest.mark.parametrize(
    ("leaf", "message"),
    [
        (jnp.arange(3), "int32 cannot be quantised; convert it to float32, or leave it out by a"),
        (jnp.array([True]), "bool cannot be quantised; leave it out by a rule"),
        (jnp.array([1j]), "complex64 cannot be quantised; leave it out by a rule"),
        (np.array([object()]), "object cannot be quantised; leave it out by a rule"),
        (jax.random.key(0), "key<fry> cannot be quantised; leave it out by a rule"),
        ("text", "a str cannot be quantised, only an array; leave it out by a rule"),
        (jnp.tanh, "a .* cannot be quantised, only an array; leave it out by a rule"),
        (1.5, "a float cannot be quantised, only an array; leave it out by a rule"),
    ],
)
def test_odd_leaves_are_refused_by_name_or_left_alone(leaf, message):
    tree = {"a": [leaf], "b": jnp.ones((2, 2))}
    for change in (quant.quantize, quant.simulate):
        with pytest.raises(UserError, match=rf"^a/0: {message}"):
            change(tree, [Rule(".*", 4)])
    packed = quant.quantize(tree, [Rule("a/.*", None), Rule(".*", 4)])
    assert packed["a"][0] is leaf and quant.dequantize(packed)["a"][0] is leaf
    assert [found.path for found in quant.error(tree, packed).leaves] == ["b"]
    assert quant.size(packed).quantized == 4


def test_keys_that_cannot_be_sorted_are_refused():
    with pytest.raises(UserError, match=r"JAX takes no such tree: .* Use keys of one type"):
        quant.quantize({"a": jnp.ones(2), 3: jnp.ones(2)}, [Rule(".*", 4)])
