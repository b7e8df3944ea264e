"""The SR model and the recogniser in JAX, behind the two functions that a `Reader` needs.

`textsr_jax.export.engine` computes both in ONNX Runtime.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from textsr_jax.decoding.search import Decoded
from textsr_jax.decoding.word_search import Words, WordSearch
from textsr_jax.errors import require_finite
from textsr_jax.images import to_float, to_uint8
from textsr_jax.reading.kept_functions import KeptFunctions
from textsr_jax.runtime.batches import batches
from textsr_jax.runtime.compilation import jit_sparingly
from textsr_jax.runtime.concurrency import Concurrent, bind_to_process, once

if TYPE_CHECKING:
    from textsr_jax.models import Network, Variables

_BATCH = 16


class JaxEngine:
    """Enlarges and recognises images in batches of 16 or one by one; each is compiled for both.

    Compiled functions and locks cannot leave their process. So a pickle holds `again` alone.

    Attributes:
      alphabet: what the recogniser writes.

    Args:
      search: how words are searched.
      networks: returns the SR model and the recogniser; called when a function must be traced.
      sr_variables, ocr_variables: the networks' variables, packed or not.
      kept: the traced functions on disk; None to trace them in each process.
      name: the models' name for messages.
      again: a function and its arguments that return this engine in another process.
    """

    def __init__(
        self,
        search: WordSearch,
        networks: Callable[[], tuple[Network, Network]],
        sr_variables: Variables,
        ocr_variables: Variables,
        kept: KeptFunctions | None = None,
        name: str = "the model",
        again: tuple[Callable[..., JaxEngine], tuple[Any, ...]] | None = None,
    ):
        bind_to_process()
        self._search, self._networks, self._kept = search, networks, kept
        self._name, self._again = name, again
        # Kept functions take lists of leaves, not trees.
        self._sr_leaves, self._sr_structure = jax.tree.flatten(sr_variables)
        self._ocr_leaves, self._ocr_structure = jax.tree.flatten(ocr_variables)
        self.alphabet = search.alphabet
        self._enlarger = once(self._make_enlarger)
        self._recognizer = once(self._make_recognizer)

    def __reduce__(self) -> tuple[Callable[..., JaxEngine], tuple[Any, ...]]:
        if self._again is None:
            raise pickle.PicklingError("this engine was not loaded; pickle what load() gives")
        return self._again

    def with_variables(self, sr_variables: Variables, ocr_variables: Variables) -> JaxEngine:
        """Returns this engine with other variables; the two share their compiled functions.

        It cannot be pickled.

        Args:
          sr_variables, ocr_variables: of the same structure, shapes and dtypes.
        """
        # `copy` would do what pickling does.
        other = object.__new__(JaxEngine)
        other.__dict__.update(self.__dict__, _again=None)
        other._sr_leaves = jax.tree.leaves(sr_variables)
        other._ocr_leaves = jax.tree.leaves(ocr_variables)
        return other

    def enlarge(self, lr: np.ndarray) -> np.ndarray:
        """Returns SR images, uint8 (n, 32, 128, 3), of LR images, uint8 (n, 16, 64, 3).

        Args:
          lr: the images; n is at least 1.

        Raises:
          UserError: the SR model's output is not finite.
        """
        filled, counts = _batches(lr)
        made, finite = zip(*self._enlarger(len(filled[0]))(filled, self._sr_leaves), strict=True)
        require_finite(all(map(bool, finite)), self._name)
        return np.concatenate([part[:count] for part, count in zip(made, counts, strict=True)])

    def recognize(self, images: np.ndarray, cut: Sequence[bool], again: bool) -> Words:
        """Returns the words in images, uint8 (n, 32, 128, 3), as `WordSearch.read` does.

        Args:
          images: the images; n is at least 1.
          cut: for each image, whether its edges cut words.
          again: whether unsure words are read a second time.

        Raises:
          UserError: probabilities are not finite.
        """
        return self._search.read(self._beams, images, cut, again)

    def _beams(self, images: np.ndarray) -> Decoded:
        filled, counts = _batches(images)
        found = self._recognizer(len(filled[0]))(filled, self._ocr_leaves)
        parts = [
            [values[:count] for values in beams] for beams, count in zip(found, counts, strict=True)
        ]
        decoded = Decoded(*map(np.concatenate, zip(*parts, strict=True)))
        # Beams that were given up have probability 0, which is not NaN.
        require_finite(not np.isnan(decoded.log_probability).any(), self._name)
        return decoded

    def _make_enlarger(self, size: int) -> Concurrent:
        def enlarge(leaves: list[Any], lr: jax.Array) -> tuple[jax.Array, jax.Array]:
            network, _ = self._networks()
            variables = jax.tree.unflatten(self._sr_structure, leaves)
            sr = network(variables, to_float(lr))
            return to_uint8(sr), jnp.isfinite(sr).all()

        if self._kept is not None:
            shape = jax.ShapeDtypeStruct((size, 16, 64, 3), np.uint8)
            enlarge = self._kept.function(f"enlarge-{size}", enlarge, self._sr_leaves, shape)
        return Concurrent(jit_sparingly(enlarge))

    def _make_recognizer(self, size: int) -> Concurrent:
        def recognize(leaves: list[Any], images: jax.Array) -> tuple[jax.Array, ...]:
            _, ocr = self._networks()
            read = self._search.recognizer(ocr)
            decoded = read(jax.tree.unflatten(self._ocr_structure, leaves), to_float(images))
            return tuple(cast(Iterable[jax.Array], decoded))

        if self._kept is not None:
            images = jax.ShapeDtypeStruct((size, 32, 128, 3), np.uint8)
            recognize = self._kept.function(
                f"recognize-{size}", recognize, self._ocr_leaves, images
            )
        return Concurrent(jax.jit(recognize))


def _batches(images: np.ndarray) -> tuple[list[np.ndarray], list[int]]:
    """Returns batches of 16 images or of one, and how many images of each are not padding."""
    # CPUs compute several batches at once, so a batch is no faster than its images one by one.
    few = _BATCH if jax.default_backend() == "cpu" else 1
    size = 1 if len(images) <= few else _BATCH
    made, counts = zip(*batches(images, size), strict=True)
    return [*made], [*counts]
