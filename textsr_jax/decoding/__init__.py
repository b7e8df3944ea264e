"""Decoding: from a recogniser's logits to words, by greedy or beam search, CTC, or word search."""

from textsr_jax.decoding.search import (
    Decoded,
    beam_search,
    every_beam,
    greedy,
    greedy_ctc,
    recognizer,
    writes_tokens,
)

__all__ = [
    "Decoded",
    "beam_search",
    "every_beam",
    "greedy",
    "greedy_ctc",
    "recognizer",
    "writes_tokens",
]
