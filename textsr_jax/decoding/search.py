"""Greedy and beam search over the steps of any recogniser that writes token by token.

They work on any step function and its cache (see `Step`), run inside jit, and stop when all words
have ended. Tokens are CDistNet's, those of `textsr_jax.text`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp

from textsr_jax.images import Array
from textsr_jax.text import END, PAD, START

# A tree of arrays. Leaves with one row are shared by all words, and those with one row a word by
# the beams of that word. Leaves with one row a beam (words x beams, the beams of a word together)
# follow the beams when a search reorders these.
Cache = Any

# step(tokens, position, cache) -> (logits, cache): reads int32 tokens (rows,) at the int32 scalar
# position, and returns the logits (rows, classes) of the tokens at the next position.
Step = Callable[[jax.Array, jax.Array, Cache], tuple[jax.Array, Cache]]


class Decoded(NamedTuple):
    """The words read from a batch.

    Attributes:
      tokens: int32 (batch, steps) without the start token; pads after the last token.
      lengths: int32 (batch,), the number of tokens, the end token included.
      log_probability: float32 (batch,), the sum over those tokens, not normalised by length. For
        CTC it is the sum over the frames of the best path.
    """

    tokens: Array
    lengths: Array
    log_probability: Array


def greedy(
    step: Step,
    cache: Cache,
    batch: int,
    steps: int,
    *,
    forbid_pad: bool = False,
    stop_at_end: bool = True,
) -> Decoded:
    """Takes the likeliest token at every step.

    Args:
      step: see `Step`.
      cache: what `step` needs at position 0.
      batch: number of words; each is one row.
      steps: tokens for each word at most.
      forbid_pad: never takes class 0, however likely it is.
      stop_at_end: ends a word at its end token. Otherwise every word has `steps` tokens.
    """

    class State(NamedTuple):
        position: jax.Array
        token: jax.Array
        ended: jax.Array
        decoded: Decoded
        cache: Cache

    def unfinished(state: State) -> jax.Array:
        return (state.position < steps) & ~state.ended.all()

    def advance(state: State) -> State:
        logits, cache = step(state.token, state.position, state.cache)
        log_probabilities = jax.nn.log_softmax(logits.astype(jnp.float32))
        allowed = log_probabilities.at[:, PAD].set(-jnp.inf) if forbid_pad else log_probabilities
        token = jnp.argmax(allowed, axis=1).astype(jnp.int32)
        gain = jnp.take_along_axis(log_probabilities, token[:, None], axis=1)[:, 0]
        tokens, lengths, total = state.decoded
        token = jnp.where(state.ended, PAD, token)
        decoded = Decoded(
            cast(jax.Array, tokens).at[:, state.position].set(token),
            jnp.where(state.ended, lengths, state.position + 1),
            jnp.where(state.ended, total, total + gain),
        )
        ended = state.ended | (token == END) if stop_at_end else state.ended
        return State(state.position + 1, token, ended, decoded, cache)

    start = State(
        position=jnp.int32(0),
        token=jnp.full(batch, START, jnp.int32),
        ended=jnp.zeros(batch, bool),
        decoded=Decoded(
            jnp.full((batch, steps), PAD, jnp.int32),
            jnp.zeros(batch, jnp.int32),
            jnp.zeros(batch, jnp.float32),
        ),
        cache=cache,
    )
    return jax.lax.while_loop(unfinished, advance, start).decoded


def beam_search(step: Step, cache: Cache, batch: int, steps: int, beam: int = 10) -> Decoded:
    """CDistNet's published beam search. It returns the best beam of every word.

    A word is done when its best beam has just taken the end token. Any other beam that takes the
    end token goes on. So a result may hold end tokens before its last one.

    Args:
      step: see `Step`; its rows are batch x beam, the beams of a word together.
      cache: what `step` needs at position 0, for that many rows.
      batch: number of words.
      steps: tokens for each word at most; 49 in the published code.
      beam: beams for each word.
    """

    class State(NamedTuple):
        position: jax.Array
        token: jax.Array
        tokens: jax.Array
        scores: jax.Array
        lengths: jax.Array
        done: jax.Array
        cache: Cache

    def unfinished(state: State) -> jax.Array:
        return (state.position < steps) & ~state.done.all()

    def advance(state: State) -> State:
        logits, cache = step(state.token.reshape(-1), state.position, state.cache)
        classes = logits.shape[1]
        gains = jax.nn.log_softmax(logits.astype(jnp.float32)).reshape(batch, beam, classes)
        scores, parent, token = _best_children(state.scores, gains)
        tokens = jnp.take_along_axis(state.tokens, parent[:, :, None], axis=1)
        tokens = tokens.at[:, :, state.position].set(token)
        cache = _following(parent, cache)
        done = state.done
        return State(
            position=state.position + 1,
            token=token,
            tokens=jnp.where(done[:, None, None], state.tokens, tokens),
            scores=jnp.where(done[:, None], state.scores, scores),
            lengths=jnp.where(done, state.lengths, state.position + 1),
            done=done | (token[:, 0] == END),
            cache=cache,
        )

    start = State(
        position=jnp.int32(0),
        token=jnp.full((batch, beam), START, jnp.int32),
        tokens=jnp.full((batch, beam, steps), PAD, jnp.int32),
        # All beams are alike at first, so only the first one may have children.
        scores=jnp.full((batch, beam), -jnp.inf).at[:, 0].set(0.0),
        lengths=jnp.zeros(batch, jnp.int32),
        done=jnp.zeros(batch, bool),
        cache=cache,
    )
    end = jax.lax.while_loop(unfinished, advance, start)
    return Decoded(end.tokens[:, 0], end.lengths, end.scores[:, 0])


def every_beam(
    step: Step, cache: Cache, batch: int, steps: int, beam: int, margin: float
) -> Decoded:
    """Beam search that returns all beams, the best one first, so that a choice may follow.

    In `beam_search` a beam goes on after its end token. Here it ends, and keeps its place among
    the beams that go on. A word is done when all of its beams have ended.

    Args:
      step, cache, batch, steps, beam: as `beam_search` takes them.
      margin: a beam is given up where its log probability is this much below the best one's.

    Returns:
      `Decoded` with an axis of beams after the batch axis: tokens (batch, beam, steps), lengths and
      log probabilities (batch, beam). A beam that was given up has -inf.
    """

    class State(NamedTuple):
        position: jax.Array
        token: jax.Array
        decoded: Decoded
        ended: jax.Array
        cache: Cache

    def advance(state: State) -> State:
        logits, cache = step(state.token.reshape(-1), state.position, state.cache)
        classes = logits.shape[1]
        gains = jax.nn.log_softmax(logits.astype(jnp.float32))
        gains = gains.reshape(*state.token.shape, classes)
        # A beam that has ended has one child, itself.
        itself = jnp.where(jnp.arange(classes) == PAD, 0.0, -jnp.inf)
        gains = jnp.where(state.ended[:, :, None], itself, gains)
        before_step = cast(jax.Array, state.decoded.log_probability)
        scores, parent, token = _best_children(before_step, gains)
        scores = jnp.where(scores < scores[:, :1] - margin, -jnp.inf, scores)
        tokens = jnp.take_along_axis(state.decoded.tokens, parent[:, :, None], axis=1)
        before = jnp.take_along_axis(state.ended, parent, axis=1)
        lengths = jnp.take_along_axis(state.decoded.lengths, parent, axis=1) + ~before
        return State(
            position=state.position + 1,
            token=token,
            decoded=Decoded(tokens.at[:, :, state.position].set(token), lengths, scores),
            ended=before | (token == END) | (scores == -jnp.inf),
            cache=_following(parent, cache),
        )

    def search(state: State) -> Decoded:
        words = len(state.token)
        # The search drops words that have ended twice: when half of them go on, and a quarter. That
        # saves a third of the time on two CPU cores. Each size is compiled.
        left = words // 2 if 4 * words > batch else 0

        def unfinished(state: State) -> jax.Array:
            return (state.position < steps) & ((~state.ended).any(axis=1).sum() > left)

        state = jax.lax.while_loop(unfinished, advance, state)
        if not left:
            return state.decoded
        # The sort is stable: words that have not ended come first, and others fill the places left.
        chosen = jnp.argsort(state.ended.all(axis=1))[:left]
        token, decoded, ended = jax.tree.map(
            lambda x: x[chosen], (state.token, state.decoded, state.ended)
        )
        cache = _of_words(chosen, words, state.cache, beam)
        rest = search(State(state.position, token, decoded, ended, cache))
        return jax.tree.map(lambda x, part: x.at[chosen].set(part), state.decoded, rest)

    start = State(
        position=jnp.int32(0),
        token=jnp.full((batch, beam), START, jnp.int32),
        decoded=Decoded(
            jnp.full((batch, beam, steps), PAD, jnp.int32),
            jnp.zeros((batch, beam), jnp.int32),
            # All beams are alike at first, so only the first one may have children.
            jnp.full((batch, beam), -jnp.inf).at[:, 0].set(0.0),
        ),
        ended=jnp.zeros((batch, beam), bool),
        cache=cache,
    )
    return search(start)


def _best_children(scores: jax.Array, gains: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The best children, as many as there are beams, the best first.

    Args:
      scores: float (batch, beam).
      gains: float (batch, beam, classes), what each token adds.

    Returns:
      Their scores, the numbers of their parents and their tokens, each (batch, beam).
    """
    batch, beam, classes = gains.shape
    best, chosen = jax.lax.top_k((scores[:, :, None] + gains).reshape(batch, -1), beam)
    return best, chosen // classes, (chosen % classes).astype(jnp.int32)


def _following(parent: jax.Array, cache: Cache) -> Cache:
    """The cache of children, each of which continues the beam `parent` (batch, beam)."""
    batch, beam = parent.shape
    rows = (jnp.arange(batch)[:, None] * beam + parent).reshape(-1)
    return jax.tree.map(lambda x: x[rows] if x.shape[0] == batch * beam else x, cache)


def _of_words(chosen: jax.Array, words: int, cache: Cache, beam: int) -> Cache:
    """The cache of the `chosen` ones of its words."""

    def part(x: jax.Array) -> jax.Array:
        if x.shape[0] == words * beam:
            return x.reshape(words, beam, *x.shape[1:])[chosen].reshape(-1, *x.shape[1:])
        return x[chosen] if x.shape[0] == words else x

    return jax.tree.map(part, cache)
