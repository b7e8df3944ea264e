"""Reading with ONNX Runtime: the graphs of an exported folder behind a `Reader`.

Images, words and searches are in numpy; JAX computes nothing.
"""

import hashlib
import json
import os
import pathlib
import pickle
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import numpy as np

from textsr_jax import text
from textsr_jax.config import checks
from textsr_jax.config.settings import HeldOut
from textsr_jax.decoding.search import Decoded
from textsr_jax.decoding.word_search import Words, WordSearch
from textsr_jax.errors import UserError, needs, require_finite
from textsr_jax.export import GRAPHS, PRECISIONS, RECORD, VERSION, graph_file
from textsr_jax.reading import (
    Abstention,
    Description,
    Reader,
    check_unchanged,
    searched_otherwise,
)
from textsr_jax.runtime.concurrency import Concurrent
from textsr_jax.text import END, PAD, START

with needs("onnx"):
    import onnxruntime

# The fields of a record's part `decoding`.
_DECODING = {"beam", "steps", "language_weight", "second_look", "temperature"}
_ALPHABETS = {alphabet.characters: alphabet for alphabet in text.ALPHABETS.values()}
# Images in a batch. Several batches are computed at once.
_BATCH = 16


class GraphDecoder:
    """CDistNet's decoder over its two graphs.

    Args:
      start: the session of `decoder_start`, which reads the visual memory once.
      step: the session of `decoder_step`.
    """

    def __init__(self, start: onnxruntime.InferenceSession, step: onnxruntime.InferenceSession):
        self._start, self._step = start, step
        self._memory_names = [output.name for output in start.get_outputs()]
        fixed = {"tokens", "positions", *self._memory_names}
        caches = [i for i in step.get_inputs() if i.name not in fixed]
        # Shapes are (words, beams, heads, length, size); heads and size are known numbers.
        self._cache_shapes = {cache.name: (cache.shape[2], cache.shape[4]) for cache in caches}

    def search(self, memory: np.ndarray, search: WordSearch) -> Decoded:
        """The words in `memory`, float32 (words, 64, width), as numpy arrays for `search.words`.

        It computes `decoding.every_beam` where the search has a margin, and `beam_search`
        otherwise; with one beam that equals `greedy`. Words that are done leave the batch.
        """
        shape = len(memory), search.beam
        searched = Decoded(
            np.full((*shape, search.steps), PAD, np.int32),
            np.zeros(shape, np.int32),
            np.zeros(shape, np.float32),
        )
        for _ in self.feeds(memory, search, searched):
            pass
        if search.margin is None:
            return Decoded(*(part[:, 0] for part in searched))
        return searched

    def feeds(
        self, memory: np.ndarray, search: WordSearch, searched: Decoded | None = None
    ) -> Iterator[dict[str, np.ndarray]]:
        """Yields the inputs of every step of a search; each step runs when the next is asked for.

        Args:
          memory, search: as `search` takes them.
          searched: where every beam is written.
        """
        words, beam = np.arange(len(memory)), search.beam
        memories = dict(
            zip(self._memory_names, self._start.run(None, {"memory": memory}), strict=True)
        )
        tokens = np.full((len(memory), beam, 1), START, np.int32)
        # All beams are alike at first, so only the first one may have children.
        scores = np.full((len(memory), beam), -np.inf, np.float32)
        scores[:, 0] = 0
        ended = np.zeros((len(memory), beam), bool)
        lengths = np.zeros((len(memory), beam), np.int32)
        caches = {
            name: np.zeros((len(memory), beam, heads, 1, size), np.float32)
            for name, (heads, size) in self._cache_shapes.items()
        }
        for position in range(search.steps):
            positions = np.arange(position + 1, dtype=np.int32)
            feed = {"tokens": tokens, "positions": positions, **memories, **caches}
            yield feed
            logits, *written = self._step.run(None, feed)
            gains = _log_softmax(logits)
            classes = gains.shape[2]
            # A beam that has ended has one child, itself.
            gains[ended] = np.where(np.arange(classes) == PAD, np.float32(0), -np.inf)
            candidates = (scores[:, :, None] + gains).reshape(len(words), -1)
            # The sort is stable: the first of equal candidates is taken, as in JAX.
            chosen = np.argsort(-candidates, axis=1, kind="stable")[:, :beam]
            scores = np.take_along_axis(candidates, chosen, axis=1)
            parents, token = np.divmod(chosen, classes)
            before = np.take_along_axis(tokens, parents[:, :, None], axis=1)
            tokens = np.concatenate([before, token[:, :, None].astype(np.int32)], axis=2)
            stood = np.take_along_axis(ended, parents, axis=1)
            lengths = np.take_along_axis(lengths, parents, axis=1) + ~stood
            if search.margin is None:
                done = token[:, 0] == END
            else:
                scores[scores < scores[:, :1] - np.float32(search.margin)] = -np.inf
                ended = stood | (token == END) | (scores == -np.inf)
                done = ended.all(axis=1)
            done |= position == search.steps - 1
            if searched is not None:
                searched.tokens[words[done], :, : position + 1] = tokens[done, :, 1:]
                searched.lengths[words[done]] = lengths[done]
                searched.log_probability[words[done]] = scores[done]
            if done.all():
                return
            (left,) = np.nonzero(~done)
            words, scores, tokens = words[left], scores[left], tokens[left]
            ended, lengths = ended[left], lengths[left]
            if done.any():
                memories = {name: values[left] for name, values in memories.items()}
            rows = left[:, None], parents[left]
            caches = {
                name: _grown(values[rows])
                for name, values in zip(self._cache_shapes, written, strict=True)
            }


