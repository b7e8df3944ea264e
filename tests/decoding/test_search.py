"""Greedy and beam search on step functions that can be checked by hand, and CTC's best path."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textsr_jax.decoding import beam_search, every_beam, greedy, greedy_ctc, recognizer
from textsr_jax.text import ALPHANUMERIC, END, PAD, START

CLASSES = 6
WORDS, STEPS, BEAM = 5, 5, 3


def chain(tables):
    """A step that reads the next token's logits off tables (words, steps, previous, classes)."""

    def step(tokens, position, tables):
        word = jnp.arange(len(tokens)) // (len(tokens) // len(tables))
        return tables[word, position, tokens], tables

    return step, jnp.asarray(tables)


def script(*rows):
    """Tables under which greedy decoding says `rows`, each token with probability 0.9."""
    tables = np.full((len(rows), len(rows[0]), CLASSES, CLASSES), 0.1 / (CLASSES - 1))
    for word, tokens in enumerate(rows):
        for position, token in enumerate(tokens):
            tables[word, position, :, token] = 0.9
    return chain(np.log(tables))


def test_greedy_stops_each_word_at_its_end():
    step, cache = script([4, 5, END, 4, 4], [5, END, 4, 4, 4])
    decoded = greedy(step, cache, 2, 5)
    np.testing.assert_array_equal(decoded.tokens, [[4, 5, END, PAD, PAD], [5, END, PAD, PAD, PAD]])
    np.testing.assert_array_equal(decoded.lengths, [3, 2])
    np.testing.assert_allclose(decoded.log_probability, np.log(0.9) * np.array([3, 2]), rtol=1e-6)


def test_greedy_can_go_on_behind_the_end():
    step, cache = script([4, 5, END, 4, 5])
    decoded = greedy(step, cache, 1, 5, stop_at_end=False)
    np.testing.assert_array_equal(decoded.tokens, [[4, 5, END, 4, 5]])
    np.testing.assert_array_equal(decoded.lengths, [5])


def test_greedy_can_refuse_pads():
    logits = jnp.log(jnp.array([0.5, 0.05, 0.05, 0.1, 0.2, 0.1]))

    def step(tokens, position, cache):
        return jnp.broadcast_to(logits, (len(tokens), CLASSES)), cache

    np.testing.assert_array_equal(greedy(step, (), 1, 2).tokens, [[PAD, PAD]])
    decoded = greedy(step, (), 1, 2, forbid_pad=True)
    np.testing.assert_array_equal(decoded.tokens, [[4, 4]])
    # Its probability is still that among all classes.
    np.testing.assert_allclose(decoded.log_probability, [2 * np.log(0.2)], rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("decode", [greedy, beam_search])
def test_decoding_ends_when_all_words_have_ended(decode):
    step, cache = script([4, END, 4, 4, 4, 4], [5, 4, END, 4, 4, 4])
    steps_taken = []

    def counting(tokens, position, cache):
        steps_taken.append(int(position))
        return step(tokens, position, cache)

    with jax.disable_jit():
        decode(counting, cache, 2, 6)
    assert steps_taken == [0, 1, 2]


def published_beam_search(tables, beam):
    """The published algorithm in plain Python: its best hypothesis and that one's score."""
    steps = len(tables)
    log_probabilities = np.asarray(jax.nn.log_softmax(tables))
    beams = [([START], np.float32(0))]
    for position in range(steps):
        children = [
            ([*tokens, token], score + log_probabilities[position, tokens[-1], token])
            for tokens, score in beams
            for token in range(CLASSES)
        ]
        beams = sorted(children, key=lambda child: -child[1])[:beam]
        if beams[0][0][-1] == END:
            break
    tokens, score = beams[0]
    return tokens[1:], score


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), liking=st.floats(-2, 4))
def test_beam_search_is_the_published_one(seed, liking):
    rng = np.random.default_rng(seed)
    tables = rng.normal(size=(WORDS, STEPS, CLASSES, CLASSES)).astype(np.float32)
    tables[..., END] += liking
    decoded = run_beam_search(tables)
    for word in range(WORDS):
        tokens, score = published_beam_search(tables[word], BEAM)
        assert decoded.lengths[word] == len(tokens)
        np.testing.assert_array_equal(decoded.tokens[word, : len(tokens)], tokens)
        assert (decoded.tokens[word, len(tokens) :] == PAD).all()
        np.testing.assert_allclose(decoded.log_probability[word], score, rtol=1e-5)


@jax.jit
def run_beam_search(tables):
    step, cache = chain(tables)
    return beam_search(step, cache, WORDS, STEPS, beam=BEAM)


