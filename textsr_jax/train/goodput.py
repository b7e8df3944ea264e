"""What a stage's wall time went into, over all its starts; goodput.json in its folder keeps it.

Goodput is the share of the time that went into steps that were kept. After a kill, the steps since
the last checkpoint are taken again: their first time is lost.
"""

import concurrent.futures
import contextlib
import json
import logging
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax

from textsr_jax.errors import UserError
from textsr_jax.runtime import atomic

FILE = "goodput.json"
# What time goes into. "steps" are those that were kept, "lost" those that were not; "waiting" is
# for data, where no device had a step meanwhile.
KINDS = ("steps", "lost", "preparing", "restoring", "compiling", "waiting", "validating", "saving")
# A kill loses what was not written: at most so many seconds.
_WRITE_EVERY = 10.0
# As many checkpoints as a run may ever go back to.
_MARKS = 8

_logger = logging.getLogger(__name__)


class Goodput:
    """The account of a stage's time. What is not said to be something else is "preparing".

    Of several processes, the first one's time is kept.

    Args:
      folder: the stage's folder.
      begun: when the stage's preparation began, by the clock; None for now.
      clock: seconds from some moment on.

    Attributes:
      seconds: by each of `KINDS`, those of earlier starts included.
      facts: what else the file keeps, by name; JSON-able.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        begun: float | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ):
        self._path, self._clock = folder / FILE, clock
        self.seconds = dict.fromkeys(KINDS, 0.0)
        self.facts: dict[str, Any] = {}
        # Seconds of "steps" before the checkpoint of a step; the first one is where it began.
        self._marks: dict[int, float] = {}
        self._starts = 0
        self._read()
        self._starts += 1
        self._kind, self._since = "preparing", clock() if begun is None else begun
        self._written, self._compiled = clock(), False
        self._watch = concurrent.futures.ThreadPoolExecutor(1)
        self._step_end: concurrent.futures.Future[float] | None = None

    def shares(self) -> dict[str, float]:
        """The part of all time so far that each of `KINDS` took, from 0 to 1."""
        self._count()
        total = max(sum(self.seconds.values()), 1e-9)
        return {kind: spent / total for kind, spent in self.seconds.items()}

    @contextlib.contextmanager
    def during(self, kind: str) -> Iterator[None]:
        """Counts the time of the block as one of `KINDS`; a block inside may count otherwise."""
        before = self._kind
        self._count(kind)
        try:
            yield
        finally:
            self._count(before)

    def compiling(self) -> contextlib.AbstractContextManager[None]:
        """Encloses the call of a step: the first one compiles."""
        first, self._compiled = not self._compiled, True
        return self.during("compiling") if first else contextlib.nullcontext()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Encloses the wait for a batch: it counts as far as the step before had ended."""
        asked = self._clock()
        yield
        idle = asked
        if self._step_end is not None:
            idle = max(asked, self._step_end.result()) if self._step_end.done() else self._clock()
        self._count()
        waited = max(0.0, self._since - idle)
        self.seconds[self._kind] -= waited
        self.seconds["waiting"] += waited

    def stepped(self, result: jax.Array) -> None:
        """Notes that a step is under way, which ends when its result is there."""

        def ended() -> float:
            with contextlib.suppress(Exception):  # the loop meets it too
                jax.block_until_ready(result)
            return self._clock()

        self._step_end = self._watch.submit(ended)

    def go_on(self, step: int) -> None:
        """The stage goes on from a checkpoint, or from 0; later steps are lost."""
        self._count()
        self._marks = {known: kept for known, kept in self._marks.items() if known <= step}
        kept = self._marks[max(self._marks)] if self._marks else 0.0
        self.seconds["lost"] += self.seconds["steps"] - kept
        self.seconds["steps"] = kept
        self._marks[step] = kept

    def mark(self, step: int) -> None:
        """A checkpoint of this step is about to be saved. Its file is written before it."""
        self._count()
        self._marks[step] = self.seconds["steps"]
        first, *others = sorted(self._marks)
        self._marks = {known: self._marks[known] for known in (first, *others[-_MARKS:])}
        self.write()

    def steps_counted(self, step: int) -> int:
        """How many steps up to this one "steps" has the time of."""
        return step - min(self._marks, default=step)

    def tick(self) -> None:
        """Writes the file if that was ten seconds ago or more."""
        if self._clock() - self._written >= _WRITE_EVERY:
            self.write()

    def write(self) -> None:
        """Writes the file, in the first process.

        Where that fails, the training goes on: saving its checkpoint will say why.
        """
        self._written = self._clock()
        content: dict[str, Any] = {
            "goodput": self.shares()["steps"],
            "seconds": self.seconds,
            "starts": self._starts,
            "seconds_of_steps_before_checkpoint": self._marks,
            "facts": self.facts,
        }
        if jax.process_index() == 0:
            with contextlib.suppress(UserError):
                atomic.write_json(self._path, content)

    def close(self) -> None:
        """Writes the file for the last time."""
        self._watch.shutdown(wait=False)
        self.write()

    def summary(self) -> str:
        """Where the time went, in words; what took less than 0.1 % is left out."""
        shares = self.shares()
        steps, total = shares.pop("steps"), sum(self.seconds.values())
        rest = sorted(shares.items(), key=lambda item: -item[1])
        told = [f"{kind} {100 * share:.1f} %" for kind, share in rest if share >= 0.001]
        return ", ".join([f"{100 * steps:.1f} % of {total:.0f} s in steps that were kept", *told])

    def _count(self, kind: str | None = None) -> None:
        """Counts the time until now, which from now on counts as `kind`."""
        now = self._clock()
        self.seconds[self._kind] += now - self._since
        self._since, self._kind = now, kind or self._kind

    def _read(self) -> None:
        try:
            content = json.loads(self._path.read_text())
            seconds = {kind: float(content["seconds"][kind]) for kind in KINDS}
            marks = content["seconds_of_steps_before_checkpoint"].items()
            marks = {int(step): float(kept) for step, kept in marks}
            starts, facts = int(content["starts"]), dict(content["facts"])
        except FileNotFoundError:  # a new stage, or one of an older version
            return
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            _logger.warning("%s: cannot read it (%s); time is counted from now", self._path, error)
            return
        self.seconds, self.facts, self._marks, self._starts = seconds, facts, marks, starts
