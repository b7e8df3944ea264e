"""Decoding: from a recogniser's logits to words.

`greedy`, `beam_search` and `every_beam` work on any decoder's step; `greedy_ctc` reads frames.
`recognizer` compiles them for a network, and `WordSearch` chooses among beams by likely English.
"""

from textsr_jax.decoding.ctc import greedy_ctc
from textsr_jax.decoding.english import log_probability, log_ratio
from textsr_jax.decoding.recognition import Search, recognizer
from textsr_jax.decoding.search import Cache, Decoded, Step, beam_search, every_beam, greedy
from textsr_jax.decoding.word_search import Words, WordSearch

__all__ = [
    "Cache",
    "Decoded",
    "Search",
    "Step",
    "WordSearch",
    "Words",
    "beam_search",
    "every_beam",
    "greedy",
    "greedy_ctc",
    "log_probability",
    "log_ratio",
    "recognizer",
]
