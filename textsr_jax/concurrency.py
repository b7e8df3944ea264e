"""Batches computed at the same time, in threads.

XLA keeps little more than one CPU core busy with a network of the shipped pair's size, and ONNX
Runtime's threads wait for each other.
"""

import concurrent.futures
import functools
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np

# Batches at once; more would hold more images' activations in memory.
MOST = 4


class Concurrent:
    """A function of batches, as many of them at once as there are cores, `MOST` at most.

    On an accelerator one batch after another.

    Args:
      function: takes a batch last; returns arrays of JAX or numpy, any tree of them. It has no
        effects and may be called from any thread.
      backend: where it computes, such as "cpu"; None for where JAX does.
    """

    def __init__(self, function: Callable[..., Any], backend: str | None = None):
        self._function, self._backend = function, backend
        self._compiled = False

    def __call__(self, batches: Iterable[Any], *arguments: Any) -> Iterator[Any]:
        """The results of `function(*arguments, batch)`, in their order, as arrays of numpy."""
        rest = iter(batches)
        if not self._compiled:
            # Alone, so that it is not compiled several times.
            for batch in itertools.islice(rest, 1):
                yield self._result(arguments, batch)
                self._compiled = True
        workers = threads(self._backend or jax.default_backend())
        yield from workers.map(functools.partial(self._result, arguments), rest)

    def _result(self, arguments: tuple[Any, ...], batch: Any) -> Any:
        return jax.tree.map(np.asarray, self._function(*arguments, batch))


@functools.cache
def threads(backend: str) -> concurrent.futures.ThreadPoolExecutor:
    """What computes the batches of this process."""
    cores = 1
    if backend == "cpu":
        # Where a process may be bound to some cores it is known to which.
        bound = getattr(os, "sched_getaffinity", None)
        cores = len(bound(0)) if bound else os.cpu_count() or 1
    return concurrent.futures.ThreadPoolExecutor(min(cores, MOST))
