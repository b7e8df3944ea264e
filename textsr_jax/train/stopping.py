"""Ctrl-C and SIGTERM during a training: a step is finished and saved, all else ends at once.

The run that goes on repeats what was prepared, compiled, cached or validated.
"""

import contextlib
import contextvars
import signal
import sys
from collections.abc import Callable, Iterator

import jax
import numpy as np
from jax.experimental import multihost_utils

from textsr_jax.errors import Stopped

# What the innermost block of `listening` gave; None outside.
_LISTENING: contextvars.ContextVar["Stop | None"] = contextvars.ContextVar("stop", default=None)


class Stop:
    """Whether this process was asked to stop: it is true or false.

    One process stops at once by a KeyboardInterrupt, except in a `deferred` block. Several
    processes stop where all of them check, since none can go on alone. A second signal always stops
    at once.

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
        """Whether some process was asked to stop. All processes have to call it."""
        if self._alone:
            return self._received
        return bool(multihost_utils.process_allgather(np.asarray(self._received)).any())

    def check(self) -> None:
        """Stops every process if one was asked to stop. All processes have to call it.

        Raises:
          KeyboardInterrupt: some process was asked to stop.
        """
        if self.agreed():
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """A block in which a first signal is only noted."""
        with self._set(self._deferred + 1):
            yield

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """A part of a `deferred` block that a signal ends at once, also one that came before."""
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


class Vote:
    """Whether to stop after a step: one answer for all processes, which have to ask together.

    Args:
      stop: whether this process was asked to stop.
      anywhere: `Placement.any`.
    """

    def __init__(self, stop: Stop, anywhere: Callable[[bool], jax.Array]):
        self._stop, self._anywhere = stop, anywhere
        # Of several processes the answer is known a step later, so that devices need not wait.
        self._asked: list[jax.Array] = []

    def known(self) -> bool:
        """The answer; where there are several processes, that of the step before."""
        if jax.process_count() == 1:
            return bool(self._stop)
        self._asked.append(self._anywhere(bool(self._stop)))
        return len(self._asked) > 1 and bool(self._asked.pop(0))


@contextlib.contextmanager
def listening(again: str) -> Iterator[Stop]:
    """Takes Ctrl-C and SIGTERM while the block runs. Inside another such block the outer one does.

    Args:
      again: the command that goes on with the work.

    Raises:
      Stopped: the block was stopped.
    """
    outer = _LISTENING.get()
    if outer is not None:
        yield outer
        return
    stop = Stop()
    before = {n: signal.signal(n, stop._note) for n in (signal.SIGINT, signal.SIGTERM)}
    token = _LISTENING.set(stop)
    try:
        yield stop
    except KeyboardInterrupt as error:
        raise Stopped(f"stopped; go on with: {again}") from error
    finally:
        _LISTENING.reset(token)
        for number, handler in before.items():
            signal.signal(number, handler)


def check() -> None:
    """Calls `Stop.check` of the block of `listening` around the caller, if there is one."""
    stop = _LISTENING.get()
    if stop is not None:
        stop.check()
