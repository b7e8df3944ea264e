"""Computes several batches at the same time in threads, and a value once for all threads.

XLA keeps little more than one CPU core busy with networks of the shipped models' size, and the
threads of ONNX Runtime wait for each other.
"""

import concurrent.futures
import contextlib
import contextvars
import functools
import itertools
import os
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any, TypeVar

import jax
import numpy as np

from textsr_jax.errors import UserError

Result = TypeVar("Result")

# How many batches are computed at once. More would hold more activations in memory.
MOST = 4

# Held while something is traced or compiled. There is one lock for all readers: what one reader has
# compiled, the next one finds on disk.
_alone = threading.RLock()
# How many batches `Concurrent` computes at once; `at_most` lowers it.
_most = contextvars.ContextVar("most", default=MOST)


def bind_to_process() -> None:
    """Notes that this process computes with threads of JAX or ONNX Runtime; forks do not copy them.

    Raises:
      UserError: this process was forked from one that had called this. It would wait for ever.
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
    """While the block runs, `Concurrent` computes at most so many batches at once, 1 or more."""
    token = _most.set(batches)
    try:
        yield
    finally:
        _most.reset(token)


def once(function: Callable[..., Result]) -> Callable[..., Result]:
    """Returns `functools.cache(function)`, which computes each value once for all threads."""
    kept = functools.cache(function)

    @functools.wraps(function)
    def one_at_a_time(*arguments: Hashable) -> Result:
        with _alone:
            return kept(*arguments)

    return one_at_a_time


class Concurrent:
    """A function of batches that computes as many of them at once as there are cores, or `MOST`.

    On an accelerator it computes one batch after another.

    Args:
      function: takes a batch as its last argument; returns a tree of JAX or numpy arrays. It has no
        effects and may be called from any thread.
      backend: where it computes, such as "cpu"; None for JAX's default.
    """

    def __init__(self, function: Callable[..., Any], backend: str | None = None):
        bind_to_process()
        self._function, self._backend = function, backend
        self._compiled = False

    def __call__(self, batches: Iterable[object], *arguments: object) -> Iterator[Any]:
        """Yields the results of `function(*arguments, batch)` in order, as numpy arrays."""
        bind_to_process()
        rest = iter(batches)
        if not self._compiled:
            # The first batch alone, so that the function is not compiled several times.
            for batch in itertools.islice(rest, 1):
                yield self._first(arguments, batch)
        workers = threads(self._backend or jax.default_backend(), _most.get())
        yield from workers.map(functools.partial(self._result, arguments), rest)

    def _first(self, arguments: tuple[object, ...], batch: object) -> Any:
        with _alone:
            if not self._compiled:
                result = self._result(arguments, batch)
                self._compiled = True
                return result
        # Another thread has compiled it meanwhile.
        return self._result(arguments, batch)

    def _result(self, arguments: tuple[object, ...], batch: object) -> Any:
        return jax.tree.map(np.asarray, self._function(*arguments, batch))


@functools.cache
def threads(backend: str, most: int) -> concurrent.futures.ThreadPoolExecutor:
    """Returns the threads that compute this process's batches, `most` of them or fewer."""
    cores = 1
    if backend == "cpu":
        # Where the system can bind a process to some cores, it says to which.
        bound = getattr(os, "sched_getaffinity", None)
        cores = len(bound(0)) if bound else os.cpu_count() or 1
    return concurrent.futures.ThreadPoolExecutor(min(cores, most))
