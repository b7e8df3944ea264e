"""Traces some steps of a stage with `jax.profiler`, and tells which operations took most time."""

import contextlib
import pathlib
import re
import tempfile
from collections.abc import Callable

import jax

from textsr_jax.errors import UserError
from textsr_jax.runtime import atomic, paths, traces

_ROWS = 12


# The first and the last step to trace, counted from 1 in every stage.
Window = tuple[int, int]


def parse(value: str) -> Window:
    """The steps that `--profile_steps` names, such as "10,15".

    Raises:
      UserError: it is not two numbers of steps in their order.
    """
    found = re.fullmatch(r"(\d+),(\d+)", value, flags=re.ASCII)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise UserError(
            f"--profile_steps={value}: write the first and the last step to trace, from 1 on, such "
            "as 10,15"
        )
    return int(found[1]), int(found[2])


class StepTrace:
    """Traces the steps of a window, once, in the first of several processes.

    TensorBoard's profile plugin finds the trace below `folder`, if that is a folder of event files.
    `perfetto_trace.json.gz` beside it is for ui.perfetto.dev.

    Args:
      stage: the stage's name, for messages.
      folder: the trace goes to `plugins/profile` in it.
      window: the steps; None for no trace.
      step: the step that the stage goes on from.
      steps: how many steps the stage has.
      say: prints a line.
    """

    def __init__(
        self,
        stage: str,
        folder: pathlib.Path,
        window: Window | None,
        *,
        step: int,
        steps: int,
        say: Callable[[str], None],
    ):
        self._stage, self._folder, self._say = stage, folder, say
        self._places = contextlib.ExitStack()
        self._window = window if jax.process_index() == 0 else None
        self._running, self._last = False, 0
        if self._window is None:
            return
        first, last = self._window
        if step >= first:
            self._give_up(f"the stage goes on from step {step}")
        elif steps < last:
            self._give_up(f"the stage has {steps} steps")

    def before(self, step: int, state: object) -> None:
        """Begins the trace if the step that comes now is its first; `state` is what it takes."""
        if self._window is None or self._running or step != self._window[0]:
            return
        # What was begun before is not of the window.
        jax.block_until_ready(state)
        options = jax.profiler.ProfileOptions()
        # Python's own calls would fill the trace.
        options.python_tracer_level = 0
        self._local = self._folder
        if paths.is_url(self._folder):
            # The profiler writes files of a disk.
            self._local = pathlib.Path(self._places.enter_context(tempfile.TemporaryDirectory()))
        jax.profiler.start_trace(self._local, create_perfetto_trace=True, profiler_options=options)
        self._running = True

    def after(self, step: int, state: object) -> bool:
        """Ends the trace if the step that was begun is its last; `state` is what it returns.

        Returns:
          Whether it ended the trace, which takes seconds.
        """
        self._last = step
        ends = self._window is not None and self._running and step >= self._window[1]
        if ends:
            jax.block_until_ready(state)
            self.close()
        return ends

    def close(self) -> None:
        """Ends a trace that is running, and prints its table."""
        if not self._running or self._window is None:
            return
        (first, _), self._running, self._window = self._window, False, None
        jax.profiler.stop_trace()
        folder = traces.newest_trace(self._local)
        shown = self._folder / folder.relative_to(self._local)
        if paths.is_url(shown):
            for file in sorted(folder.iterdir()):
                atomic.write_bytes(shown / file.name, file.read_bytes())
        self._say(f"{self._stage}: trace of steps {first} to {self._last}: {shown}")
        self._say(table(traces.operations(folder)))
        self._places.close()

    def _give_up(self, why: str) -> None:
        if self._window is not None:
            first, last = self._window
            self._say(f"{self._stage}: no trace of steps {first} to {last}: {why}")
        self._window = None


def table(found: traces.Operations, rows: int = _ROWS) -> str:
    """The operations that took most time, a line each, and what was idle."""
    shown, rest = found.operations[:rows], found.operations[rows:]
    lines = [f"{'ms':>10} {'share':>7} {'times':>7}  operation"]
    lines += [
        f"{1e3 * one.seconds:10.2f} {100 * one.share:5.1f} % {one.count:7d}  {one.name[:60]}"
        for one in shown
    ]
    if rest:
        seconds, share = sum(one.seconds for one in rest), sum(one.share for one in rest)
        count = sum(one.count for one in rest)
        lines.append(f"{1e3 * seconds:10.2f} {100 * share:5.1f} % {count:7d}  {len(rest)} others")
    lines.append(f"{1e3 * found.window_s:10.2f} of the window, {100 * found.idle:.1f} % of it idle")
    return "\n".join(lines)
