"""Ctrl-C and SIGTERM during a training: a step is finished and saved, all else ends at once.

What is prepared, compiled, cached or validated is made again by the run that goes on.
"""

import contextlib
import contextvars
import signal
import sys
from collections.abc import Iterator

import jax
import numpy as np
from jax.experimental import multihost_utils

from textsr_jax.errors import Stopped

_listening: contextvars.ContextVar["Stop | None"] = contextvars.ContextVar(
    "listening", default=None
)


class Stop:
    """Whether this process was asked to stop; true or false.

    One process stops at once, by a KeyboardInterrupt, but for blocks of `deferred`. Several stop
    where all of them look, since none can go on alone. A second signal always stops at once.

    Attributes:
      insisted: whether there was a second signal.
    """

    def __init__(self) -> None:
        self._received = False
        self.insisted = False
        self._deferred = 0
        self._alone = jax.process_count() == 1

    def __bool__(self) -> bool:
        return self._received

    def agreed(self) -> bool:
        """Whether some process was asked to stop; all of them have to call."""
        if self._alone:
            return self._received
        return bool(multihost_utils.process_allgather(np.asarray(self._received)).any())

    def check(self) -> None:
        """Raises KeyboardInterrupt in every process if one was asked to stop; all have to call."""
        if self.agreed():
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """In this block a first signal is only noted."""
        with self._set(self._deferred + 1):
            yield

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """A part of a `deferred` block that ends at once; also by a signal before it."""
        with self._set(0):
            if self._received and self._alone:
                raise KeyboardInterrupt
            yield

    @contextlib.contextmanager
    def _set(self, deferred: int) -> Iterator[None]:
        before, self._deferred = self._deferred, deferred
        try:
            yield
        finally:
            self._deferred = before

    def _note(self, number: int, frame: object) -> None:
        self.insisted, self._received = self._received, True
        if self.insisted or (self._alone and not self._deferred):
            raise KeyboardInterrupt
        print("\nstopping after this step; once more to stop at once", file=sys.stderr)


@contextlib.contextmanager
def listening(again: str) -> Iterator[Stop]:
    """Takes Ctrl-C and SIGTERM while the block runs; within another such block, that one does.

    Args:
      again: the command that goes on with the work.

    Raises:
      Stopped: the block was stopped.
    """
    if (outer := _listening.get()) is not None:
        yield outer
        return
    stop = Stop()
    before = {n: signal.signal(n, stop._note) for n in (signal.SIGINT, signal.SIGTERM)}
    token = _listening.set(stop)
    try:
        yield stop
    except KeyboardInterrupt as error:
        raise Stopped(f"stopped; go on with: {again}") from error
    finally:
        _listening.reset(token)
        for number, handler in before.items():
            signal.signal(number, handler)


def check() -> None:
    """`Stop.check` of the block that listens, if any."""
    if (stop := _listening.get()) is not None:
        stop.check()
