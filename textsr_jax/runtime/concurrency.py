"""Batches computed at the same time, in threads; what must be done once, whatever threads ask.

XLA keeps little more than one CPU core busy with a network of the shipped pair's size, and ONNX
Runtime's threads wait for each other.
"""

import concurrent.futures
import contextlib
import contextvars
import functools
import itertools
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np

from textsr_jax.errors import UserError

# Batches at once; more would hold more images' activations in memory.
MOST = 4

# Held while something is traced or compiled. One for all: a function that one reader has compiled
# is then found on disk by the next.
_alone = threading.RLock()
# How many batches `Concurrent` computes at once; `at_most` lowers it.
_most = contextvars.ContextVar("most", default=MOST)


def bind_to_process() -> None:
    """Says that this process computes: JAX and ONNX Runtime have threads, which no fork copies.

    Raises:
      UserError: another process said so, and this one was forked from it. It would wait for ever.
    """
    if _computing_process() != os.getpid():
        raise UserError(
            "this process was forked from one that had loaded a model, and the threads that "
            "compute stay there; start processes with multiprocessing.get_context('spawn'), or "
            "load only after the fork"
        )


@functools.cache
def _computing_process() -> int:
    """The process that asked first: this one, or one that it was forked from."""
    return os.getpid()


@contextlib.contextmanager
def at_most(batches: int) -> Iterator[None]:
    """In this block `Concurrent` computes so many batches at once, 1 or more."""
    token = _most.set(batches)
    try:
        yield
    finally:
        _most.reset(token)


def once(function: Callable[..., Any]) -> Callable[..., Any]:
    """`functools.cache` that computes each value once, also where several threads ask for it."""
    kept = functools.cache(function)

    @functools.wraps(function)
    def one_at_a_time(*arguments: Any) -> Any:
        with _alone:
            return kept(*arguments)

    return one_at_a_time


class Concurrent:
    """A function of batches, as many of them at once as there are cores, `MOST` at most.

    On an accelerator one batch after another.

    Args:
      function: takes a batch last; returns arrays of JAX or numpy, any tree of them. It has no
        effects and may be called from any thread.
      backend: where it computes, such as "cpu"; None for where JAX does.
    """

    def __init__(self, function: Callable[..., Any], backend: str | None = None):
        bind_to_process()
        self._function, self._backend = function, backend
        self._compiled = False

    def __call__(self, batches: Iterable[Any], *arguments: Any) -> Iterator[Any]:
        """The results of `function(*arguments, batch)`, in their order, as arrays of numpy."""
        bind_to_process()
        rest = iter(batches)
        if not self._compiled:
            # Alone, so that it is not compiled several times.
            for batch in itertools.islice(rest, 1):
                yield self._first(arguments, batch)
        workers = threads(self._backend or jax.default_backend(), _most.get())
        yield from workers.map(functools.partial(self._result, arguments), rest)

    def _first(self, arguments: tuple[Any, ...], batch: Any) -> Any:
        with _alone:
            if not self._compiled:
                result = self._result(arguments, batch)
                self._compiled = True
                return result
        # Another thread was first.
        return self._result(arguments, batch)

    def _result(self, arguments: tuple[Any, ...], batch: Any) -> Any:
        return jax.tree.map(np.asarray, self._function(*arguments, batch))


@functools.cache
def threads(backend: str, most: int) -> concurrent.futures.ThreadPoolExecutor:
    """The threads that compute the batches of this process, `most` of them or fewer."""
    cores = 1
    if backend == "cpu":
        # Where a process may be bound to some cores it is known to which.
        bound = getattr(os, "sched_getaffinity", None)
        cores = len(bound(0)) if bound else os.cpu_count() or 1
    return concurrent.futures.ThreadPoolExecutor(min(cores, most))
