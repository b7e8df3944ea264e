"""CDistNet: what holds whatever its weights are, on a tiny network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from textsr_jax import losses, text
from textsr_jax.errors import UserError
from textsr_jax.models.cdistnet import CDistNet
from textsr_jax.models.cdistnet.rectifier import Rectifier
from textsr_jax.models.network import Network, count_parameters


def full_size(rngs):
    return CDistNet(rngs=rngs)


@pytest.mark.slow
def test_number_of_parameters():
    assert count_parameters(Network(full_size).template) == 46_523_464


# A network small enough to compile in a second.
TINY = {
    "width": 16,
    "heads": 2,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_hidden": 24,
    "decoder_hidden": 24,
    "positional_hidden": 12,
    "channels": (4, 4, 4, 6, 6, 8),
    "depths": (1, 2, 1, 1, 1),
    "rectifier_channels": (4, 4, 6, 8),
    "rectifier_features": 8,
}
WORDS, LENGTH, BEAMS = 2, 7, 3


def random_variables(template, seed=0):
    """Variables of the template's shapes, drawn with numpy: much quicker than compiling `init`."""
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        values = rng.normal(size=leaf.shape)
        match path[-1].key:
            case "scale" | "var":
                values = np.exp(0.1 * values)
            case "bias" | "mean":
                values *= 0.1
            case "kernel":
                values /= np.sqrt(np.prod(leaf.shape[:-1]))
        return jnp.asarray(values, leaf.dtype)

    return jax.tree.map_with_path(draw, template)


class Tiny:
    """A tiny network and its jitted methods on two random images."""

    def __init__(self):
        self.network = Network(lambda rngs: CDistNet(**TINY, rngs=rngs))
        self.variables = random_variables(self.network.template)
        self.images = jax.random.uniform(jax.random.key(1), (WORDS, 32, 128, 3))
        self.encode = jax.jit(lambda images: self.model.encode(images))
        self.decode = jax.jit(lambda memory, tokens: self.model.decode(memory, tokens))
        self.memory = self.encode(self.images)

        @jax.jit
        def decode_cached(memory, tokens):
            """The logits of tokens (rows, length), read one at a time."""
            beams = len(tokens) // len(memory)
            cache = self.model.init_cache(memory, tokens.shape[1] + 1, beams)

            def step(cache, inputs):
                logits, cache = self.model.decode_step(*inputs, cache)
                return cache, logits

            positions = jnp.arange(tokens.shape[1])
            return jax.lax.scan(step, cache, (tokens.T, positions))[1].swapaxes(0, 1)

        self.decode_cached = decode_cached

    @property
    def model(self):
        return self.network.module(self.variables)


@pytest.fixture(scope="module")
def tiny():
    return Tiny()


def prefixes(rows):
    """Random tokens behind a start token, pads and ends at any place among them."""
    token = st.sampled_from([text.PAD, text.END, *range(text.ALPHANUMERIC.num_tokens)])
    row = st.lists(token, min_size=LENGTH - 1, max_size=LENGTH - 1)
    return st.lists(row, min_size=rows, max_size=rows).map(
        lambda rows: np.array([[text.START, *row] for row in rows], np.int32)
    )


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(tokens=prefixes(WORDS))
def test_cached_decoding_equals_teacher_forcing(tiny, tokens):
    expected = tiny.decode(tiny.memory, tokens)
    np.testing.assert_allclose(tiny.decode_cached(tiny.memory, tokens), expected, atol=2e-5)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(tokens=prefixes(WORDS * BEAMS))
def test_beams_share_the_memory_of_their_word(tiny, tokens):
    expected = tiny.decode(jnp.repeat(tiny.memory, BEAMS, axis=0), tokens)
    np.testing.assert_allclose(tiny.decode_cached(tiny.memory, tokens), expected, atol=2e-5)


@settings(max_examples=25, deadline=None)
@given(tokens=prefixes(WORDS), length=st.integers(1, LENGTH), fill=st.integers(0, 39))
def test_later_tokens_change_no_earlier_logits(tiny, tokens, length, fill):
    changed = np.where(np.arange(LENGTH) < length, tokens, fill)
    np.testing.assert_allclose(
        tiny.decode(tiny.memory, changed)[:, :length],
        tiny.decode(tiny.memory, tokens)[:, :length],
        atol=1e-6,
    )


@pytest.mark.slow
def test_a_word_is_read_alike_in_any_batch(tiny):
    tokens = np.array([[2, 14, 15, 16, 3, 0, 0], [2, 5, 3, 0, 0, 0, 0]], np.int32)
    together = tiny.decode(tiny.memory, tokens)
    for word in range(WORDS):
        alone = slice(word, word + 1)
        memory = tiny.encode(tiny.images[alone])
        np.testing.assert_allclose(tiny.decode(memory, tokens[alone]), together[alone], atol=1e-5)


