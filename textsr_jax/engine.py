"""The networks of a pair in JAX, behind the two functions that a reader needs.

`textsr_jax.reading.Reader` is that reader; `textsr_jax.export.runtime` has them in ONNX Runtime.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from textsr_jax.compilation import KeptFunctions, jit_sparingly
from textsr_jax.decoding import Decoded
from textsr_jax.images import to_float, to_uint8
from textsr_jax.language import Words, WordSearch

if TYPE_CHECKING:
    from textsr_jax.models import Network, Variables

_BATCH = 32


class JaxEngine:
    """Enlarges and recognises in batches of 32 images or of one: two compilations each at most.

    Args:
      search: how words are searched.
      networks: gives the SR model and the recogniser; called when a function has to be traced.
      sr_variables, ocr_variables: what the networks take, packed or not.
      kept: where traced functions are kept; None to trace them in each process.
    """

    def __init__(
        self,
        search: WordSearch,
        networks: Callable[[], tuple[Network, Network]],
        sr_variables: Variables,
        ocr_variables: Variables,
        kept: KeptFunctions | None = None,
    ):
        self._search, self._networks, self._kept = search, networks, kept
        # Traced functions are kept without the structure of the trees.
        self._sr_leaves, self._sr_structure = jax.tree.flatten(sr_variables)
        self._ocr_leaves, self._ocr_structure = jax.tree.flatten(ocr_variables)
        self._enlarger = functools.cache(self._make_enlarger)
        self._recognizer = functools.cache(self._make_recognizer)

    def enlarge(self, lr: np.ndarray) -> np.ndarray:
        """SR images, uint8 (n, 32, 128, 3), of LR images, uint8 (n, 16, 64, 3); n at least 1."""
        parts = [
            self._enlarger(len(part))(self._sr_leaves, part)[:count] for part, count in _batches(lr)
        ]
        return np.concatenate(parts)

    def recognize(self, images: np.ndarray, cut: Sequence[bool]) -> Words:
        """The words in images, uint8 (n, 32, 128, 3), n at least 1; `cut` as `WordSearch.words`."""
        parts, done = [], 0
        for part, count in _batches(images):
            found = self._recognizer(len(part))(self._ocr_leaves, part)
            beams = Decoded(*(values[:count] for values in found))
            parts.append(self._search.words(beams, cut[done : done + count]))
            done += count
        return Words.joined(parts)

    def _make_enlarger(self, size: int) -> Callable[[list[Any], np.ndarray], jax.Array]:
        def enlarge(leaves: list[Any], lr: jax.Array) -> jax.Array:
            sr, _ = self._networks()
            variables = jax.tree.unflatten(self._sr_structure, leaves)
            return to_uint8(sr(variables, to_float(lr)))

        if self._kept is not None:
            shape = jax.ShapeDtypeStruct((size, 16, 64, 3), np.uint8)
            enlarge = self._kept.function(f"enlarge-{size}", enlarge, self._sr_leaves, shape)
        return jit_sparingly(enlarge)

    def _make_recognizer(self, size: int) -> Callable[[list[Any], np.ndarray], Sequence[jax.Array]]:
        def recognize(leaves: list[Any], images: jax.Array) -> tuple[jax.Array, ...]:
            _, ocr = self._networks()
            read = self._search.recognizer(ocr)
            return tuple(read(jax.tree.unflatten(self._ocr_structure, leaves), to_float(images)))

        if self._kept is not None:
            images = jax.ShapeDtypeStruct((size, 32, 128, 3), np.uint8)
            recognize = self._kept.function(
                f"recognize-{size}", recognize, self._ocr_leaves, images
            )
        return jax.jit(recognize)


def _batches(images: np.ndarray) -> list[tuple[np.ndarray, int]]:
    """The images in batches of one size, or of one image, and how many of each are no padding."""
    size = 1 if len(images) == 1 else _BATCH
    batches = []
    for start in range(0, len(images), size):
        part = images[start : start + size]
        padding = np.repeat(part[:1], size - len(part), axis=0)
        batches.append((np.concatenate([part, padding]), len(part)))
    return batches
