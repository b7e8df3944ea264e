"""Child processes that run functions of this package and return what these yield.

They do not use `multiprocessing`, whose processes import the caller's script, and thus JAX.
"""

import contextlib
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self


class Processes:
    """Child processes, each with jobs of its own; a context manager, with which they end.

    Args:
      count: the number of processes. With 1 there is none, and the caller works itself.
    """

    def __init__(self, count: int) -> None:
        self._count = count if count > 1 else 0
        self.children: list[subprocess.Popen[bytes]] = []

    def __len__(self) -> int:
        return self._count

    def __enter__(self) -> Self:
        # Each process has one core, so threads of a linear algebra library would slow it down.
        paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
        environment = os.environ | {"PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1"}
        for _ in range(self._count):
            self.children.append(
                subprocess.Popen(
                    [sys.executable, "-c", f"from {__name__} import _work; _work()"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    env=environment,
                    # Ctrl-C reaches the parent alone, which then ends its children.
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

    def ask(
        self, number: int, function: Callable[..., Iterable[object]], *arguments: object
    ) -> None:
        """Lets a process call a function of a module; `take` returns what the function yields.

        A process reads a whole job before it starts. Ask for one job at a time, or both sides may
        wait for ever.

        Args:
          number: the process's number, from 0.
          function: what to call, with `arguments`.
        """
        stream = self.children[number].stdin
        assert stream is not None
        # `take` reports a child that has died.
        with contextlib.suppress(BrokenPipeError):
            pickle.dump((function, arguments), stream)
            stream.flush()

    def take(self, number: int, doing: str) -> Any:
        """The next result of a process.

        Args:
          number: the process's number, from 0.
          doing: what the process did, for the message: "drew train".

        Raises:
          RuntimeError: the process died; its own message is on the standard error output.
        """
        child = self.children[number]
        assert child.stdout is not None
        try:
            return pickle.load(child.stdout)
        except EOFError:
            raise RuntimeError(
                f"a worker that {doing} stopped with status {child.wait()}"
            ) from None

    def map(
        self, function: Callable[..., Iterable[Any]], jobs: Iterable[tuple[Any, ...]], doing: str
    ) -> Iterator[Any]:
        """What a function yields for each of many jobs, in the order of the jobs.

        At most one job per process is read ahead, so that any number of jobs takes bounded memory.

        Args:
          function: yields once for each job. Without processes it is called here.
          jobs: the arguments of each call.
          doing: as of `take`.
        """
        if not self._count:
            for job in jobs:
                yield from function(*job)
            return
        asked = 0
        for job in jobs:
            if asked >= self._count:
                yield self.take(asked % self._count, doing)
            self.ask(asked % self._count, function, *job)
            asked += 1
        for number in range(max(0, asked - self._count), asked):
            yield self.take(number % self._count, doing)


def _work() -> None:
    """Runs in a child: calls the functions that arrive on its standard input."""
    jobs, results = sys.stdin.buffer, sys.stdout.buffer
    # The parent may end at any time; the child then ends without a message.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    while True:
        try:
            function, arguments = pickle.load(jobs)
        except EOFError:
            return
        for result in function(*arguments):
            pickle.dump(result, results)
            results.flush()
