"""TensorBoard's event files, written in the loop's own thread, so that a full disk is seen at once.

TensorBoard's own writer writes in another thread. A full disk ends that thread unnoticed.
"""

import contextlib
import errno
import os
import pathlib
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import jax
import numpy as np

from textsr_jax.data import png
from textsr_jax.errors import UserError, needs
from textsr_jax.runtime import atomic, paths

with needs("train"):
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.types_pb2 import DT_STRING
    from tensorboard.summary.writer.record_writer import RecordWriter


class Logs:
    """An event file in a folder; a context manager that closes it. Only the first process writes.

    Args:
      folder: made if it is missing; or a URL, which gets the file when it is flushed.
      step: the step that comes next. TensorBoard drops what older files say of it and of later
        steps.

    Raises:
      UserError: the disk is full. All methods raise it too.
    """

    def __init__(self, folder: pathlib.Path, step: int):
        self._folder = folder
        self._writer: RecordWriter | None = None
        if jax.process_index() == 0:
            with self._disk_errors():
                # TensorBoard knows event files by the second part of their names.
                name = f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}.{os.getpid()}"
                self._writer = RecordWriter(_opened(folder / name))
            self._write(Event(file_version="brain.Event:2"), 0)
            self._write(Event(session_log=SessionLog(status=SessionLog.START)), step)

    def scalars(self, values: dict[str, float], step: int) -> None:
        """Writes numbers by name."""
        for name, value in values.items():
            self._write_value(Summary.Value(tag=name, simple_value=value), step)

    def image(self, name: str, picture: np.ndarray, step: int) -> None:
        """Writes a picture, uint8 (height, width, 3)."""
        height, width, colours = picture.shape
        image = Summary.Image(
            height=height,
            width=width,
            colorspace=colours,
            encoded_image_string=png.to_bytes(picture, picture.shape),
        )
        self._write_value(Summary.Value(tag=name, image=image), step)

    def text(self, name: str, markdown: str, step: int) -> None:
        """Writes a text in Markdown."""
        text = TensorProto(dtype=DT_STRING, string_val=[markdown.encode()])
        text.tensor_shape.dim.add(size=1)
        plugin = SummaryMetadata.PluginData(plugin_name="text")
        metadata = SummaryMetadata(plugin_data=plugin)
        self._write_value(Summary.Value(tag=name, metadata=metadata, tensor=text), step)

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
        with contextlib.suppress(OSError, UserError) if error else self._disk_errors():
            if self._writer is not None:
                self._writer.close()

    def _write_value(self, value: Any, step: int) -> None:
        self._write(Event(summary=Summary(value=[value])), step)

    def _write(self, event: Any, step: int) -> None:
        if self._writer is not None:
            event.step, event.wall_time = step, time.time()
            with self._disk_errors():
                self._writer.write(event.SerializeToString())

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


def _opened(path: pathlib.Path) -> Any:
    """Opens a new file, or an object, for `RecordWriter`."""
    if paths.is_url(path):
        return _GrowingObject(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("ab")


class _GrowingObject:
    """An object that is written whole whenever it is flushed, and at the end."""

    def __init__(self, path: pathlib.Path):
        self._path = path
        self._content = tempfile.TemporaryFile()  # noqa: SIM115

    def write(self, content: bytes) -> None:
        self._content.write(content)

    def flush(self) -> None:
        with atomic.replacing(self._path, fix="see to it and run the same command again") as stream:
            self._content.seek(0)
            shutil.copyfileobj(self._content, stream)

    def close(self) -> None:
        self.flush()
        self._content.close()
