"""Growth: a larger CDistNet computes what the smaller one did, and learns by its new parts."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models.test_cdistnet import TINY, random_variables
from textsr_jax.decoding import greedy
from textsr_jax.errors import UserError
from textsr_jax.models.cdistnet import CDistNet
from textsr_jax.models.growth import grow
from textsr_jax.models.network import Network, leaves_by_path, shape_difference
from textsr_jax.text import ALPHANUMERIC, FIRST_CHARACTER, PRINTABLE

IMAGES = np.random.default_rng(0).random((2, 32, 128, 3)).astype(np.float32)
TOKENS = np.array([[2, 9, 10, 11], [2, 30, 4, 0]], np.int32)
LARGER = {
    "channels": (6, 4, 7, 6, 9, 8),
    "depths": (1, 3, 1, 2, 1),
    "encoder_hidden": 32,
    "decoder_hidden": 32,
    "positional_hidden": 16,
    "rectifier_channels": (4, 5, 6, 9),
}


SMALL = TINY | {"channels": (4, 4, 5, 6, 7, 8)}


def network(**sizes) -> Network:
    return Network(lambda rngs: CDistNet(**(SMALL | {"dropout": 0.0} | sizes), rngs=rngs))


@pytest.fixture(scope="module")
def small():
    return random_variables(network().template)


@pytest.mark.slow
def test_more_channels_hidden_units_and_blocks_compute_the_same(small):
    larger = network(**LARGER)
    grown = grow(small, larger, jax.random.key(1), "init")
    assert shape_difference(grown, larger.template) is None
    expected = jax.jit(network())(small, IMAGES, TOKENS)
    np.testing.assert_allclose(jax.jit(larger)(grown, IMAGES, TOKENS), expected, atol=2e-5)
    assert float(jnp.abs(expected).max()) > 0.5


@pytest.mark.slow
def test_more_characters_leave_greedy_texts_as_they_are_and_are_near(small):
    # Memories and tokens that make the texts differ, and logits of several units.
    memory = 2 * np.random.default_rng(1).normal(size=(32, 64, 16)).astype(np.float32)
    small = jax.tree.map(lambda leaf: leaf, small)
    small["params"]["embedding"]["embedding"] *= 4
    small["params"]["output"]["kernel"] *= 3
    larger = network(alphabet=PRINTABLE, **LARGER)
    grown = grow(small, larger, jax.random.key(1), "init")
    assert shape_difference(grown, larger.template) is None

    def read(network, variables):
        module = network.module(variables)
        decoded = greedy(module.decode_step, module.init_cache(memory, 6), len(memory), 6)
        return module.alphabet.decode_tokens(decoded.tokens)

    texts = read(network(), small)
    assert read(larger, grown) == texts
    assert len(set(texts)) > 8

    # The best of all is an old token everywhere; a capital is near, and a mark is further.
    larger = jax.jit(larger)
    logits = np.asarray(larger(grown, IMAGES, TOKENS))
    assert (logits[..., ALPHANUMERIC.num_tokens :].max(-1) < logits.max(-1)).all()

    def of(characters):
        places = [FIRST_CHARACTER + PRINTABLE.characters.index(one) for one in characters]
        return logits[..., places]

    mean = logits[..., : ALPHANUMERIC.num_tokens].mean(-1, keepdims=True)
    np.testing.assert_allclose(of("AZ"), 0.9 * of("az") + 0.1 * mean, atol=1e-5)
    np.testing.assert_allclose(of("! ~"), np.repeat(mean, 3, -1), atol=1e-5)
    # What follows a capital is what follows its small letter.
    capital = np.where(TOKENS == 30, FIRST_CHARACTER + PRINTABLE.characters.index("Q"), TOKENS)
    assert (capital != TOKENS).any()
    np.testing.assert_allclose(larger(grown, IMAGES, capital), logits, atol=1e-6)


@pytest.mark.slow
def test_another_encoder_layer_is_the_identity_behind_an_even_scale_and_bias(small):
    norm = small["params"]["encoder"]["0"]["norm2"]
    even = {
        name: jnp.full_like(norm[name], value) for name, value in (("scale", 0.8), ("bias", 0.3))
    }
    variables = jax.tree.map(lambda leaf: leaf, small)
    variables["params"]["encoder"]["0"]["norm2"] = even
    larger = network(encoder_layers=3)
    grown = grow(variables, larger, jax.random.key(1), "init")
    expected, found = (
        jax.jit(functools.partial(one, method="encode"))(tree, IMAGES)
        for one, tree in ((network(), variables), (larger, grown))
    )
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.slow
def test_what_is_new_learns_within_three_steps(small):
    larger = network(**LARGER)
    grown = grow(small, larger, jax.random.key(1), "init")

    def loss(params, stats):
        logits, stats = larger.train({"params": params, "stats": stats}, IMAGES, TOKENS)
        return (jax.nn.logsumexp(logits, -1) - logits[..., 5]).mean(), stats

    gradient = jax.jit(jax.grad(loss, has_aux=True))
    params, stats = grown["params"], grown["stats"]
    learns = jax.tree.map(lambda leaf: np.zeros(leaf.shape, bool), params)
    for _ in range(3):
        # At first nobody listens to what is new, and then it has no gradient.
        slope, stats = gradient(params, stats)
        learns = jax.tree.map(lambda a, b: a | (np.asarray(b) != 0), learns, slope)
        params = jax.tree.map(lambda a, b: a - 0.01 * jnp.sign(b), params, slope)
    old, learns = leaves_by_path(small["params"]), leaves_by_path(learns)
    new = [path for path in learns if path not in old or old[path].shape != learns[path].shape]
    assert len(new) > 40
    for path in new:
        if path in old:
            learns[path][tuple(slice(size) for size in old[path].shape)] = False
        assert learns[path].any(), path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sizes", "tensor"),
    [
        ({"channels": (4, 4, 5, 6, 6, 8)}, "backbone/stages/3/0/conv1"),
        ({"width": 32}, "embedding"),
        ({"decoder_layers": 3}, "mdcdp/2"),
        ({"depths": (1, 1, 1, 1, 1)}, "backbone/stages/1/1"),
        ({"rectify": False}, "rectifier"),
    ],
)
def test_what_cannot_grow_is_named(small, sizes, tensor):
    with pytest.raises(UserError, match=rf"^init: .*{tensor}.* is .* by config\.ocr"):
        grow(small, network(**sizes), jax.random.key(0), "init")


@pytest.mark.slow
def test_a_block_that_adds_its_input_as_it_is_cannot_take_to_a_shortcut():
    straight = network(channels=(4, 4, 4, 6, 7, 8))
    variables = random_variables(straight.template)
    with pytest.raises(UserError, match=r"backbone/stages/1/0/shortcut.* is None there"):
        grow(variables, network(), jax.random.key(0), "init")