def test_rows_of_pads_stay_finite(tiny):
    tokens = np.zeros((WORDS, LENGTH), np.int32)
    assert np.isfinite(tiny.decode(tiny.memory, tokens)).all()


@pytest.mark.slow
def test_training_updates_statistics_and_drops_out(tiny):
    tokens = np.array([[2, 14, 15, 3]] * WORDS, np.int32)

    @jax.jit
    def forward(key):
        return tiny.network.train(tiny.variables, tiny.images, tokens, rngs=nnx.Rngs(dropout=key))

    logits, stats = forward(jax.random.key(0))
    again, _ = forward(jax.random.key(0))
    other, _ = forward(jax.random.key(1))
    np.testing.assert_array_equal(logits, again)
    assert np.abs(logits - other).max() > 0.01

    # The first BatchNorm: one tenth of the batch's mean is taken over.
    values = tiny.images * (255 / 128) - 1
    conv = tiny.model.rectifier.convs[0].conv(values)
    old, new = (
        tree["rectifier"]["convs"]["0"]["bn"]["mean"] for tree in (tiny.variables["stats"], stats)
    )
    np.testing.assert_allclose(new, 0.9 * old + 0.1 * conv.mean((0, 1, 2)), atol=1e-6)


@pytest.mark.slow
def test_every_kernel_learns(tiny):
    tokens = np.array([[2, 14, 15, 3, 0, 0], [2, 5, 6, 7, 8, 3]], np.int32)

    @jax.jit
    @jax.grad
    def gradient(params):
        variables = {**tiny.variables, "params": params}
        key = jax.random.key(0)
        logits, _ = tiny.network.train(
            variables, tiny.images, tokens[:, :-1], rngs=nnx.Rngs(dropout=key)
        )
        return losses.cross_entropy(logits, tokens[:, 1:], smoothing=0.1)

    for path, leaf in jax.tree.leaves_with_path(gradient(tiny.variables["params"])):
        assert np.isfinite(leaf).all(), path
        assert leaf.ndim == 1 or np.any(leaf), path


@pytest.mark.slow
def test_bfloat16_computes_nearly_the_same(tiny):
    network = Network(lambda rngs: CDistNet(**TINY, dtype=jnp.bfloat16, rngs=rngs))
    assert {leaf.dtype for leaf in jax.tree.leaves(network.template)} == {np.dtype("float32")}
    tokens = np.array([[2, 14, 15, 3]] * WORDS, np.int32)
    logits = jax.jit(network)(tiny.variables, tiny.images, tokens)
    assert logits.dtype == jnp.float32
    np.testing.assert_allclose(logits, tiny.decode(tiny.memory, tokens), atol=0.2)

    @jax.jit
    def first_step(variables):
        model = network.module(variables)
        memory = model.encode(tiny.images)
        return model.decode_step(tokens[:, 0], jnp.int32(0), model.init_cache(memory, 4))[0]

    np.testing.assert_allclose(first_step(tiny.variables), logits[:, 0], atol=0.05)


def test_rectifier_moves_pixels_with_its_control_points():
    network = Network(lambda rngs: Rectifier((4, 4, 6, 8), 8, rngs=rngs))
    variables = network.init(jax.random.key(0))
    rectify = jax.jit(network)
    row, column = np.mgrid[:32, :128].astype(np.float32)
    values = np.stack([row, column, row + column], axis=2)[None]
    # At its start it samples pixel centres; the published code counts them in another way than
    # its sampler does, so the picture shrinks by one pixel in all.
    row, column = row * (31 / 32) + 31 / 64, column * (127 / 128) + 127 / 256
    rectified = rectify(variables, values)[0]
    np.testing.assert_allclose(rectified[..., 0], row, atol=2e-3)
    np.testing.assert_allclose(rectified[..., 1], column, atol=2e-3)

    # All points 10 pixels to the right; what lies outside repeats the border.
    variables["params"]["fc2"]["bias"] += np.tile([10 / 63.5, 0], 20).astype(np.float32)
    moved = rectify(variables, values)[0]
    np.testing.assert_allclose(moved[..., 0], row, atol=2e-3)
    np.testing.assert_allclose(moved[..., 1], np.minimum(column + 10, 127), atol=2e-3)


def test_without_rectifier_images_are_only_scaled():
    network = Network(lambda rngs: CDistNet(**TINY, rectify=False, rngs=rngs))
    assert "rectifier" not in network.template["params"]
    images = np.array([0.0, 128 / 255, 1.0], np.float32).reshape(1, 1, 1, 3)
    values = network(random_variables(network.template), images, method="rectify")
    np.testing.assert_allclose(values.ravel(), [-1, 0, 127 / 128], atol=1e-6)


def test_width_must_suit_the_heads():
    with pytest.raises(UserError, match=r"width=20: must be even and a multiple .*heads=8"):
        CDistNet(width=20, heads=8, rngs=nnx.Rngs(0))