def beams_that_end(tables, beam, margin):
    """The search that keeps what has ended, in plain Python: hypotheses and scores, best first."""
    log_probabilities = np.asarray(jax.nn.log_softmax(tables))
    beams = [((START,), np.float32(0), False)]
    for position in range(len(tables)):
        children = []
        for tokens, score, ended in beams:
            if ended:
                children.append((tokens, score, True))
                continue
            for token in range(CLASSES):
                gain = log_probabilities[position, tokens[-1], token]
                children.append(((*tokens, token), score + gain, token == END))
        beams = sorted(children, key=lambda child: -child[1])[:beam]
        beams = [child for child in beams if child[1] >= beams[0][1] - margin]
    return [(tokens[1:], score) for tokens, score, _ in beams]


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    liking=st.floats(-2, 4),
    margin=st.sampled_from([0.7, 2.0, 100.0]),
)
def test_every_beam_keeps_those_that_ended(seed, liking, margin):
    rng = np.random.default_rng(seed)
    tables = rng.normal(size=(WORDS, STEPS, CLASSES, CLASSES)).astype(np.float32)
    tables[..., END] += liking
    decoded = run_every_beam(tables, margin)
    for word in range(WORDS):
        wanted = beams_that_end(tables[word], BEAM, margin)
        kept = decoded.log_probability[word] > -np.inf
        assert kept.sum() == len(wanted)
        for beam, (tokens, score) in enumerate(wanted):
            assert decoded.lengths[word, beam] == len(tokens)
            np.testing.assert_array_equal(decoded.tokens[word, beam, : len(tokens)], tokens)
            assert (decoded.tokens[word, beam, len(tokens) :] == PAD).all()
            np.testing.assert_allclose(decoded.log_probability[word, beam], score, rtol=1e-5)


@jax.jit
def run_every_beam(tables, margin):
    step, cache = chain(tables)
    return every_beam(step, cache, WORDS, STEPS, BEAM, margin)


def test_every_beam_with_enough_beams_ranks_all_texts():
    """Of two steps over six classes there are 5 x 6 + 1 texts, whose probabilities sum to 1."""
    tables = np.random.default_rng(0).normal(size=(1, 2, CLASSES, CLASSES)).astype(np.float32)
    step, cache = chain(tables)
    decoded = every_beam(step, cache, 1, 2, 31, np.inf)
    tokens, lengths = np.asarray(decoded.tokens[0]), np.asarray(decoded.lengths[0])
    assert len({tuple(row[:length]) for row, length in zip(tokens, lengths, strict=True)}) == 31
    np.testing.assert_allclose(np.exp(decoded.log_probability).sum(), 1, rtol=1e-5)
    assert (np.diff(decoded.log_probability[0]) <= 0).all()


@pytest.mark.slow
def test_every_beam_stops_when_nothing_is_left_to_choose_from():
    step, cache = script([4, END, 4, 4, 4, 4], [5, 4, END, 4, 4, 4])
    steps_taken = []

    def counting(tokens, position, cache):
        steps_taken.append(int(position))
        return step(tokens, position, cache)

    with jax.disable_jit():
        decoded = every_beam(counting, cache, 2, 6, 3, margin=1.0)
    assert steps_taken == [0, 1, 2]
    np.testing.assert_array_equal(decoded.tokens[:, 0, :3], [[4, END, PAD], [5, 4, END]])
    assert (decoded.log_probability[:, 1:] == -np.inf).all()


@pytest.mark.slow
def test_long_words_go_on_without_those_that_have_ended():
    ends = [1, 2, 3, 6, 2, 4, 2, 1]
    rows = [[4] * (end - 1) + [END] + [4] * (6 - end) for end in ends]
    step, cache = script(*rows)
    taken = []

    def counting(tokens, position, cache):
        taken.append((int(position), len(tokens)))
        return step(tokens, position, cache)

    with jax.disable_jit():
        decoded = every_beam(counting, cache, 8, 6, 2, margin=1.0)
    # Of 8 words 3 go on after two steps and 2 after three, in places for 4 and 2; 2 beams each.
    assert taken == [(0, 16), (1, 16), (2, 8), (3, 4), (4, 4), (5, 4)]
    np.testing.assert_array_equal(decoded.lengths[:, 0], ends)
    for word, end in enumerate(ends):
        np.testing.assert_array_equal(decoded.tokens[word, 0, :end], rows[word][:end])
        np.testing.assert_allclose(decoded.log_probability[word, 0], end * np.log(0.9), rtol=1e-5)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_one_beam_is_greedy(seed):
    tables = np.random.default_rng(seed).normal(size=(WORDS, STEPS, CLASSES, CLASSES))
    one_beam, greedily = run_both(tables.astype(np.float32))
    np.testing.assert_array_equal(one_beam.tokens, greedily.tokens)
    np.testing.assert_array_equal(one_beam.lengths, greedily.lengths)
    np.testing.assert_allclose(one_beam.log_probability, greedily.log_probability, rtol=1e-5)


@jax.jit
def run_both(tables):
    step, cache = chain(tables)
    return beam_search(step, cache, WORDS, STEPS, beam=1), greedy(step, cache, WORDS, STEPS)


