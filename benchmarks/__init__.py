"""Measures: speed and fidelity beside PyTorch, and the memory that packed models take."""

import contextlib
from collections.abc import Iterator

from textsr_jax.errors import needs, one_line_errors


@contextlib.contextmanager
def needs_extra(module: str) -> Iterator[None]:
    """Encloses a benchmark's imports of packages that come with extras.

    Args:
      module: the benchmark's `__name__`. One that was started as a command ends with one line that
        names the extra.

    Raises:
      MissingPackage: the benchmark was imported, and a package is not installed.
    """
    started = module == "__main__"
    with one_line_errors() if started else contextlib.nullcontext(), needs("benchmarks"):
        yield
