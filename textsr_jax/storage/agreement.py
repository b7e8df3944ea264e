"""What all processes of a run agree on: whether a block failed, and which steps are saved."""

import contextlib
from collections.abc import Iterator

import jax
import numpy as np
from jax.experimental import multihost_utils


@contextlib.contextmanager
def agreed() -> Iterator[None]:
    """Raises an error in every process if the block raises in one of them."""
    failure = None
    try:
        yield
    except Exception as error:
        failure = error
    if jax.process_count() > 1:
        failed = multihost_utils.process_allgather(np.asarray(failure is not None))
        failure = failure or (
            ValueError("another process cannot read it") if failed.any() else None
        )
    if failure is not None:
        raise failure


def from_first(steps: list[int]) -> list[int]:
    """Returns the first process's `steps`: others may see fewer on a shared disk for a while."""
    if jax.process_count() == 1:
        return steps
    count = int(multihost_utils.broadcast_one_to_all(np.asarray(len(steps))))
    filled = np.resize(np.asarray(steps or [0]), count)
    return multihost_utils.broadcast_one_to_all(filled).tolist()
