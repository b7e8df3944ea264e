"""How functions are compiled: kept on disk for the next start, and with little memory.

Everything here uses options of JAX and XLA.
"""

import logging
import os
import pathlib
from collections.abc import Callable
from typing import Any

import jax

from textsr_jax.runtime import compiled_entries, private_folder
from textsr_jax.runtime.concurrency import bind_to_process, once

_SPARING = {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"}


_logger = logging.getLogger(__name__)


def keep_compiled() -> None:
    """Makes JAX keep what it compiles in `cache_folder`, with JAX's own persistent cache.

    Spoiled entries are removed first. If the user gave JAX a folder, by JAX_COMPILATION_CACHE_DIR
    or a JAX setting, JAX uses that folder and nothing is removed.

    Raises:
      UserError: as `concurrency.bind_to_process` does.
    """
    bind_to_process()
    if jax.config.values["jax_compilation_cache_dir"] is not None:
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
    # XLA's own caches would put the folder's path into the key of every entry.
    jax.config.update("jax_persistent_cache_enable_xla_caches", "none")
    jax.config.update("jax_compilation_cache_dir", str(compiled))


def cache_folder() -> pathlib.Path | None:
    """Returns the folder of kept functions: `textsr_jax` in the user's cache folder, mode 0700.

    The cache folder is XDG_CACHE_HOME, or else ~/.cache. JAX_COMPILATION_CACHE_DIR overrides both
    and is returned as it is. Compiled functions run unchecked. So if others may write in the
    folder, nothing is kept and a warning says so once.

    Returns:
      The folder; None if it cannot be made, or others may write in it.
    """
    shared = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    if shared:
        return pathlib.Path(shared)
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        folder = pathlib.Path(home).expanduser() / "textsr_jax"
    except RuntimeError:  # the home folder is unknown
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


def jit_sparingly(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns `jax.jit(function)`, compiled to use little memory on CPUs; not for nested jits.

    On a CPU, XLA first computes what depends on weights alone. It expands every packed kernel and
    transforms every kernel for Winograd's algorithm, and holds them all until their layers run. In
    the order that is chosen here, each lives only while its layer runs; `benchmarks.memory`
    measures both. Results are the same. On other devices, and if this XLA does not have the option,
    this is `jax.jit`.
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
