"""TensorBoard's event files, written where the loop is, so that a full disk is seen at once.

The writer that tensorboardX offers writes in a thread, which dies of a full disk and is not missed.
"""

import contextlib
import errno
import pathlib
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import jax
import numpy as np

from textsr_jax.errors import UserError, needs

with needs("train"):
    from tensorboardX import summary
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto.event_pb2 import Event, SessionLog


class Logs:
    """An event file in a folder; a context manager that closes it. Only the first process writes.

    Args:
      folder: made where it is missing.
      step: the step that comes next: TensorBoard forgets what older files say of it and later ones.

    Raises:
      UserError: here and in each method: the disk is full.
    """

    def __init__(self, folder: pathlib.Path, step: int):
        self._folder = folder
        self._writer: EventsWriter | None = None
        if jax.process_index() == 0:
            with self._disk_errors():
                folder.mkdir(parents=True, exist_ok=True)
                self._writer = EventsWriter(str(folder / "events"))
            self._write(Event(session_log=SessionLog(status=SessionLog.START)), step)

    def scalars(self, values: dict[str, float], step: int) -> None:
        for name, value in values.items():
            self._write(Event(summary=summary.scalar(name, value)), step)

    def image(self, name: str, picture: np.ndarray, step: int) -> None:
        """A picture, uint8 (height, width, 3)."""
        self._write(Event(summary=summary.image(name, picture, dataformats="HWC")), step)

    def text(self, name: str, markdown: str, step: int) -> None:
        self._write(Event(summary=summary.text(name, markdown)), step)

    def flush(self) -> None:
        """What was written so far can be read now."""
        if self._writer is not None:
            with self._disk_errors():
                self._writer.flush()

    def __enter__(self) -> "Logs":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # What ends the run already is to be told, not that the log cannot be written either.
        with contextlib.suppress(OSError) if error else self._disk_errors():
            if self._writer is not None:
                self._writer.close()

    def _write(self, event: Any, step: int) -> None:
        if self._writer is not None:
            event.step, event.wall_time = step, time.time()
            with self._disk_errors():
                self._writer.write_event(event)

    @contextlib.contextmanager
    def _disk_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise UserError(
                f"{self._folder}: the disk is full; the checkpoints before are kept: free some "
                "space and run the same command again"
            ) from error
