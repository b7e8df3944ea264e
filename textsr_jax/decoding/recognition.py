"""Reading with a recogniser: the searches that it chooses from, and the compiled function."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

from textsr_jax.decoding.ctc import greedy_ctc
from textsr_jax.decoding.search import Cache, Decoded, Step, beam_search, every_beam, greedy


@dataclasses.dataclass(frozen=True)
class Search:
    """How a recogniser's words are searched; its method `read` chooses one of the methods here.

    Attributes:
      beam: beams for each word; 1 is greedy decoding.
      steps: tokens for each word at most, the end token included.
      margin: None for the best beam of each word; otherwise all beams are returned, as
        `every_beam` does with this margin.
    """

    beam: int
    steps: int
    margin: float | None = None

    def by_token(self, step: Step, cache: Cache, words: int) -> Decoded:
        """Reads token by token.

        Args:
          step: see `search.Step`.
          cache: what `step` needs at position 0, with words x `beam` rows.
          words: how many words there are.
        """
        if self.margin is not None:
            return every_beam(step, cache, words, self.steps, self.beam, self.margin)
        if self.beam == 1:
            return greedy(step, cache, words, self.steps)
        return beam_search(step, cache, words, self.steps, self.beam)

    def by_frame(self, logits: jax.Array) -> Decoded:
        """Reads CTC's best path, as published: neither beams nor `steps` count.

        Args:
          logits: as `greedy_ctc` takes them.
        """
        return greedy_ctc(logits)


def recognizer(
    ocr: Callable[..., Any], *, beam: int, steps: int, margin: float | None = None
) -> Callable[[Any, jax.Array], Decoded]:
    """A compiled function that reads images: (variables, images in [0, 1]) to `Decoded`.

    Args:
      ocr: the `models.Network` of a recogniser, whose method `read` (`models.Recognizer`) is run.
      beam, steps, margin: as of `Search`.
    """
    search = Search(beam, steps, margin)

    @jax.jit
    def read(variables: Any, images: jax.Array) -> Decoded:
        return Decoded(*ocr(variables, images, search, method="read"))

    return read
