"""How functions are compiled: kept on disk, so that a second start takes seconds; in little memory.

Everything here goes through options that JAX and XLA have.
"""

import contextlib
import functools
import hashlib
import json
import logging
import os
import pathlib
from collections.abc import Callable
from typing import Any

import jax
from jax import export

from textsr_jax.errors import UserError
from textsr_jax.runtime import compiled_entries, private_folder
from textsr_jax.runtime.concurrency import bind_to_process, once
from textsr_jax.storage import atomic

_SPARING = {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"}


_logger = logging.getLogger(__name__)


def keep_compiled() -> None:
    """Keeps what JAX compiles in `cache_folder`, through JAX's own persistent cache.

    Entries that were spoiled are removed first. A folder that the user gave to JAX, by its variable
    JAX_COMPILATION_CACHE_DIR or its setting, is used as it is.

    Raises:
      UserError: as `concurrency.bind_to_process` does.
    """
    bind_to_process()
    if jax.config.jax_compilation_cache_dir is not None:
        return
    folder = cache_folder()
    if folder is None:
        return
    compiled = folder / "compiled" / f"jax-{jax.__version__}"
    try:
        private_folder.make(compiled)
        compiled_entries.remove_spoiled(compiled)
    except OSError:
        return
    # XLA's own caches would have the folder's path in the key of every entry.
    jax.config.update("jax_persistent_cache_enable_xla_caches", "none")
    jax.config.update("jax_compilation_cache_dir", str(compiled))


def cache_folder() -> pathlib.Path | None:
    """Where functions are kept: `textsr_jax` in the user's cache folder, with mode 0700.

    That is XDG_CACHE_HOME or ~/.cache. JAX_COMPILATION_CACHE_DIR goes before both and is used as it
    is. Compiled functions run unchecked: where others could write, nothing is kept, and a warning
    says so once.

    Returns:
      The folder; None where it cannot be made, or may be written by others.
    """
    shared = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    if shared:
        return pathlib.Path(shared)
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        folder = pathlib.Path(home).expanduser() / "textsr_jax"
    except RuntimeError:  # nobody's home is known
        return None
    return folder if _is_private(folder) else None


@once
def _is_private(folder: pathlib.Path) -> bool:
    try:
        private_folder.make(folder)
        fault = private_folder.fault(folder)
        if fault is None:
            private_folder.close(folder)
    except OSError:
        return False
    if fault is not None:
        _logger.warning(
            "%s: compiled functions are not kept there, so every start compiles: %s; or name "
            "another folder in XDG_CACHE_HOME",
            *(folder, fault),
        )
    return fault is None


class KeptFunctions:
    """Functions that were traced once and are kept in `cache_folder`, and there also compiled.

    Building the networks and tracing them takes longer than reading a word. What is kept is
    StableHLO (`jax.export`), which runs nothing but the networks' arithmetic. Each set of functions
    has a folder, named by the digest of what they depend on: the model, its settings, this
    package's code, JAX's version and platform. Where nothing can be written, nothing is kept.

    Args:
      model: the bytes of the model's file.
      settings: what else the functions depend on, JSON-able.
    """

    def __init__(self, model: bytes, settings: Any):
        platform = jax.default_backend(), jax.__version__
        digest = hashlib.sha256(json.dumps([settings, *platform, _code()]).encode())
        digest.update(model)
        folder = cache_folder()
        self._folder = folder and folder / "traced" / digest.hexdigest()[:32]
        keep_compiled()
        if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
            # Small networks compile in less than the second that is JAX's default.
            jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)

    def any(self) -> bool:
        """Whether some function of this set is there."""
        return bool(self._folder and self._folder.is_dir() and any(self._folder.iterdir()))

    def function(self, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """`function` as it was kept under `name`, or else traced now and kept; to be jitted.

        Args:
          name: of its file.
          function: takes and returns trees of lists, tuples, dicts and arrays.
          arguments: arrays, or their shapes and dtypes, that it will be called with.
        """
        path = self._folder and self._folder / name
        traced = path and _read(path)
        if traced is None:
            traced = export.export(jax.jit(function))(*arguments)
            if path is not None:
                _write(path, traced)
        return traced.call


def _read(path: pathlib.Path) -> export.Exported | None:
    """What `_write` wrote; None where there is no such file, or it is damaged."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, content = content[:32], content[32:]
    if hashlib.sha256(content).digest() != digest:
        return None
    return export.deserialize(bytearray(content))


def _write(path: pathlib.Path, traced: export.Exported) -> None:
    content = bytes(traced.serialize())
    with contextlib.suppress(UserError):
        atomic.write_bytes(path, hashlib.sha256(content).digest() + content, parents=True)


@functools.cache
def _code() -> str:
    """A digest of this package's code."""
    digest = hashlib.sha256()
    for path in sorted(pathlib.Path(__file__).parents[1].rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def jit_sparingly(function: Callable[..., Any]) -> Callable[..., Any]:
    """`jax.jit` that orders the work for little memory on CPUs; not for use inside another jit.

    XLA's own order on a CPU takes first what depends on weights alone: it expands every packed
    kernel and transforms every one that Winograd's algorithm takes, and holds them all until their
    layers run. In this order each lives only while its layer runs; `benchmarks.memory` measures
    both. Results are the same. Elsewhere, and where this XLA has no such choice, it is `jax.jit`.
    """
    return jax.jit(function, compiler_options=_options())


@once
def _options() -> dict[str, str]:
    if jax.default_backend() != "cpu":
        return {}
    try:
        jax.jit(lambda: 0, compiler_options=_SPARING).lower().compile()
    except (jax.errors.JaxRuntimeError, ValueError):
        return {}
    return _SPARING
