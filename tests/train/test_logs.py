"""TensorBoard's event files: what is read back, and what a full disk does."""

import errno

import numpy as np
import pytest
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.summary.writer.record_writer import RecordWriter

from textsr_jax.errors import UserError
from textsr_jax.train.logs import Logs


def events(folder):
    """All events of a folder's files: records of length, its checksum, content, its checksum."""
    found = []
    for path in sorted(folder.glob("events*")):
        content, place = path.read_bytes(), 0
        while place < len(content):
            length = int.from_bytes(content[place : place + 8], "little")
            found.append(Event.FromString(content[place + 12 : place + 12 + length]))
            place += 12 + length + 4
    return found


def test_what_is_written_can_be_read_at_once(tmp_path):
    picture = np.zeros((4, 6, 3), np.uint8)
    with Logs(tmp_path / "logs", 5) as logs:
        logs.scalars({"train/loss": 0.25, "train/learning_rate": 1e-3}, 7)
        logs.image("bicubic, SR, HR", picture, 8)
        logs.text("readings", "| label | read |", 8)
        logs.flush()
        found = events(tmp_path / "logs")
    assert [event.step for event in found[1:]] == [5, 7, 7, 8, 8]
    # TensorBoard drops what was logged from there on, of a run that was killed.
    assert found[1].session_log.status == 1
    values = {value.tag: value for event in found for value in event.summary.value}
    assert values["train/loss"].simple_value == 0.25
    image = next(value.image for tag, value in values.items() if value.HasField("image"))
    assert (image.height, image.width) == (4, 6)
    assert any(b"| label | read |" in event.SerializeToString() for event in found)


@pytest.mark.parametrize("method", ["write", "flush"])
def test_a_full_disk_is_one_line(tmp_path, monkeypatch, method):
    logs = Logs(tmp_path / "logs", 1)

    def fill(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(RecordWriter, method, fill)
    with pytest.raises(UserError, match=r"logs: the disk is full; the checkpoints before are kept"):
        logs.scalars({"train/loss": 1.0}, 1)
        logs.flush()
    # An error that ends the run is not replaced by one of closing the file.
    with pytest.raises(ZeroDivisionError), logs:
        raise ZeroDivisionError


def test_another_error_is_not_taken_for_a_full_disk(tmp_path, monkeypatch):
    logs = Logs(tmp_path / "logs", 1)

    def fail(*arguments):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(RecordWriter, "write", fail)
    with pytest.raises(OSError, match="Input/output"):
        logs.scalars({"train/loss": 1.0}, 1)
