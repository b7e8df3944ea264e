"""Data sets: `load` turns a config into records for training, validation and tests.

A data root is read as TextZoom's LMDB folders. Without one, words are synthesised. Pre-training may
read LMDBs of words beside them: `load_words`. Stage 0 learns from photographs: `load_photographs`.
"""

from textsr_jax.data.datasets import WordPairs, count, load, load_photographs, load_words, title

__all__ = ["WordPairs", "count", "load", "load_photographs", "load_words", "title"]
