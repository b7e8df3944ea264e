"""Decoding: from a recogniser's logits to words, by greedy or beam search or by CTC's best path.

The searches work on any step function and cache (see `Step`) and stop when all words end; all run
inside jit and write CDistNet's tokens.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from textsr_jax.text import BLANK, END, FIRST_CHARACTER, PAD, START

# A tree of arrays. All words share leaves with one row, and the beams of a word those with one row
# per word; leaves with one row per beam (words x beams, the beams of a word together) follow the
# beams when these are reordered.
Cache = Any

# step(tokens, position, cache) -> (logits, cache): reads int32 tokens (rows,) at the int32 scalar
# position and gives the logits (rows, classes) of the tokens at the next position.
Step = Callable[[jax.Array, jax.Array, Cache], tuple[jax.Array, Cache]]


class Decoded(NamedTuple):
    """The words read from a batch.

    Attributes:
      tokens: int32 (batch, steps) without the start token; pads after the last token.
      lengths: int32 (batch,), the number of tokens, the end token included.
      log_probability: float32 (batch,), the sum over those tokens, not normalised by length; of
        CTC the sum over the frames of the best path.
    """

    tokens: jax.Array
    lengths: jax.Array
    log_probability: jax.Array


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
      batch: number of words, which are the rows.
      steps: tokens per word at most.
      forbid_pad: never take class 0, however likely.
      stop_at_end: end a word at its end token; otherwise every word has `steps` tokens.
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
            tokens.at[:, state.position].set(token),
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
    """CDistNet's published beam search; the best beam of every word.

    A word is done when its best beam has just taken the end token. Any other beam that takes it has
    no special standing: it goes on, so that a result may hold end tokens before its last one.

    Args:
      step: see `Step`; its rows are batch x beam, the beams of a word together.
      cache: what `step` needs at position 0, for that many rows.
      batch: number of words.
      steps: tokens per word at most; 49 in the published code.
      beam: beams per word.
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
        # At first all beams are alike, and only the first one may have children.
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
    """Beam search that keeps the beams which have ended, for a choice among them; the best first.

    Unlike `beam_search` a beam that takes the end token stands as it is, beside those that go on,
    and a word is done when all of its beams have ended.

    Args:
      step, cache, batch, steps, beam: as `beam_search` takes them.
      margin: beams whose log probability is that much below the best one's are given up.

    Returns:
      `Decoded` with an axis of beams behind the batch's: tokens (batch, beam, steps), lengths and
      log probabilities (batch, beam); the latter are -inf of beams that were given up.
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
        # What has ended has one child, itself.
        itself = jnp.where(jnp.arange(classes) == PAD, 0.0, -jnp.inf)
        gains = jnp.where(state.ended[:, :, None], itself, gains)
        scores, parent, token = _best_children(state.decoded.log_probability, gains)
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
        # Words that have ended are left behind twice, where half and a quarter go on, which saves a
        # third of the time on two CPU cores. Each size is compiled.
        left = words // 2 if 4 * words > batch else 0

        def unfinished(state: State) -> jax.Array:
            return (state.position < steps) & ((~state.ended).any(axis=1).sum() > left)

        state = jax.lax.while_loop(unfinished, advance, state)
        if not left:
            return state.decoded
        # Stable: the words that have not ended, and after them as many others as there is room for.
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
            # At first all beams are alike, and only the first one may have children.
            jnp.full((batch, beam), -jnp.inf).at[:, 0].set(0.0),
        ),
        ended=jnp.zeros((batch, beam), bool),
        cache=cache,
    )
    return search(start)


def _best_children(scores: jax.Array, gains: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """As many children as there are beams, the best first: their scores, parents and tokens.

    Args:
      scores: float (batch, beam).
      gains: float (batch, beam, classes), what each token adds.
    """
    batch, beam, classes = gains.shape
    best, chosen = jax.lax.top_k((scores[:, :, None] + gains).reshape(batch, -1), beam)
    return best, chosen // classes, (chosen % classes).astype(jnp.int32)


def _following(parent: jax.Array, cache: Cache) -> Cache:
    """The cache in the order of the children whose parents (batch, beam) are given."""
    batch, beam = parent.shape
    rows = (jnp.arange(batch)[:, None] * beam + parent).reshape(-1)
    return jax.tree.map(lambda x: x[rows] if x.shape[0] == batch * beam else x, cache)


def _of_words(chosen: jax.Array, words: int, cache: Cache, beam: int) -> Cache:
    """The cache of some of its words."""

    def part(x: jax.Array) -> jax.Array:
        if x.shape[0] == words * beam:
            return x.reshape(words, beam, *x.shape[1:])[chosen].reshape(-1, *x.shape[1:])
        return x[chosen] if x.shape[0] == words else x

    return jax.tree.map(part, cache)


def greedy_ctc(logits: jax.Array) -> Decoded:
    """Reads the likeliest class of every frame, then drops repetitions and blanks.

    As in "Connectionist temporal classification" (Graves et al., 2006), best path decoding. The
    probability is that of the best path alone, a lower bound of the word's.

    Args:
      logits: float (batch, frames, classes), class 0 the blank, then the characters of `text`.

    Returns:
      Words of at most `frames` characters, an end token behind each: tokens (batch, frames + 1).
    """
    batch, frames, _ = logits.shape
    path = jnp.argmax(logits, axis=-1).astype(jnp.int32)
    before = jnp.pad(path[:, :-1], ((0, 0), (1, 0)), constant_values=BLANK)
    kept = (path != BLANK) & (path != before)
    count = kept.sum(axis=1, dtype=jnp.int32)
    # What is not kept is written behind the last column, where it is dropped.
    column = jnp.where(kept, jnp.cumsum(kept, axis=1) - 1, frames + 1)
    row = jnp.arange(batch)[:, None]
    tokens = jnp.full((batch, frames + 1), PAD, jnp.int32)
    tokens = tokens.at[row, column].set(path + (FIRST_CHARACTER - 1), mode="drop")
    tokens = tokens.at[row, count[:, None]].set(END)
    best = jax.nn.log_softmax(logits.astype(jnp.float32)).max(axis=-1)
    return Decoded(tokens, count + 1, best.sum(axis=1))


def writes_tokens(module: Any) -> bool:
    """Whether a recogniser's module writes token by token, as CDistNet; else CTC reads its frames.

    The first kind has `encode`, `init_cache` and `decode_step`; the second is called with images
    and returns the logits of `greedy_ctc`, as CRNN.
    """
    return hasattr(module, "decode_step")


def recognizer(
    ocr: Any, *, beam: int, steps: int, margin: float | None = None
) -> Callable[[Any, jax.Array], Decoded]:
    """A compiled function that reads images: (variables, images in [0, 1]) to `Decoded`.

    Args:
      ocr: a recogniser's `Network`, of either kind (`writes_tokens`).
      beam: beams per word; 1 is greedy decoding. CTC is always decoded greedily, as published.
      steps: tokens per word at most, the end token included. CTC's frames set their own limit.
      margin: None for the best beam of each word; else all of them, as `every_beam` has it.
    """

    @jax.jit
    def read(variables: Any, images: jax.Array) -> Decoded:
        module = ocr.module(variables)
        if not writes_tokens(module):
            return greedy_ctc(module(images))
        cache = module.init_cache(module.encode(images), steps, beam)
        if margin is not None:
            return every_beam(module.decode_step, cache, len(images), steps, beam, margin)
        if beam == 1:
            return greedy(module.decode_step, cache, len(images), steps)
        return beam_search(module.decode_step, cache, len(images), steps, beam)

    return read
