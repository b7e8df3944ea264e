"""Reading with cached keys and values gives the words and scores of reading without them.

Without: the published decoder in plain Python, which recomputes the whole prefix at every step.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.conftest import WORDS, word_image
from tests.models.test_cdistnet import TINY, random_variables
from textsr_jax import losses, text
from textsr_jax.decoding.search import beam_search, greedy
from textsr_jax.models.cdistnet import CDistNet
from textsr_jax.models.network import Network
from textsr_jax.text import END, PAD, START

pytestmark = pytest.mark.slow

STEPS = 12
RANDOM_WORDS = 4


@functools.cache
def random_reader():
    return Network(lambda rngs: CDistNet(**TINY, rngs=rngs))


@functools.cache
def learner():
    """A network that can learn a dozen words; small heads, as scores are divided by their size."""
    sizes = {**TINY, "width": 32, "heads": 8, "channels": (8, 8, 8, 16, 16, 16), "rectify": False}
    return Network(lambda rngs: CDistNet(**sizes, dropout=0.0, rngs=rngs))


@functools.cache
def cached_reader(network, beam):
    @jax.jit
    def read(variables, memory):
        model = network.module(variables)
        cache = model.init_cache(memory, STEPS, beam)
        if beam == 1:
            return greedy(model.decode_step, cache, len(memory), STEPS)
        return beam_search(model.decode_step, cache, len(memory), STEPS, beam)

    return read


@functools.cache
def log_probabilities(network):
    """Those of the next tokens at every place of prefixes (beams, STEPS), for one word's memory."""

    @jax.jit
    def run(variables, memory, prefixes):
        memory = jnp.broadcast_to(memory, (len(prefixes), *memory.shape))
        return jax.nn.log_softmax(network.module(variables).decode(memory, prefixes))

    return run


def read_without_cache(network, variables, memories, beam):
    """The published beam search, which is greedy with one beam: [(tokens, score)] of each word."""
    words = []
    for memory in memories:
        hypotheses, scores = [[START]], np.zeros(1, np.float32)
        while len(hypotheses[0]) <= STEPS:
            prefixes = np.full((beam, STEPS), PAD, np.int32)
            prefixes[: len(hypotheses), : len(hypotheses[0])] = hypotheses
            gains = np.asarray(log_probabilities(network)(variables, memory, prefixes))
            candidates = scores[:, None] + gains[: len(hypotheses), len(hypotheses[0]) - 1]
            chosen = np.argsort(-candidates, axis=None, kind="stable")[:beam]
            parents, tokens = np.unravel_index(chosen, candidates.shape)
            hypotheses = [
                [*hypotheses[parent], token] for parent, token in zip(parents, tokens, strict=True)
            ]
            scores = candidates[parents, tokens]
            if hypotheses[0][-1] == END:
                break
        words.append((hypotheses[0][1:], scores[0]))
    return words


def assert_alike(network, variables, memory, beam):
    """Holds the two ways of reading together; returns the tokens of each word."""
    decoded = cached_reader(network, beam)(variables, memory)
    expected = read_without_cache(network, variables, memory, beam)
    found = [
        row[:length].tolist()
        for row, length in zip(np.asarray(decoded.tokens), decoded.lengths, strict=True)
    ]
    assert found == [tokens for tokens, _ in expected]
    scores = [score for _, score in expected]
    np.testing.assert_allclose(decoded.log_probability, scores, rtol=1e-5, atol=1e-5)
    return found


@pytest.mark.parametrize("beam", [1, 10])
def test_random_networks_read_alike_with_and_without_cache(beam):
    words = []
    for seed in range(24):
        variables = random_variables(random_reader().template, seed)
        # What was read so far shall change what is read next, and ends and pads shall be likely.
        variables["params"]["embedding"]["embedding"] *= 4
        variables["params"]["output"]["kernel"] *= (
            jnp.ones(text.ALPHANUMERIC.num_tokens).at[: END + 1].set(2)
        )
        memory = jax.random.normal(jax.random.key(seed), (RANDOM_WORDS, 64, TINY["width"]))
        words += assert_alike(random_reader(), variables, memory, beam)
    assert len({tuple(word) for word in words}) >= 40
    assert any(len(word) == STEPS for word in words)
    assert any(word[-1] == END and len(word) > 1 for word in words)
    assert any(PAD in word for word in words)
    # Only a beam that was not the best one can go on behind an end.
    assert beam == 1 or any(END in word[:-1] for word in words)


@pytest.fixture(scope="module")
def trained_reader():
    """The learner's variables after it has learnt to read `WORDS`, and what it sees of them."""
    network = learner()
    images = jnp.asarray(np.stack([word_image(word) for word in WORDS]) / 255, jnp.float32)
    tokens = text.cdistnet_tokens(text.ALPHANUMERIC.encode(WORDS, max(map(len, WORDS))))
    optimizer = optax.adam(2e-3)

    @jax.jit
    def step(variables, state):
        def loss(params):
            logits, stats = network.train({**variables, "params": params}, images, tokens[:, :-1])
            return losses.cross_entropy(logits, tokens[:, 1:]), stats

        grads, stats = jax.grad(loss, has_aux=True)(variables["params"])
        updates, state = optimizer.update(grads, state)
        return {"params": optax.apply_updates(variables["params"], updates), "stats": stats}, state

    variables = random_variables(network.template)
    state = optimizer.init(variables["params"])
    for _ in range(100):
        variables, state = step(variables, state)
    return variables, jax.jit(functools.partial(network, method="encode"))(variables, images)


@pytest.mark.slow
@pytest.mark.parametrize("beam", [1, 10])
def test_trained_networks_read_alike_with_and_without_cache(trained_reader, beam):
    variables, memory = trained_reader
    words = assert_alike(learner(), variables, memory, beam)
    right = [
        text.ALPHANUMERIC.decode_tokens([tokens])[0] == text.normalize(word)
        for tokens, word in zip(words, WORDS, strict=True)
    ]
    assert np.mean(right) > 0.8
    # Where it has to guess, its beams change places.
    noisy = memory + 3 * jax.random.normal(jax.random.key(1), memory.shape)
    assert assert_alike(learner(), variables, noisy, beam) != words