def test_an_end_in_a_lesser_beam_has_no_special_standing():
    # After the first step, 4 leads and END comes second. END's child 5 then overtakes all of 4's.
    first = np.log([0.01, 0.01, 0.01, 0.4, 0.56, 0.01])
    after_end = np.log([0.01, 0.01, 0.01, 0.01, 0.01, 0.95])
    after_4 = np.full(CLASSES, np.log(1 / CLASSES))
    tables = np.zeros((1, 2, CLASSES, CLASSES), np.float32)
    tables[0, 0] = first
    tables[0, 1] = after_4
    tables[0, 1, END] = after_end
    step, cache = chain(tables)
    decoded = beam_search(step, cache, 1, 2, beam=2)
    np.testing.assert_array_equal(decoded.tokens, [[END, 5]])
    np.testing.assert_allclose(decoded.log_probability, [np.log(0.4 * 0.95)], rtol=1e-5)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_histories_follow_their_beams_and_memories_stay(seed):
    rng = np.random.default_rng(seed)
    memory = rng.normal(size=(WORDS, CLASSES)).astype(np.float32)
    tables = rng.normal(size=(CLASSES, CLASSES)).astype(np.float32)
    best, every = run_with_history(memory, tables)
    for word in range(WORDS):
        np.testing.assert_allclose(
            best.log_probability[word],
            forced(memory[word], tables, best.tokens[word, : best.lengths[word]]),
            rtol=1e-4,
        )
        for beam in range(BEAM):
            tokens = every.tokens[word, beam, : every.lengths[word, beam]]
            np.testing.assert_allclose(
                every.log_probability[word, beam], forced(memory[word], tables, tokens), rtol=1e-4
            )


def forced(memory, tables, tokens):
    """The log probability of tokens by teacher forcing: of the whole prefix at every step."""
    history, score = np.zeros(CLASSES, np.float32), 0.0
    for previous, token in itertools.pairwise([START, *np.asarray(tokens)]):
        history = 0.5 * history + tables[previous]
        score += np.asarray(jax.nn.log_softmax(history + memory))[token]
    return score


@jax.jit
def run_with_history(memory, tables):
    """Both searches, where logits depend on all tokens before by a history of one row per beam."""

    def step(tokens, position, cache):
        memory, history = cache
        history = 0.5 * history + tables[tokens]
        return history + jnp.repeat(memory, BEAM, axis=0), (memory, history)

    cache = (memory, jnp.zeros((WORDS * BEAM, CLASSES)))
    best = beam_search(step, cache, WORDS, STEPS, beam=BEAM)
    return best, every_beam(step, cache, WORDS, STEPS, BEAM, margin=np.inf)


def collapse(path):
    """CTC's reading of a path of classes in plain Python: runs to one, then without blanks."""
    return "".join(
        ALPHANUMERIC.characters[label - 1] for label, _ in itertools.groupby(path) if label
    )


@given(
    paths=st.lists(
        # Few classes, so that they repeat; the last of the alphabet among them.
        st.lists(st.sampled_from([0, 1, 2, 36]), min_size=7, max_size=7),
        min_size=1,
        max_size=3,
    ),
    seed=st.integers(0, 2**32 - 1),
)
def test_ctc_collapses_the_best_path(paths, seed):
    rng = np.random.default_rng(seed)
    logits = rng.uniform(0, 3, (len(paths), 7, ALPHANUMERIC.num_ctc_classes)).astype(np.float32)
    np.put_along_axis(logits, np.array(paths)[:, :, None], 4, axis=2)
    decoded = jax.jit(greedy_ctc)(logits)
    words = [collapse(path) for path in paths]
    assert ALPHANUMERIC.decode_tokens(decoded.tokens) == words
    np.testing.assert_array_equal(decoded.lengths, [len(word) + 1 for word in words])
    for tokens, length in zip(np.asarray(decoded.tokens), decoded.lengths, strict=True):
        assert tokens.shape == (8,)
        assert tokens[length - 1] == END
        assert (tokens[length:] == PAD).all()
    expected = np.log(np.exp(4) / np.exp(logits).sum(axis=2)).sum(axis=1)
    np.testing.assert_allclose(decoded.log_probability, expected, rtol=1e-4)


def test_ctc_reads_a_known_path():
    logits = np.full((1, 6, ALPHANUMERIC.num_ctc_classes), -9, np.float32)
    logits[0, range(6), [11, 11, 0, 11, 1, 0]] = 9
    np.testing.assert_array_equal(greedy_ctc(logits).tokens, [[14, 14, 4, END, PAD, PAD, PAD]])


def test_a_recognizer_reads_by_its_own_method():
    def network(variables, images, search, *, method):
        assert method == "read"
        return search.by_frame(images)

    logits = (
        np.random.default_rng(0)
        .normal(size=(2, 5, ALPHANUMERIC.num_ctc_classes))
        .astype(np.float32)
    )
    read = recognizer(network, beam=10, steps=3)({}, logits)
    expected = greedy_ctc(logits)
    np.testing.assert_array_equal(read.tokens, expected.tokens)
    np.testing.assert_array_equal(read.lengths, expected.lengths)
    np.testing.assert_allclose(read.log_probability, expected.log_probability, rtol=1e-6)
