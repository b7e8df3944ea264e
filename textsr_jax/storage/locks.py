"""The lock of a workdir: one training at a time writes there.

The system releases the lock when the process ends, however it ends.
"""

import contextlib
import errno
import fcntl
import json
import logging
import os
import pathlib
import socket
from collections.abc import Iterator

import jax
import numpy as np
from jax.experimental import multihost_utils

from textsr_jax.errors import UserError
from textsr_jax.runtime import atomic, paths

FILE = ".lock"

_logger = logging.getLogger(__name__)


@contextlib.contextmanager
def held(workdir: pathlib.Path) -> Iterator[None]:
    """Holds the workdir's lock while the block runs; processes of one training share it.

    The lock's file stays and names its last owner. Object stores and some network file systems have
    no locks; a warning says so.

    Raises:
      UserError: another training holds the lock, the workdir cannot be written, or several
        processes would train in an object store.
    """
    if paths.is_url(workdir) and jax.process_count() > 1:
        raise UserError(
            f"{workdir}: several processes train in a folder that all of them see; mount the "
            "bucket, and name the folder in --workdir"
        )
    with contextlib.ExitStack() as stack:
        failure = None
        if jax.process_index() == 0:
            try:
                stack.enter_context(_held(workdir))
            except UserError as error:
                failure = error
        if jax.process_count() > 1:
            failed = multihost_utils.process_allgather(np.asarray(failure is not None))
            if failure is None and failed.any():
                failure = UserError(f"{workdir}: process 0 cannot train there; see what it says")
        if failure is not None:
            raise failure
        yield


@contextlib.contextmanager
def _held(workdir: pathlib.Path) -> Iterator[None]:
    path = workdir / FILE
    owner = {"process": os.getpid(), "host": socket.gethostname()}
    if paths.is_url(workdir):
        atomic.write_text(path, json.dumps(owner), fix="name another --workdir")
        _warn(workdir, "object stores have no locks")
        yield
        return
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise UserError(
            f"{workdir}: cannot write it ({error.strerror}); name another --workdir"
        ) from error
    with os.fdopen(handle, "r+b") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise UserError(
                    f"{workdir}: {_owner(stream.read())} trains there; wait for it, stop it, or "
                    "take another --workdir"
                ) from error
            _warn(workdir, error.strerror)
        with contextlib.suppress(OSError):  # of a full disk; the training will report it
            stream.truncate()
            stream.write(json.dumps(owner).encode())
            stream.flush()
        yield


def _warn(workdir: pathlib.Path, reason: str | None) -> None:
    _logger.warning(
        "%s: cannot be locked (%s); see that no other training runs there", workdir, reason
    )


def _owner(content: bytes) -> str:
    try:
        owner = json.loads(content)
        return f"process {int(owner['process'])} on {owner['host']}"
    except (ValueError, KeyError, TypeError):
        return "another process"
