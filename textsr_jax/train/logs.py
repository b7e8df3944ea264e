"""TensorBoard's event files, written in the loop's own thread, so that a full disk is seen at once.

tensorboardX's own writer writes in another thread. A full disk ends that thread unnoticed.
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
      folder: made if it is missing.
      step: the step that comes next. TensorBoard drops what older files say of it and of later
        steps.

    Raises:
      UserError: the disk is full. All methods raise it too.
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
        """Writes numbers by name."""
        for name, value in values.items():
            self._write(Event(summary=summary.scalar(name, value)), step)

    def image(self, name: str, picture: np.ndarray, step: int) -> None:
        """Writes a picture, uint8 (height, width, 3)."""
        self._write(Event(summary=summary.image(name, picture, dataformats="HWC")), step)

    def text(self, name: str, markdown: str, step: int) -> None:
        """Writes a text in Markdown."""
        self._write(Event(summary=summary.text(name, markdown)), step)

    def flush(self) -> None:
        """Writes out what is buffered, so that it can be read."""
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
        # The error that ends the run matters more than a log that cannot be written.
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