class OnnxEngine:
    """Enlarges and recognises for a `reading.Reader`, as `reading.engine.JaxEngine` does.

    Attributes:
      alphabet: what the recogniser writes.

    Args:
      sessions: by the names of `GRAPHS`.
      search: how words are searched.
      name: of the models, for messages.
      again: a function and its arguments that make this engine in another process.
    """

    def __init__(
        self,
        sessions: dict[str, onnxruntime.InferenceSession],
        search: WordSearch,
        name: str = "the model",
        again: tuple[Callable[..., "OnnxEngine"], tuple[Any, ...]] | None = None,
    ):
        sr, encoder, start, step = (sessions[name] for name in GRAPHS)
        decoder = GraphDecoder(start, step)

        def enlarge(lr: np.ndarray) -> np.ndarray:
            (made,) = sr.run(None, {"lr": to_float(lr)})
            require_finite(np.isfinite(made).all(), name)
            return to_uint8(made)

        def beams(images: np.ndarray) -> Decoded:
            (memory,) = encoder.run(None, {"images": to_float(images)})
            require_finite(np.isfinite(memory).all(), name)
            found = decoder.search(memory, search)
            require_finite(not np.isnan(found.log_probability).any(), name)
            return found

        self._enlarge, self._beams = Concurrent(enlarge, "cpu"), Concurrent(beams, "cpu")
        self.alphabet, self._search, self._again = search.alphabet, search, again

    def __reduce__(self) -> tuple[Callable[..., "OnnxEngine"], tuple[Any, ...]]:
        if self._again is None:
            raise pickle.PicklingError("this engine was not loaded; pickle what load() gives")
        return self._again

    def enlarge(self, lr: np.ndarray) -> np.ndarray:
        """SR images, uint8 (n, 32, 128, 3), of LR images, uint8 (n, 16, 64, 3); n at least 1."""
        return np.concatenate([*self._enlarge(_batches(lr))])

    def recognize(self, images: np.ndarray, cut: Sequence[bool], again: bool) -> Words:
        """The words in images, uint8 (n, 32, 128, 3) with n > 0, as `WordSearch.read` has them."""

        def beams(images: np.ndarray) -> Decoded:
            parts = self._beams(_batches(images))
            return Decoded(*map(np.concatenate, zip(*parts, strict=True)))

        return self._search.read(beams, images, cut, again)


def _batches(images: np.ndarray) -> list[np.ndarray]:
    return [images[start : start + _BATCH] for start in range(0, len(images), _BATCH)]


