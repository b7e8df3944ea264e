"""How functions are compiled: kept on disk, so that a second start takes seconds; in little memory.

Everything here goes through options that JAX and XLA have.
"""

import functools
import os
import pathlib
from collections.abc import Callable
from typing import Any

import jax

_SPARING = {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"}


def keep_compiled(workdir: str | pathlib.Path) -> None:
    """Keeps what JAX compiles in `workdir`/compiled, through JAX's own persistent cache.

    A folder that JAX's variable JAX_COMPILATION_CACHE_DIR names is used instead: runs share it.
    """
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        jax.config.update("jax_compilation_cache_dir", str(pathlib.Path(workdir) / "compiled"))


def jit_sparingly(function: Callable[..., Any]) -> Callable[..., Any]:
    """`jax.jit` that orders the work for little memory on CPUs; not for use inside another jit.

    XLA's own order on a CPU takes first what depends on weights alone: it expands every packed
    kernel and transforms every one that Winograd's algorithm takes, and holds them all until their
    layers run. In this order each lives only while its layer runs; `benchmarks.memory` measures
    both. Results are the same. Elsewhere, and where this XLA has no such choice, it is `jax.jit`.
    """
    return jax.jit(function, compiler_options=_options())


@functools.cache
def _options() -> dict[str, str]:
    if jax.default_backend() != "cpu":
        return {}
    try:
        jax.jit(lambda: 0, compiler_options=_SPARING).lower().compile()
    except (jax.errors.JaxRuntimeError, ValueError):
        return {}
    return _SPARING
