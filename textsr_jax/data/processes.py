"""Child processes that run functions of this package and give back what these yield.

They are plain ones, not `multiprocessing`'s, which would import the caller's script, JAX with it.
"""

import contextlib
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from typing import Any, Self


class Processes:
    """Some processes, each with jobs of its own; a context manager, with which they end.

    Args:
      count: how many; for 1 there are none, since the caller does as well.
    """

    def __init__(self, count: int) -> None:
        self._count = count if count > 1 else 0
        self.children: list[subprocess.Popen] = []

    def __len__(self) -> int:
        return self._count

    def __enter__(self) -> Self:
        # Each has one core: the threads of a linear algebra library would only disturb.
        paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
        environment = os.environ | {"PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1"}
        for _ in range(self._count):
            self.children.append(
                subprocess.Popen(
                    [sys.executable, "-c", f"from {__name__} import _work; _work()"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    env=environment,
                    # Ctrl-C is for the parent, which then ends its children.
                    start_new_session=True,
                )
            )
        return self

    def __exit__(self, *_: object) -> None:
        for child in self.children:
            child.kill()
        for child in self.children:
            with contextlib.suppress(BrokenPipeError):
                child.communicate()
        self.children = []

    def ask(self, number: int, function: Callable[..., Iterable[Any]], *arguments: Any) -> None:
        """Has a process, from 0, call a function of a module; `take` gets what that yields.

        It reads a job whole before it begins: with one at a time for each nobody waits for ever.
        """
        stream = self.children[number].stdin
        # A child that is dead already is reported where its results are missed.
        with contextlib.suppress(BrokenPipeError):
            pickle.dump((function, arguments), stream)
            stream.flush()

    def take(self, number: int, doing: str) -> Any:
        """The next result of a process.

        Args:
          number: of the process, from 0.
          doing: what it was asked to do, for the message: "drew train".

        Raises:
          RuntimeError: it died; its last words are on the standard error output.
        """
        child = self.children[number]
        try:
            return pickle.load(child.stdout)
        except EOFError:
            raise RuntimeError(
                f"a worker that {doing} stopped with status {child.wait()}"
            ) from None


def _work() -> None:
    """A child's life: every job on its standard input is a function and its arguments."""
    jobs, results = sys.stdin.buffer, sys.stdout.buffer
    # The parent may go at any time, and then there is nothing left to do or say.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    while True:
        try:
            function, arguments = pickle.load(jobs)
        except EOFError:
            return
        for result in function(*arguments):
            pickle.dump(result, results)
            results.flush()