def load(
    folder: str | os.PathLike[str],
    precision: str = "int8",
    threads: int = 1,
    beam: int | None = None,
    abstain: float | None = None,
    abstain_letters: float | None = None,
) -> Reader:
    """Opens a folder that `python -m textsr_jax.export` wrote.

    Args:
      folder: the folder.
      precision: which of its graphs, one of `PRECISIONS`.
      threads: threads of each session. Several batches are computed at once, and with more threads
        they wait for each other.
      beam: beams for each word; None for the number that the models were exported with.
      abstain, abstain_letters: as `reading.load` takes them. The errors on held-out words are those
        of the models before they were exported.

    Raises:
      UserError: there is no such precision or folder, or the folder was not written to its end, or
        it is damaged; or what `reading.load` says of risks.
    """
    if precision not in PRECISIONS:
        raise UserError(
            f"precision {precision!r}: no such graphs; take one of {', '.join(PRECISIONS)}"
        )
    folder = pathlib.Path(folder).expanduser().absolute()
    record = _record(folder)
    sessions = {}
    for name in GRAPHS:
        file = graph_file(name, precision)
        try:
            content = (folder / file).read_bytes()
        except OSError as error:
            raise _damaged(folder, f"{file}: {error.strerror}") from error
        if hashlib.sha256(content).hexdigest() != record["files"].get(file):
            raise _damaged(folder, f"{file} is not what was written")
        sessions[name] = open_session(content, threads)
    decoding = record["decoding"]
    temperature = decoding.pop("temperature")
    alphabet = _ALPHABETS[record["alphabet"]]
    exported = WordSearch(**decoding, alphabet=alphabet)
    if beam is not None:
        decoding = checks.checked_part(decoding | {"beam": beam}, "decoding")
    search = WordSearch(**decoding, alphabet=alphabet)
    held_out = HeldOut().replace(**record["held_out"])
    abstention = Abstention.of(held_out, abstain, abstain_letters, str(folder))
    if abstention and search != exported:
        raise searched_otherwise(abstention)
    digest = hashlib.sha256((folder / RECORD).read_bytes()).hexdigest()
    again = (_engine, (str(folder), digest, precision, threads, beam))
    engine = OnnxEngine(sessions, search, str(folder), again)
    weights = f"{record['weight_bits']} bits" if precision == "int8" else precision
    names = record["sr"], record["ocr"]
    description = Description(str(folder), *names, weights, weights, search.beam, "ONNX Runtime")
    return Reader(engine, temperature, description, abstention)


def _engine(folder: str, digest: str, precision: str, threads: int, beam: int | None) -> OnnxEngine:
    """The engine of a pickled reader, loaded again from its folder."""
    path = pathlib.Path(folder)
    check_unchanged(path / RECORD, digest, path)
    return cast(OnnxEngine, load(path, precision, threads, beam)._engine)


def open_session(content: bytes, threads: int | None = None) -> onnxruntime.InferenceSession:
    """Opens a session on the CPU, with one thread for each core where `threads` is None."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def to_float(images: np.ndarray) -> np.ndarray:
    """uint8 images to float32 in [0, 1], as `textsr_jax.images.to_float` does it in JAX."""
    return images.astype(np.float32) / np.float32(255)


def to_uint8(images: np.ndarray) -> np.ndarray:
    """Images in [0, 1] to uint8, clipped and rounded, as `textsr_jax.images.to_uint8` does it."""
    return np.round(np.clip(images, 0, 1) * np.float32(255)).astype(np.uint8)


def _record(folder: pathlib.Path) -> dict[str, Any]:
    path = folder / RECORD
    if not path.is_file():
        what = f"holds no {RECORD}" if folder.is_dir() else "no such folder"
        raise UserError(
            f"{folder}: {what}; write it with python -m textsr_jax.export SOURCE --out {folder}"
        )
    try:
        record = json.loads(path.read_text())
        version, known = record["version"], record["alphabet"] in _ALPHABETS
        sound = isinstance(record["files"], dict)
        record["decoding"] = checks.checked_part(record["decoding"], "decoding", f"{path}: its ")
        sound &= record["decoding"].keys() == _DECODING
        # Older folders have none.
        held_out = record.get("held_out", {})
        record["held_out"] = checks.checked_part(held_out, "held_out", f"{path}: its ")
    except (OSError, RecursionError, ValueError, KeyError, TypeError) as error:
        raise _damaged(folder, f"{RECORD}: {error!r}") from error
    if version != VERSION or not known:
        raise UserError(
            f"{folder}: written by another version of this program; export the models again"
        )
    if not sound:
        raise _damaged(folder, f"{RECORD} lacks its fields")
    return record


def _damaged(folder: pathlib.Path, reason: str) -> UserError:
    return UserError(f"{folder}: a damaged export ({reason}); export the models again")


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def _grown(cache: np.ndarray) -> np.ndarray:
    """A cache (words, beams, heads, length, size) with space for one more token."""
    return np.pad(cache, ((0, 0), (0, 0), (0, 0), (0, 1), (0, 0)))
