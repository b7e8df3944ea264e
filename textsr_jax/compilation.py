"""Compiled functions kept on disk beside the models, so that a second start takes seconds."""

import pathlib

import jax


def keep_compiled(workdir: str | pathlib.Path) -> None:
    """Keeps what JAX compiles in `workdir`/compiled, through JAX's own persistent cache."""
    jax.config.update("jax_compilation_cache_dir", str(pathlib.Path(workdir) / "compiled"))
