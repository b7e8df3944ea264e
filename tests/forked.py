"""Commands as processes that have imported beforehand what they import.

A command imports for longer than many a test runs it. A server of `multiprocessing` imports once,
and forks a process for each command, with its own id, exit status, signals and output.
"""

import atexit
import os
import pathlib
import runpy
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver, get_context

ROOT = pathlib.Path(__file__).parents[1]
# None of them starts a thread or opens JAX's devices, so that a fork has all that it needs.
_IMPORTS = (
    "textsr_jax.train.runner",
    "textsr_jax.evaluation.protocol",
    "textsr_jax.reading",
    "textsr_jax.quantization",
)
_FORKING = get_context("forkserver")


class Process:
    """`python ARGUMENTS...` (a script, -m and a module, or -c and code), as a `Popen` has it.

    The output goes to files, which `communicate` reads; standard input is empty.

    Args:
      arguments: what stands behind `python`.
      cwd: the folder that the command runs in.
      environment: its environment variables; None for those of this process.
    """

    def __init__(
        self,
        arguments: Sequence[object],
        cwd: pathlib.Path = ROOT,
        environment: Mapping[str, str] | None = None,
    ):
        self._folder = tempfile.TemporaryDirectory(prefix="textsr_jax-forked-")
        self._files = [pathlib.Path(self._folder.name) / name for name in ("stdout", "stderr")]
        given = list(map(str, arguments)), str(cwd), dict(environment or os.environ)
        _start_server()
        self._process = _FORKING.Process(target=_become, args=(*given, *self._files))
        self._process.start()
        self.send_signal = lambda number: os.kill(self._process.pid, number)
        self.kill, self.terminate = self._process.kill, self._process.terminate

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Waits for the end of the process; returns its output and its errors, once."""
        self._process.join(timeout)
        if self.returncode is None:
            self.kill()
            self._process.join()
            raise subprocess.TimeoutExpired("a forked command", timeout)
        output, errors = (file.read_text() if file.exists() else "" for file in self._files)
        self._folder.cleanup()
        return output, errors


def run(
    arguments: Sequence[object],
    cwd: pathlib.Path = ROOT,
    environment: Mapping[str, str] | None = None,
) -> "subprocess.CompletedProcess[str]":
    """Runs `python ARGUMENTS...` to its end, within 15 minutes."""
    process = Process(arguments, cwd, environment)
    output, errors = process.communicate(timeout=900)
    return subprocess.CompletedProcess(arguments, process.returncode, output, errors)


def _start_server() -> None:
    _FORKING.set_forkserver_preload(list(_IMPORTS))
    before = os.environ.get("PYTHONPATH")
    # The server does not look where this process found its modules (Python 3.11 and 3.12).
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *([before] if before else [])])
    try:
        forkserver.ensure_running()
    finally:
        del os.environ["PYTHONPATH"]
        if before:
            os.environ["PYTHONPATH"] = before


def _become(
    arguments: list[str],
    cwd: str,
    environment: dict[str, str],
    output: pathlib.Path,
    errors: pathlib.Path,
) -> None:
    """Makes this process the one that `python ARGUMENTS...` would be."""
    for number, file in ((1, output), (2, errors)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), number)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    import jax

    # JAX has read them when it was imported.
    for name in ("JAX_PLATFORMS", "JAX_COMPILATION_CACHE_DIR"):
        jax.config.update(name.lower(), environment.get(name))
    sys.orig_argv = [sys.executable, *arguments]
    try:
        if arguments[0] == "-m":
            sys.argv = arguments[1:]
            runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        elif arguments[0] == "-c":
            sys.argv = ["-c", *arguments[2:]]
            exec(arguments[1], {"__name__": "__main__"})
        else:
            sys.argv = arguments
            runpy.run_path(arguments[0], run_name="__main__")
    finally:
        # As Python ends; `multiprocessing` leaves the second out.
        threading._shutdown()
        atexit._run_exitfuncs()
