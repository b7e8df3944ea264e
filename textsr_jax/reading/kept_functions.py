"""Functions that were traced once and are kept on disk, so that the next process starts faster.

Building the networks and tracing them takes longer than reading a word.
"""

import contextlib
import functools
import hashlib
import json
import os
import pathlib
from collections.abc import Callable
from typing import Any

import jax
from jax import export

from textsr_jax.errors import UserError
from textsr_jax.runtime import atomic
from textsr_jax.runtime.compilation import cache_folder, keep_compiled


class KeptFunctions:
    """Traced functions of a model, kept in `compilation.cache_folder`; JAX keeps them compiled too.

    A function is kept as StableHLO (`jax.export`), which can only do the networks' arithmetic. Each
    set of functions has a folder. Its name is a digest of all that the functions depend on: the
    model, its settings, this package's code, JAX's version and platform. Where the folder cannot be
    written, the functions are traced in each process.

    Args:
      model: the bytes of the model's file.
      settings: what else the functions depend on; JSON-able.
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
        """Whether some function of this set was kept before."""
        return bool(self._folder and self._folder.is_dir() and any(self._folder.iterdir()))

    def function(self, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Returns the function that was kept under `name`; else traces `function` and keeps it.

        The caller jits the result.

        Args:
          name: of the file.
          function: takes and returns trees of lists, tuples, dicts and arrays.
          arguments: the arrays, or their shapes and dtypes, that it will be called with.
        """
        path = self._folder and self._folder / name
        traced = None if path is None else _read(path)
        if traced is None:
            traced = export.export(jax.jit(function))(*arguments)
            if path is not None:
                _write(path, traced)
        return traced.call


def _read(path: pathlib.Path) -> export.Exported | None:
    """Returns what `_write` wrote; None where there is no such file, or it is damaged."""
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
    """Returns a digest of this package's code."""
    digest = hashlib.sha256()
    for path in sorted(pathlib.Path(__file__).parents[1].rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
