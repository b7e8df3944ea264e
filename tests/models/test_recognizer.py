"""A third recogniser is one file: trained, read, evaluated and measured through the same doors."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from tests.conftest import WORDS, micro_config, word_image
from textsr_jax import decoding, losses, reading, text
from textsr_jax.config.checks import checked
from textsr_jax.data.batching import Batch
from textsr_jax.evaluation import protocol
from textsr_jax.images import to_float
from textsr_jax.models import Network, build_ocr, build_sr
from textsr_jax.reading.engine import JaxEngine
from textsr_jax.train import state as states
from textsr_jax.train import steps

COLUMNS = 8


class ColumnReader(nnx.Module):
    """Reads a token in each eighth of an image, all at once: no decoder, and no CTC."""

    alphabet = text.ALPHANUMERIC

    def __init__(self, *, rngs):
        self.hidden = nnx.Linear(32 * 128 * 3, 64, rngs=rngs)
        self.output = nnx.Linear(64, COLUMNS * self.alphabet.num_tokens, rngs=rngs)

    def __call__(self, images):
        features = nnx.relu(self.hidden((images - 0.7).reshape(len(images), -1)))
        return self.output(features).reshape(len(images), COLUMNS, self.alphabet.num_tokens)

    def loss(self, images, losses, *, train=False, rngs=None):
        return losses.cross_entropy(
            self(images), lambda characters: text.cdistnet_tokens(characters)[:, 1 : COLUMNS + 1]
        )

    def read(self, images, search):
        log_probabilities = jax.nn.log_softmax(self(images))
        tokens = jnp.argmax(log_probabilities, axis=-1).astype(jnp.int32)
        after_end = jnp.cumsum(tokens == text.END, axis=1) - (tokens == text.END) > 0
        best = jnp.where(after_end, 0, log_probabilities.max(axis=-1))
        tokens = jnp.where(after_end, text.PAD, tokens)
        return tokens, COLUMNS - after_end.sum(axis=1), best.sum(axis=1)


@pytest.fixture(scope="module")
def network():
    return Network(lambda rngs: ColumnReader(rngs=rngs))


@pytest.fixture(scope="module")
def words():
    hr = np.stack([np.asarray(word_image(word)) for word in WORDS])
    return Batch(
        lr=hr[:, ::2, ::2],
        hr=hr,
        characters=text.ALPHANUMERIC.encode(WORDS, COLUMNS),
        index=np.arange(len(WORDS), dtype=np.int32),
        valid=np.ones(len(WORDS), bool),
    )


@pytest.fixture(scope="module")
def variables(network, words):
    """The variables after some steps of training, in which it learns the words by heart."""
    optimizer = optax.adam(2e-4)
    step = jax.jit(steps.make_step(steps.recognizer_loss(network), optimizer))
    state = states.create(network.init(jax.random.key(0)), optimizer, jax.random.key(1))
    for _ in range(200):
        state, parts = step(state, {}, words)
    assert float(parts["characters_right"]) == 1
    return {"params": state.params, "stats": state.stats}


@pytest.mark.slow
def test_it_is_trained_and_read(network, words, variables):
    decoded = decoding.recognizer(network, beam=1, steps=COLUMNS)(variables, to_float(words.hr))
    found = text.ALPHANUMERIC.decode_tokens(decoded.tokens)
    assert found == [text.normalize(word) for word in WORDS]
    np.testing.assert_array_equal(decoded.lengths, [len(text.normalize(w)) + 1 for w in WORDS])


@pytest.mark.slow
def test_it_is_evaluated(network, variables, data_root, tmp_path):
    evaluation = protocol.Evaluation.open(
        checked(micro_config(data_root, tmp_path)), str(data_root)
    )
    found = evaluation.read(network, variables, evaluation.hr)
    assert evaluation.row("HR", "columns", evaluation.hr, found).mean["accuracy"] == 100


def test_a_reader_reads_with_it(network, words, variables):
    sr = build_sr(micro_config("", "").sr)
    search = decoding.WordSearch(beam=1, steps=COLUMNS)
    engine = JaxEngine(search, lambda: (sr, network), sr.init(jax.random.key(0)), variables)
    read = reading.Reader(engine).read_enhanced(words.hr)
    assert [one.text for one in read] == [text.normalize(word) for word in WORDS]


def losses_of(network, variables, words):
    return network(
        variables, to_float(words.hr), losses.WordLosses(words.characters), method="loss"
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["columns", "cdistnet", "crnn"])
def test_the_loss_of_each_word_is_that_of_a_batch_of_one(network, words, name):
    if name != "columns":
        config = micro_config("", "")
        config.ocr.name = name
        network = build_ocr(config.ocr)
    drawn = network.init(jax.random.key(0))
    words = jax.tree.map(lambda array: array[:3], words)
    each, _ = jax.jit(lambda v: losses_of(network, v, words))(drawn)
    alone = [
        jax.jit(lambda v, row: losses_of(network, v, row))(
            drawn, jax.tree.map(lambda array, row=row: array[row : row + 1], words)
        )[0]
        for row in range(3)
    ]
    assert each.shape == (3,)
    np.testing.assert_allclose(each, np.concatenate(alone), rtol=1e-4)
