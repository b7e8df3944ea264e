"""Starts Ray on this machine, or joins a cluster, for as long as a block runs."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import warnings
from collections.abc import Iterator

from textsr_jax.errors import UserError, needs

with needs("bulk"):
    import ray
    from ray._private import ray_constants
    from ray.data import DataContext

# The store that workers pass data through: parts go by their numbers, so that little is needed.
_STORE = 100_000_000


@contextlib.contextmanager
def joined(address: str | None, readers: int | None = None) -> Iterator[None]:
    """Connects this process to Ray while the block runs.

    Nothing is reported to Ray's authors, and there is no dashboard. A Ray that is started here
    listens on the loopback address alone, and ends with the block or with this process.

    Args:
      address: of a cluster, or "auto" for the one that this machine belongs to; None to start Ray
        on this machine.
      readers: how many workers will be asked for; None for one a core.

    Raises:
      UserError: there is no such cluster, or Ray does not start.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # It prints errors of its own, amid the progress, that are raised here or mended by it.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    # Ray would give workers the least priority, and they do all the work here.
    os.environ.setdefault("RAY_worker_niceness", "0")
    settings: dict[str, object] = {"address": address}
    if address is None:
        bound = getattr(os, "sched_getaffinity", None)
        settings = {
            "address": "local",
            "num_cpus": readers or (len(bound(0)) if bound else os.cpu_count()),
            "include_dashboard": False,
            "object_store_memory": _STORE,
        }
    try:
        with _on_loopback() if address is None else contextlib.nullcontext(), _forking():
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **settings)
    except Exception as error:  # Ray raises plain ones, too
        reason = " ".join(str(error).split())
        what = f"--address={address}: cannot join it" if address else "Ray does not start"
        fix = "start it with `ray start`" if address else "free cores and memory, and run again"
        raise UserError(f"{what} ({reason}); {fix}") from error
    if threading.current_thread() is threading.main_thread():
        # Ray has put a handler of its own there, which would leave nobody the time to say goodbye.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    context = DataContext.get_current()
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    try:
        yield
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _on_loopback() -> Iterator[None]:
    """Lets a Ray that is started in the block listen on 127.0.0.1 alone.

    Ray 2.60 replaces a loopback address that it is given by the machine's own, and then listens on
    all interfaces. On Windows and macOS it takes the loopback address: this switch says so.
    """
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


@contextlib.contextmanager
def _forking() -> Iterator[None]:
    """Silences JAX's warning of forks: Ray's forks start another program at once."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)
        yield
